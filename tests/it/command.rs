//! Ordinary programs as handlers: the event on stdin, the answer on stdout, and what their end means.

use std::fmt::Write as _;
use std::ops::Deref;
use std::time::Duration;

use orlop_tests::fake_runtime_api::MAX_ANSWER_BYTES;
use orlop_tests::host::Builder;
use orlop_tests::{Event, FakeRuntimeApi, Host, Served, TaskRoot, foreign, guests, text};
use serde_json::{Value, json};

/// The program under test, as a process that serves one of its verbs.
struct Program(Served);

impl Deref for Program {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Program {
    /// `args` are those in `orlop.toml`.
    fn new(args: &[&str]) -> Self {
        Self::with(args, &[])
    }

    fn with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let manifest = format!("[functions.under-test]\ncomponent = 'command'\nargs = {args:?}\n");
        let task_root = TaskRoot::new()
            .with_compiled(guests::COMMAND)
            .with_content("orlop.toml", manifest);
        Self::start(Host::bootstrap, task_root, "under-test", variables)
    }

    fn start(
        program: fn(&FakeRuntimeApi) -> Builder,
        task_root: TaskRoot,
        handler: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let lambda = FakeRuntimeApi::start();
        let host = program(&lambda);
        Self(Served::by(host, lambda, task_root, handler, variables))
    }

    /// Sends a plain event and returns the answer of a success.
    #[track_caller]
    fn answer(&self, id: &str, event: impl Into<Vec<u8>>) -> Vec<u8> {
        let answer = self.ask(Event::new(id, event));
        assert!(!answer.is_error, "{id}: {}", answer.text());
        answer.body
    }

    /// Sends a plain event and returns the report of a failure.
    #[track_caller]
    fn failure(&self, id: &str, event: impl Into<Vec<u8>>) -> Value {
        let answer = self.ask(Event::new(id, event));
        assert!(answer.is_error, "{id}: {}", String::from_utf8_lossy(&answer.body));
        let report = answer.json();
        assert_eq!(answer.error_type_header.as_deref(), report["errorType"].as_str());
        report
    }
}

// Statement 18.
#[test]
fn the_event_is_on_stdin_and_stdout_is_the_answer_byte_for_byte() {
    let program = Program::new(&["cat"]);
    let large = (0..(6 << 20)).map(|index| (index % 251) as u8).collect::<Vec<_>>();
    let events: [&[u8]; 8] = [
        b"",
        b"{}",
        b"\n",
        b"no line feed at the end",
        b"\r\n\x00\x1b[31m",
        b"\xff\xfe\x00\xc3\x28",
        "\u{feff}{\"a\":\"\\ud800\"}".as_bytes(),
        &large,
    ];
    for (index, event) in events.iter().enumerate() {
        let answer = program.answer(&format!("event-{index}"), *event);
        assert!(answer == *event, "{} bytes came back as {}", event.len(), answer.len());
    }
}

#[test]
fn a_program_that_reads_nothing_answers_and_its_stdin_is_not_there_for_the_next() {
    let program = Program::new(&["ignore"]);
    assert_eq!(program.answer("large", vec![b'x'; 1 << 20]), b"ignored");
    assert_eq!(program.answer("empty", ""), b"ignored");
    let program = Program::new(&["describe"]);
    for (id, size) in [("a", 100_000), ("b", 0), ("c", 7)] {
        let description: Value = serde_json::from_slice(&program.answer(id, vec![b'x'; size])).unwrap();
        assert_eq!(description["stdin_bytes"], size);
    }
}

#[test]
fn what_it_writes_to_stderr_is_in_the_log_and_not_in_the_answer() {
    let program = Program::new(&["no-such-verb"]);
    assert_eq!(program.answer("event", "{}"), b"");
    let line = program.host.wait_for_log(|line| line.contains("there is no verb"));
    assert!(line.contains("\tevent\tstderr\t"), "{line}");
}

#[test]
fn an_exit_with_status_0_is_a_success_with_what_was_printed() {
    let program = Program::new(&["exit"]);
    assert_eq!(program.answer("zero", "0"), b"printed before");
    assert_eq!(program.answer("again", "0"), b"printed before");
}

