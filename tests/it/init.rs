//! Start-up: what the process needs, what it does without, and how it fails (conformance statements 1–17).

use std::process::Command;

use orlop_tests::{Event, FakeRuntimeApi, Host, Process, Reply, TaskRoot, bootstrap, guests};

use crate::{END, Served, text};

/// Starts the runtime in a task root where Init is going to fail, and returns the report and the log.
fn failed_init(task_root: &TaskRoot, arguments: &[&str]) -> (serde_json::Value, Vec<String>) {
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda).task_root(task_root);
    let host = arguments.iter().fold(host, |host, argument| host.arg(argument)).start();
    let report = lambda.wait_for_init_error();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    let requests = lambda.requests();
    assert_eq!(requests.len(), 1, "one report and nothing else: {}", lambda.record());
    (report.json(), host.log())
}

// Statement 1.
#[test]
fn outside_of_lambda_one_clear_line_says_so() {
    let mut command = Command::new(bootstrap());
    command.env_clear();
    let process = Process::start(command);
    assert_eq!(process.wait_for_exit(END).code(), Some(1));
    let log = process.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(
        log[0].contains("AWS_LAMBDA_RUNTIME_API is not set") && log[0].contains("orlop invoke"),
        "{log:?}"
    );
}

// Statements 2 and 3.
#[test]
fn the_address_may_carry_a_scheme_and_a_slash() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let _host = Host::binary(bootstrap())
        .runtime_api(&format!("http://{}/", lambda.address()))
        .task_root(&task_root)
        .start();
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
}

// Statement 4.
#[test]
fn proxy_variables_do_not_matter() {
    let nowhere = "http://127.0.0.1:9";
    let served = Served::with_env(
        guests::ECHO,
        &[
            ("HTTP_PROXY", nowhere),
            ("http_proxy", nowhere),
            ("HTTPS_PROXY", nowhere),
            ("ALL_PROXY", nowhere),
            ("all_proxy", nowhere),
        ],
    );
    served.answer("a", "1");
}

// Statement 5.
#[test]
fn every_request_names_the_host_and_its_version() {
    let served = Served::new(guests::ECHO);
    served.answer("a", "1");
    served.lambda.wait_for_next();
    for request in served.lambda.requests() {
        let agent = request.header("user-agent").unwrap_or_default();
        assert_eq!(agent, concat!("orlop/", env!("CARGO_PKG_VERSION")).as_bytes());
    }
}

// Statement 6.
#[test]
fn the_handler_is_the_argument_else_the_variable_else_the_only_component() {
    let echo_and_big = TaskRoot::new().with_compiled(guests::ECHO).with_compiled(guests::BIG);
    let only_echo = TaskRoot::new().with_compiled(guests::ECHO);
    let answer = |host: orlop_tests::host::Builder, lambda: &FakeRuntimeApi| {
        let _host = host.start();
        lambda.send(Event::new("a", "2"));
        lambda.wait_for_answer("a").body
    };
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda)
        .task_root(&echo_and_big)
        .handler("big")
        .env("_HANDLER", "echo");
    assert_eq!(answer(host, &lambda), b"\"\"");
    let lambda = FakeRuntimeApi::start();
    assert_eq!(
        answer(
            Host::bootstrap(&lambda)
                .task_root(&echo_and_big)
                .env("_HANDLER", "echo"),
            &lambda
        ),
        b"2"
    );
    let lambda = FakeRuntimeApi::start();
    assert_eq!(
        answer(
            Host::bootstrap(&lambda)
                .task_root(&echo_and_big)
                .env("_HANDLER", "big.wasm"),
            &lambda
        ),
        b"\"\""
    );
    let lambda = FakeRuntimeApi::start();
    assert_eq!(
        answer(
            Host::bootstrap(&lambda)
                .task_root(&only_echo)
                .env("_HANDLER", "bootstrap"),
            &lambda
        ),
        b"2"
    );
}

// Statements 7 and 9; 8 is held by the image's tests.
#[test]
fn it_starts_without_arguments_and_in_any_directory_with_hardly_a_variable_set() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let _host = Host::bootstrap(&lambda)
        .task_root(&task_root)
        .current_directory("/proc")
        .start();
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
}

// Statements 12, 14 and 16.
#[test]
fn a_missing_component_is_reported_with_what_is_there_instead() {
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda).task_root(&task_root).handler("orders").start();
    let answer = lambda.wait_for_init_error();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.ComponentNotFound"));
    let report = answer.json();
    assert_eq!(text(&report, "errorType"), "Runtime.ComponentNotFound");
    assert!(text(&report, "errorMessage").contains("`orders`"), "{report}");
    assert!(text(&report, "errorMessage").contains("it holds echo"), "{report}");
    assert!(report["stackTrace"].is_array());
    assert_eq!(lambda.requests().len(), 1, "no /next: {}", lambda.record());
    let log = host.log();
    let fatal: Vec<_> = log.iter().filter(|line| line.contains("\tFATAL\t")).collect();
    assert_eq!(fatal.len(), 1, "{log:?}");
    assert!(
        fatal[0].contains("`orders`") && fatal[0].contains("exitCode=1"),
        "{fatal:?}"
    );
}

#[test]
fn an_empty_task_root_and_one_with_two_components_are_told_apart() {
    let (report, _) = failed_init(&TaskRoot::new(), &[]);
    assert_eq!(text(&report, "errorType"), "Runtime.ComponentNotFound");
    let two = TaskRoot::new().with_compiled(guests::ECHO).with_compiled(guests::BIG);
    let (report, _) = failed_init(&two, &[]);
    assert_eq!(text(&report, "errorType"), "Runtime.HandlerNotFound");
    assert!(text(&report, "errorMessage").contains("2: big, echo"), "{report}");
}

