//! What a caller and an operator learn when a guest fails (conformance statements 48–55).

use orlop_tests::{Answer, Event, guests};

use crate::{Served, text};

fn header(answer: &Answer) -> &str {
    answer.error_type_header.as_deref().unwrap_or_default()
}

// Statement 48.
#[test]
fn a_guests_own_error_reaches_the_caller_and_the_next_event_succeeds() {
    let served = Served::new(guests::FAIL);
    let answer = served.ask(Event::new("a", r#"{"type":"OrderNotFound","message":"no order 7"}"#));
    assert!(answer.is_error);
    assert_eq!(header(&answer), "Function.OrderNotFound");
    let report = answer.json();
    assert_eq!(text(&report, "errorType"), "OrderNotFound");
    assert_eq!(text(&report, "errorMessage"), "no order 7");
    served.answer("b", "{}");
}

// Statement 49.
#[test]
fn a_trap_is_reported_with_the_panic_message_and_the_guests_frames_and_the_next_event_succeeds() {
    let served = Served::new(guests::PANIC);
    let pid = served.host.pid();
    let answer = served.ask(Event::new("a", "\"out of rope\""));
    assert_eq!(header(&answer), "Runtime.GuestTrap");
    let report = answer.json();
    assert!(text(&report, "errorMessage").contains("out of rope"), "{report}");
    assert!(text(&report, "errorMessage").contains("panic.rs"), "{report}");
    let frames = report["stackTrace"].as_array().unwrap();
    assert!(
        frames
            .iter()
            .any(|frame| frame.as_str().is_some_and(|frame| frame.contains("panic::"))),
        "{report}"
    );
    served.answer("b", "null");
    assert_eq!(served.host.pid(), pid);
    let line = served.host.wait_for_log(|line| line.contains("the invocation failed"));
    assert!(
        line.contains("Runtime.GuestTrap") && line.contains("out of rope"),
        "{line}"
    );
}

#[test]
fn an_exit_is_no_answer() {
    let served = Served::new(guests::EXIT);
    for code in ["0", "1"] {
        let report = served.failure(&format!("exit-{code}"), code);
        assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
        assert!(
            text(&report, "errorMessage").contains(&format!("status {code}")),
            "{report}"
        );
    }
    served.answer("next", "null");
}

// Statement 50.
#[test]
fn a_guest_that_runs_out_of_memory_is_told_apart_and_the_next_event_succeeds() {
    let served = Served::new(guests::ALLOCATE);
    let report = served.failure("a", r#"{"bytes":100000000,"aborts":true}"#);
    assert_eq!(text(&report, "errorType"), "Runtime.OutOfMemory");
    assert!(text(&report, "errorMessage").contains("64.0 MiB"), "{report}");
    assert!(text(&report, "errorMessage").contains("ORLOP_LIMIT_MEMORY"), "{report}");
    served.answer("b", r#"{"bytes":1000000}"#);
}

#[test]
fn a_guest_that_copes_with_a_refused_allocation_answers() {
    let served = Served::new(guests::ALLOCATE);
    let reached = served.answer("a", r#"{"bytes":1000000000}"#).as_u64().unwrap();
    assert!((32 << 20..64 << 20).contains(&reached), "{reached}");
}

#[test]
fn a_stack_overflow_is_a_trap() {
    let served = Served::new(guests::RECURSE);
    let report = served.failure("a", "100000000");
    assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap");
    assert_eq!(served.answer("b", "10"), 10);
}

#[test]
fn an_event_the_guest_cannot_read_is_reported_as_such() {
    let served = Served::new(guests::FAIL);
    let report = served.failure("a", "{not json");
    assert_eq!(text(&report, "errorType"), "Runtime.UnmarshalError");
    assert!(text(&report, "errorMessage").contains("line 1 column 2"), "{report}");
    served.answer("b", "{}");
}

// Statement 52: the only way to make the host panic from outside is to take its threads away.
#[test]
fn a_host_that_gets_no_thread_ends_with_a_reason() {
    use orlop_tests::{FakeRuntimeApi, Host, TaskRoot, bootstrap, tools};
    tools::require(&["strace"], "nothing else can take threads away");
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let host = Host::binary(std::path::Path::new("/usr/bin/strace"))
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .env("PATH", "/usr/bin:/bin")
        .arg("-f")
        .arg("-e")
        .arg("trace=clone,clone3")
        .arg("-e")
        .arg("inject=clone3:error=EAGAIN:when=1+")
        .arg("-e")
        .arg("inject=clone:error=EAGAIN:when=1+")
        .arg(bootstrap())
        .start();
    assert_eq!(host.wait_for_exit(crate::END).code(), Some(1));
    let log = host.log();
    assert!(
        log.iter().any(|line| line.contains("FATAL") && line.contains("thread")),
        "{log:?}"
    );
}

// Statement 53.
#[test]
fn the_error_type_header_always_has_lambdas_form_and_the_body_keeps_the_guests_word() {
    let served = Served::new(guests::FAIL);
    for (index, (error_type, expected)) in [
        ("OrderNotFound", "Function.OrderNotFound"),
        ("Function.Busy", "Function.Busy"),
        ("Runtime.Odd", "Runtime.Odd"),
        ("order not found", "Function.HandlerError"),
        ("", "Function.HandlerError"),
        ("E404", "Function.HandlerError"),
        ("Ünknown", "Function.HandlerError"),
        ("X\\r\\nEvil: yes", "Function.HandlerError"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = format!(r#"{{"type":"{error_type}","message":"m"}}"#);
        let answer = served.ask(Event::new(format!("event-{index}"), event));
        assert_eq!(header(&answer), expected);
        assert_eq!(answer.header("evil"), None);
    }
}

// Statement 54.
#[test]
fn an_error_body_is_small_valid_json_without_control_characters_or_the_hosts_paths() {
    let served = Served::new(guests::FAIL);
    let message = "ü\\u001b[31m".repeat(100_000);
    let answer = served.ask(Event::new("a", format!(r#"{{"type":"Huge","message":"{message}"}}"#)));
    assert!(answer.body.len() <= 64 << 10, "{} bytes", answer.body.len());
    let report = answer.json();
    assert!(!text(&report, "errorMessage").contains('\u{1b}'));
    assert!(text(&report, "errorMessage").ends_with('…'));

    let served = Served::new(guests::PANIC);
    let body = String::from_utf8(served.ask(Event::new("a", "\"boo\"")).body).unwrap();
    assert!(!body.contains("orlop-task-") && !body.contains("/host/"), "{body}");
}

// Statement 55.
#[test]
fn a_sampled_failure_carries_its_cause_for_xray_on_one_line_of_ascii() {
    let served = Served::new(guests::FAIL);
    let event = |id| Event::new(id, r#"{"type":"Größe","message":"Ärger\nzwei"}"#);
    let answer = served.ask(event("sampled").trace_id("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"));
    let cause = answer.header("lambda-runtime-function-xray-error-cause").unwrap();
    assert!(cause.iter().all(|byte| (b' '..0x7f).contains(byte)));
    let cause: serde_json::Value = serde_json::from_slice(cause).unwrap();
    assert_eq!(text(&cause["exceptions"][0], "type"), "Größe");
    let answer = served.ask(event("unsampled"));
    assert_eq!(answer.header("lambda-runtime-function-xray-error-cause"), None);
}