#[test]
fn any_other_status_is_an_error_with_the_last_lines_of_stderr_and_the_next_event_is_served() {
    let program = Program::new(&["exit"]);
    for status in ["1", "3", "255"] {
        let report = program.failure(status, status);
        assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
        assert!(
            text(&report, "errorMessage").contains(&format!("exits with {status}")),
            "{report}"
        );
        assert_eq!(program.answer(&format!("after-{status}"), "0"), b"printed before");
    }

    let program = Program::new(&["fail"]);
    let pid = program.host.pid();
    let mut lines = (0..40).fold(String::new(), |mut lines, index| {
        writeln!(lines, "line {index:02}").unwrap();
        lines
    });
    lines.push_str("the last one\u{1b}[31m has no end");
    let report = program.failure("many", lines);
    assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
    let message = text(&report, "errorMessage");
    assert!(message.contains("status 1"), "{message}");
    assert!(message.contains("line 38 | line 39 | the last one"), "{message}");
    assert!(
        message.ends_with("has no end") && !message.contains('\u{1b}'),
        "{message}"
    );
    assert!(
        !message.contains("line 00") && !message.contains("half an answer"),
        "{message}"
    );

    // Without a word, or with the next event's.
    let report = program.failure("silent", "");
    assert!(!text(&report, "errorMessage").contains("line"), "{report}");
    let report = program.failure("other", "another reason");
    assert!(text(&report, "errorMessage").ends_with("another reason"), "{report}");
    assert_eq!(program.host.pid(), pid);
}

// Statement 49.
#[test]
fn a_panic_is_reported_with_its_message_and_the_next_event_is_served() {
    let program = Program::new(&["panic"]);
    for id in ["a", "b"] {
        let report = program.failure(id, "out of rope");
        assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap", "{report}");
        assert!(text(&report, "errorMessage").contains("out of rope"), "{report}");
        let frames = report["stackTrace"].as_array().unwrap();
        let is_own = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("command::main"));
        assert!(frames.iter().any(is_own), "{report}");
    }
}

#[test]
fn its_arguments_are_those_of_the_manifest_after_its_name() {
    let program = Program::new(&["describe", "--to", "a b", "", "ü", "$HOME", "--"]);
    let description: Value = serde_json::from_slice(&program.answer("event", "")).unwrap();
    let expected = json!(["command.wasm", "describe", "--to", "a b", "", "ü", "$HOME", "--"]);
    assert_eq!(description["arguments"], expected);
}