/// A component whose only export is an interface with one function that takes and returns nothing.
fn component(imports: &str, function: &str, interface: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            {imports}
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $interface (export "{function}" (func $f)))
            (export "{interface}" (instance $interface)))"#
    ))
    .unwrap()
}

// Statement 13.
#[test]
fn a_component_without_a_handler_is_reported_with_what_it_exports() {
    // A program that knows nothing of Orlop.
    let component = component("", "run", "test:other/program@1.0.0");
    let task_root = TaskRoot::new().with_content("other.wasm", component);
    let report = failed_init_with_compiler(&task_root);
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("it exports none of orlop:function/handler@0.1.0, wasi:http/incoming-handler@0.2.x"),
        "{message}"
    );
    assert!(message.contains("it exports test:other/program@1.0.0"), "{message}");
}

// Statement 13.
#[test]
fn a_component_for_another_version_of_the_interface_says_so() {
    let component = component("", "handle", "orlop:function/handler@9.0.0");
    let report = failed_init_with_compiler(&TaskRoot::new().with_content("next.wasm", component));
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("orlop:function/handler@9.0.0") && message.contains("another version"),
        "{message}"
    );
}

// Statement 13.
#[test]
fn a_handler_with_another_signature_is_reported() {
    let component = component("", "handle", "orlop:function/handler@0.1.0");
    let report = failed_init_with_compiler(&TaskRoot::new().with_content("odd.wasm", component));
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    assert!(text(&report, "errorMessage").contains("another type"), "{report}");
}

// Statement 13.
#[test]
fn a_component_that_imports_the_unknown_is_reported_with_its_name() {
    let component = component(
        r#"(import "test:database/store@1.0.0" (instance $store (export "get" (func))))"#,
        "handle",
        "orlop:function/handler@0.1.0",
    );
    let report = failed_init_with_compiler(&TaskRoot::new().with_content("greedy.wasm", component));
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    assert!(
        text(&report, "errorMessage").contains("test:database/store@1.0.0"),
        "{report}"
    );
}

/// As [`failed_init`], with the runtime that can compile.
fn failed_init_with_compiler(task_root: &TaskRoot) -> serde_json::Value {
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda).task_root(task_root).start();
    let report = lambda.wait_for_init_error();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    report.json()
}

#[test]
fn files_that_are_no_components_are_reported_as_what_they_are() {
    let echo = std::fs::read(guests::ECHO.path()).unwrap();
    let module = wat::parse_str("(module)").unwrap();
    for (content, expected) in [
        (&b""[..], "it is empty"),
        (b"<html>404</html>", "does not begin as WebAssembly does"),
        (b"(component)", "does not begin as WebAssembly does"),
        (b"\0asm", "does not begin as WebAssembly does"),
        (b"\x7fELF\x02\x01\x01", "it is machine code"),
        (&module, "it is a core module, and no program of WASI's first preview"),
        (&echo[..echo.len() / 2], "is out of bounds"),
        (&echo[..100], "unexpected end"),
    ] {
        let report = failed_init_with_compiler(&TaskRoot::new().with_content("odd.wasm", content));
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
        assert!(text(&report, "errorMessage").contains(expected), "{expected}: {report}");
    }
}

// Statement 15.
#[test]
fn a_refused_init_error_still_ends_the_process() {
    for reply in [
        Reply::status(403),
        Reply::status(500),
        Reply::status(413),
        Reply::reset(),
        Reply::hang_up(),
    ] {
        let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
        lambda.on_init_error(reply);
        let host = Host::bootstrap(&lambda).task_root(TaskRoot::new()).start();
        assert_eq!(host.wait_for_exit(END).code(), Some(1));
    }
}

// Statement 15.
#[test]
fn an_unreachable_runtime_api_still_ends_a_failed_init() {
    let lambda = FakeRuntimeApi::builder().refusing_connections().start();
    let host = Host::bootstrap(&lambda).task_root(TaskRoot::new()).start();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert!(
        host.log()
            .iter()
            .any(|line| line.contains("cannot report the error") && line.contains("POST init/error")),
        "{:?}",
        host.log()
    );
}

// Statement 17.
#[test]
fn a_guest_that_traps_while_it_starts_fails_init() {
    let served = Served::with_env(guests::COUNTER, &[("INIT", "panic")]);
    let answer = served.lambda.wait_for_init_error();
    assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.GuestTrap"));
    assert!(
        text(&answer.json(), "errorMessage").contains("told to panic"),
        "{}",
        answer.json()
    );
    assert_eq!(served.host.wait_for_exit(END).code(), Some(1));
}

#[test]
fn a_guest_whose_init_fails_is_reported_with_its_own_words() {
    let served = Served::with_env(guests::COUNTER, &[("INIT", "fail")]);
    let report = served.lambda.wait_for_init_error().json();
    assert_eq!(text(&report, "errorType"), "Runtime.InitFailed");
    assert!(
        text(&report, "errorMessage").contains("NotReady: told to fail"),
        "{report}"
    );
    assert_eq!(served.host.wait_for_exit(END).code(), Some(1));
}

#[test]
fn a_guest_that_never_ends_its_init_is_stopped_after_the_init_timeout() {
    let served = Served::with_env(guests::COUNTER, &[("INIT", "spin"), ("ORLOP_INIT_TIMEOUT", "300ms")]);
    let report = served.lambda.wait_for_init_error().json();
    assert_eq!(text(&report, "errorType"), "Runtime.DeadlineExceeded");
    assert_eq!(served.host.wait_for_exit(END).code(), Some(1));
}
