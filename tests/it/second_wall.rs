//! What the kernel takes from the runtime, if it is asked to and can; and that everything works behind it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use orlop_tests::caller::Caller;
use orlop_tests::{Event, FakeRuntimeApi, Host, HttpServer, TaskRoot, bootstrap, compile, guests};
use serde_json::json;

use crate::{END, Served, text};

const WALL: (&str, &str) = ("ORLOP_SECOND_WALL", "on");
/// Room for a busy machine between our deadline and Lambda's.
const MARGIN: (&str, &str) = ("ORLOP_DEADLINE_MARGIN", "700ms");

/// A field of `/proc/PID/status`.
fn status(host: &Host, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_default().trim_start_matches(':').trim().to_owned()
}

/// The line about the wall, and whether the kernel has landlock.
fn line(host: &Host) -> (String, bool) {
    let line = host.wait_for_log(|line| line.contains("the second wall is"));
    let has_landlock = line.contains("landlock=on") || line.contains("landlock=\"on");
    (line, has_landlock)
}

#[test]
fn it_is_up_before_the_first_event_and_one_line_says_so_or_what_the_kernel_lacks() {
    let served = Served::with_env(guests::ECHO, &[WALL]);
    served.answer("a", "1");
    let (line, has_landlock) = line(&served.host);
    match has_landlock {
        true => assert!(line.contains("INFO") && line.contains("is up"), "{line}"),
        false => assert!(line.contains("WARN") && line.contains("landlock=\"off, "), "{line}"),
    }
    assert_eq!(status(&served.host, "NoNewPrivs"), "1");
    assert_eq!(status(&served.host, "Seccomp"), "2");
    for task in fs::read_dir(format!("/proc/{}/task", served.host.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "each thread is behind it: {status}");
    }
    let without = Served::new(guests::ECHO);
    without.answer("a", "1");
    assert_eq!(status(&without.host, "Seccomp"), status_of_this_test());
    assert!(!without.host.log().iter().any(|line| line.contains("second wall")));
}

/// What the runtime inherits, if it adds nothing.
fn status_of_this_test() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_process_that_replaces_itself_again_and_again_stays_behind_one_wall() {
    let served = Served::with_env(guests::SPIN, &[WALL, MARGIN]);
    let filters = || status(&served.host, "Seccomp_filters");
    served.answer("before", "false");
    let before = filters();
    for round in 0..3 {
        let answer = served.ask(Event::new(format!("overrun-{round}"), "true").due_in(Duration::from_secs(1)));
        assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.DeadlineExceeded"));
        served.answer(&format!("after-{round}"), "false");
    }
    assert_eq!(filters(), before);
    assert_eq!(status(&served.host, "Seccomp"), "2");
}

#[test]
fn files_streams_and_granted_requests_work_behind_it() {
    let files = Served::with_env(guests::FILES, &[WALL]);
    let operations = json!([
        { "verb": "make-directory", "path": "/tmp/a" },
        { "verb": "write", "path": "/tmp/a/one", "data": "1" },
        { "verb": "rename", "path": "/tmp/a/one", "to": "/tmp/two" },
        { "verb": "read", "path": "/tmp/two" },
    ]);
    assert_eq!(files.answer("a", operations.to_string())[3], "1");

    let variables = [WALL, ("ORLOP_RESPONSE_MODE", "streaming"), ("ORLOP_WORLD", "command")];
    let streams = Served::with_env(guests::DRIP, &variables);
    streams.lambda.send(Event::new("a", "write one\nwrite two"));
    assert!(!streams.lambda.wait_for_answer("a").is_error);

    let server = HttpServer::echo();
    let grants = format!("outbound = [\"{}\"]", server.origin());
    let caller = Caller::with(FakeRuntimeApi::start(), guests::FETCH, &grants, &[WALL]);
    assert_eq!(caller.get(&(server.origin() + "/"))["status"], 201);
}

#[test]
fn a_component_is_compiled_at_init_behind_it_also_after_an_overrun() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with("spin.wasm", guests::SPIN);
    let _host = Host::orlop(&lambda)
        .task_root(&task_root)
        .env(WALL.0, WALL.1)
        .env(MARGIN.0, MARGIN.1)
        .start();
    lambda.send(Event::new("overrun", "true").due_in(Duration::from_secs(1)));
    assert!(lambda.wait_for_answer("overrun").is_error);
    lambda.send(Event::new("after", "false"));
    assert!(!lambda.wait_for_answer("after").is_error);
}

#[test]
fn what_lies_outside_of_the_task_root_cannot_be_read() {
    let (inside, outside) = (
        TaskRoot::new(),
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    );
    let artifact = outside.path().join("echo.cwasm");
    fs::copy(compile(guests::ECHO), &artifact).unwrap();
    symlink(&artifact, inside.path().join("echo.cwasm")).unwrap();
    let start = |wall: &str| {
        let lambda = FakeRuntimeApi::start();
        let host = Host::binary(bootstrap())
            .runtime_api(&lambda.address())
            .task_root(&inside)
            .env("ORLOP_SECOND_WALL", wall)
            .start();
        (lambda, host)
    };
    let (lambda, _host) = start("off");
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
    let (lambda, host) = start("on");
    if !line(&host).1 {
        return println!("skipped: this kernel has no landlock");
    }
    let report = lambda.wait_for_init_error().json();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert!(text(&report, "errorMessage").contains("Permission denied"), "{report}");
}