#[test]
fn the_context_is_in_its_environment_for_its_own_event_only() {
    let program = Program::with(&["describe"], &[("COLOUR", "blue"), ("AWS_SESSION_TOKEN", "secret")]);
    let environment = |event: Event| {
        let answer = program.ask(event);
        assert!(!answer.is_error, "{}", answer.text());
        answer.json()["environment"].clone()
    };
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let full = environment(
        Event::new("full", "{}")
            .trace_id(trace)
            .client_context(r#"{"client":{"app_title":"orders"}}"#)
            .cognito_identity(r#"{"cognitoIdentityId":"i"}"#)
            .tenant_id("blue tenant"),
    );
    for (name, value) in [
        ("LAMBDA_RUNTIME_AWS_REQUEST_ID", "full"),
        (
            "LAMBDA_RUNTIME_INVOKED_FUNCTION_ARN",
            "arn:aws:lambda:us-east-1:012345678912:function:test",
        ),
        ("LAMBDA_RUNTIME_TRACE_ID", trace),
        ("_X_AMZN_TRACE_ID", trace),
        ("LAMBDA_RUNTIME_CLIENT_CONTEXT", r#"{"client":{"app_title":"orders"}}"#),
        ("LAMBDA_RUNTIME_COGNITO_IDENTITY", r#"{"cognitoIdentityId":"i"}"#),
        ("LAMBDA_RUNTIME_AWS_TENANT_ID", "blue tenant"),
        ("AWS_LAMBDA_FUNCTION_NAME", "test"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("COLOUR", "blue"),
    ] {
        assert_eq!(full[name], value, "{name} in {full}");
    }
    let deadline = text(&full, "LAMBDA_RUNTIME_DEADLINE_MS").parse::<u64>().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    assert!((now - 20_000..now + 3_000).contains(&deadline), "{deadline} at {now}");
    assert_eq!(full["AWS_SESSION_TOKEN"], Value::Null);
    assert_eq!(full["AWS_LAMBDA_RUNTIME_API"], Value::Null);

    let bare = environment(Event::new("bare", "{}"));
    assert_eq!(bare["LAMBDA_RUNTIME_AWS_REQUEST_ID"], "bare");
    for name in [
        "LAMBDA_RUNTIME_TRACE_ID",
        "_X_AMZN_TRACE_ID",
        "LAMBDA_RUNTIME_CLIENT_CONTEXT",
        "LAMBDA_RUNTIME_COGNITO_IDENTITY",
        "LAMBDA_RUNTIME_AWS_TENANT_ID",
    ] {
        assert_eq!(bare[name], Value::Null, "{name} in {bare}");
    }
}

// Statement 38.
#[test]
fn the_largest_answer_is_delivered_and_a_larger_one_is_an_error_that_says_so() {
    let program = Program::new(&["fill"]);
    let answer = program.answer("largest", MAX_ANSWER_BYTES.to_string());
    assert_eq!(answer.len(), MAX_ANSWER_BYTES);
    assert!(answer.iter().all(|byte| *byte == b'x'));
    for bytes in [MAX_ANSWER_BYTES + 1, 20_000_000] {
        let report = program.failure(&format!("{bytes}"), bytes.to_string());
        assert_eq!(text(&report, "errorType"), "Function.ResponseTooLarge");
        assert!(text(&report, "errorMessage").contains(&bytes.to_string()), "{report}");
    }
    assert_eq!(program.answer("small", "1"), b"x");
    assert_eq!(program.answer("empty", "0"), b"");
}

#[test]
fn every_event_is_a_fresh_run_whatever_isolation_is_asked_for() {
    for isolation in ["event", "environment", "tenant"] {
        let program = Program::with(&["describe"], &[("ORLOP_ISOLATION", isolation)]);
        for id in ["a", "b", "c"] {
            let description: Value = serde_json::from_slice(&program.answer(id, "{}")).unwrap();
            assert_eq!(description["events"], 1, "{isolation}: {id}");
            assert_eq!(description["files"], 0, "{isolation}: {id}");
        }
        program
            .host
            .wait_for_log(|line| line.contains("world=command") && line.contains("isolation=event"));
    }
}

// Statement 51.
#[test]
fn a_program_that_does_not_end_is_stopped_and_the_process_goes_on() {
    let manifest = "[functions.record]\nworld = 'command'\n";
    let task_root = TaskRoot::new()
        .with_compiled(guests::RECORD)
        .with_content("orlop.toml", manifest);
    let variables = [("ORLOP_DEADLINE_MARGIN", "700ms")];
    let program = Program::start(Host::bootstrap, task_root, "record", &variables);
    let pid = program.host.pid();
    let event = |body: &str| json!({ "Records": [{ "messageId": "m", "body": body }] }).to_string();
    for body in ["spin", "sleep 600000"] {
        let report = program
            .ask(Event::new(body, event(body)).due_in(Duration::from_secs(2)))
            .json();
        assert_eq!(text(&report, "errorType"), "Runtime.DeadlineExceeded");
        assert!(text(&report, "errorMessage").contains("begin m"), "{report}");
        assert_eq!(
            program.answer(&format!("after-{body}"), event("ok")).trim_ascii(),
            b"null"
        );
    }
    assert_eq!(program.host.pid(), pid);
}

/// The C program of the foreign tests: it prints the variable `NAME`, then its stdin in upper case.
fn answers_as_a_core_module_does(program: &Program) {
    assert_eq!(program.answer("empty", ""), b"deck: ");
    assert_eq!(
        program.answer("text", "ahoy {\"a\": \"ü\"}"),
        "deck: AHOY {\"A\": \"ü\"}".as_bytes()
    );
    assert_eq!(program.answer("bytes", b"\xff\x00a".to_vec()), b"deck: \xff\x00A");
    let large = vec![b'x'; 3 << 20];
    let answer = program.answer("large", large);
    assert_eq!(answer.len(), (3 << 20) + "deck: ".len());
    let line = program.host.wait_for_log(|line| line.contains("3145728 bytes"));
    assert!(line.contains("\tlarge\tstderr\t"), "{line}");
    program.host.wait_for_log(|line| line.contains("world=command"));
}

#[test]
fn a_core_module_compiled_beforehand_is_a_program() {
    let root = || {
        let manifest = "[functions.c-upper]\nenvironment = { NAME = 'deck' }\n\
                        [functions.fails]\ncomponent = 'c-upper'\nargs = ['7']\n\
                        [functions.succeeds]\ncomponent = 'c-upper'\nargs = ['0']\n";
        TaskRoot::new()
            .with_compiled(foreign::c_upper())
            .with_content("orlop.toml", manifest)
    };
    answers_as_a_core_module_does(&Program::start(Host::bootstrap, root(), "c-upper", &[]));

    let program = Program::start(Host::bootstrap, root(), "fails", &[]);
    for id in ["a", "b"] {
        let report = program.failure(id, "ahoy");
        assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
        assert!(text(&report, "errorMessage").ends_with("4 bytes"), "{report}");
    }
    let program = Program::start(Host::bootstrap, root(), "succeeds", &[]);
    assert_eq!(program.answer("a", "ahoy"), b"AHOY");
}

#[test]
fn a_core_module_compiled_at_init_is_a_program() {
    let root = TaskRoot::new()
        .with("c-upper.wasm", foreign::c_upper())
        .with_content("orlop.toml", "[functions.c-upper]\nenvironment = { NAME = 'deck' }\n");
    let program = Program::start(Host::orlop, root, "c-upper", &[]);
    answers_as_a_core_module_does(&program);
    program
        .host
        .wait_for_log(|line| line.contains("WARN") && line.contains("compiled the component at Init"));
}
