//! `orlop dev`, as its user sees it: through its ports, its output and its end.

mod ends;
mod runtimes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use orlop_tests::process::PATIENCE;
use orlop_tests::{Process, Signal, examples, guests, orlop, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::projects::Desk;

/// How an `orlop dev` begins that has ports of its own and writes its journal as JSON.
pub(crate) const DEV_ON_FREE_PORTS: [&str; 7] = [
    "dev",
    "--http",
    "127.0.0.1:0",
    "--aws",
    "127.0.0.1:0",
    "--log-format",
    "json",
];

/// A running `orlop dev` on ports of its own.
struct Dev {
    process: Process,
    front: String,
    aws: String,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        Self::of(Command::new(orlop()), arguments)
    }

    /// Runs it by a command that has no arguments yet.
    fn of(mut command: Command, arguments: &[&str]) -> Self {
        command.args(DEV_ON_FREE_PORTS).args(arguments);
        let process = Process::start(command);
        let address = |label: &str| {
            let line = process.wait_for_log(|line| line.trim_start().starts_with(label));
            line.rsplit([' ', '=']).next().unwrap().trim_end_matches('/').to_owned()
        };
        let (front, aws) = (address("HTTP "), address("AWS "));
        Self { process, front, aws }
    }

    /// The journal's entries of this kind.
    fn entries(&self, kind: &str) -> Vec<Value> {
        let lines = self.process.stdout();
        let entries = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry["kind"] == kind).collect()
    }

    /// Waits for an entry of the journal.
    fn wait_for(&self, kind: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let line = self.process.wait_for_stdout(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            entry["kind"] == kind && is_wanted(&entry)
        });
        serde_json::from_str(&line).unwrap()
    }

    fn invoke(&self, function: &str, event: &Value) -> Got {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.aws);
        curl(&["-d", &event.to_string(), &url])
    }

    fn sqs(&self, action: &str, body: &Value) -> Value {
        let target = format!("X-Amz-Target: AmazonSQS.{action}");
        let json = "Content-Type: application/x-amz-json-1.0";
        let got = curl(&["-H", &target, "-H", json, "-d", &body.to_string(), &self.aws]);
        assert_eq!(got.status, 200, "{}", got.body);
        serde_json::from_str(&got.body).unwrap_or_default()
    }

    fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.aws)
    }

    /// Waits until the queue has so many messages that can be received.
    fn wait_for_messages(&self, queue: &str, count: &str) {
        let request = json!({"QueueUrl": self.queue_url(queue), "AttributeNames": ["All"]});
        until(|| {
            let attributes = self.sqs("GetQueueAttributes", &request);
            attributes["Attributes"]["ApproximateNumberOfMessages"] == *count
        });
    }
}

impl Drop for Dev {
    /// Lets it tidy up.
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while !self.process.has_exited() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A client's view of an answer.
struct Got {
    status: u16,
    body: String,
}

fn curl(arguments: &[&str]) -> Got {
    tools::require(&["curl"], "it is the client of these tests");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Got {
        status: status.parse().unwrap(),
        body: body.to_owned(),
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "this did not come true within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder with these components, by the names that they have there.
fn folder(components: &[(&str, &Path)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, component) in components {
        fs::copy(component, folder.path().join(format!("{name}.wasm"))).unwrap();
    }
    folder
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn guest(guest: impl AsRef<Path>) -> String {
    path(guest.as_ref()).to_owned()
}

fn is_running(pid: &Value) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn a_request_starts_an_environment_and_the_next_one_finds_it_warm() {
    let dev = Dev::start(&[&guest(guests::ECHO)]);
    assert!(dev.entries("environment-started").is_empty());
    for number in 1..=3 {
        let got = curl(&[&format!("{}/path?number={number}", dev.front)]);
        assert_eq!(got.status, 200);
        let event: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(event["rawQueryString"], format!("number={number}"));
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    }
    until(|| dev.entries("invocation-ended").len() == 3);
    assert_eq!(dev.entries("environment-started").len(), 1);
    let cold: Vec<Value> = dev
        .entries("invocation-started")
        .iter()
        .map(|entry| entry["is_cold"].clone())
        .collect();
    assert_eq!(cold, [true, false, false]);
    assert!(dev.entries("invocation-ended")[0]["init_ms"].is_number());
}

#[test]
fn a_hundred_requests_at_once_have_a_hundred_environments() {
    let dev = Dev::start(&[&guest(guests::SLEEP), "--timeout", "60s"]);
    let url = format!("{}/2015-03-31/functions/sleep/invocations?[1-100]", dev.aws);
    // Long enough for the last one to begin before the first one ends, however slow this machine is.
    let got = curl(&[
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        "100",
        "-d",
        "8000",
        &url,
    ]);
    assert_eq!(got.status, 200);
    until(|| dev.entries("invocation-ended").len() == 100);
    let ended = dev.entries("invocation-ended");
    assert!(ended.iter().all(|entry| entry["status"] == "success"));
    assert_eq!(dev.entries("environment-started").len(), 100);
}

#[test]
fn idle_environments_go_away() {
    let dev = Dev::start(&[&guest(guests::ECHO), "--idle", "500ms"]);
    dev.invoke("echo", &json!({}));
    let gone = dev.wait_for("environment-gone", |_| true);
    assert_eq!(gone["reason"], "it was idle");
    let pid = &dev.entries("environment-started")[0]["pid"];
    until(|| !is_running(pid));
}

#[test]
fn an_environment_killed_in_an_event_gives_its_caller_lambdas_error_and_the_queue_its_message_back() {
    let folder = tempfile::tempdir().unwrap();
    let record = format!("RECORD={}", path(&folder.path().join("record")));
    let script = path(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign/python/queue_runtime.py")).to_owned();
    let dev = Dev::start(&[
        "--function",
        "work",
        "--timeout",
        "1s",
        "--env",
        &record,
        ".",
        "--",
        "python3",
        &script,
    ]);
    let wait = format!("wait {}", path(&folder.path().join("gate")));
    dev.sqs(
        "SendMessage",
        &json!({"QueueUrl": dev.queue_url("work"), "MessageBody": wait}),
    );
    dev.wait_for("invocation-started", |entry| entry["source"] == "queue work");
    let pid = dev.wait_for("environment-started", |_| true)["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let answered = dev.wait_for("invocation-answered", |_| true);
    let error: Value = serde_json::from_str(answered["answer"].as_str().unwrap()).unwrap();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.ends_with("Error: Runtime exited with error: signal: killed"),
        "{message}"
    );

    // Its second delivery, when its visibility timeout is over, is a success.
    fs::write(folder.path().join("gate"), "").unwrap();
    dev.wait_for("invocation-ended", |entry| entry["status"] == "success");
    dev.wait_for_messages("work", "0");
}

#[test]
fn messages_of_the_queue_are_handled_and_poison_ends_among_the_dead_letters() {
    let component = guest(guests::QUEUE);
    let dev = Dev::start(&[&component, "--queue", "work", "--timeout", "1s", "--batch-size", "1"]);
    let soon = json!({"QueueUrl": dev.queue_url("work"), "Attributes": {"VisibilityTimeout": "1"}});
    dev.sqs("SetQueueAttributes", &soon);
    for body in ["1", "2", "poison"] {
        dev.sqs(
            "SendMessage",
            &json!({"QueueUrl": dev.queue_url("work"), "MessageBody": body}),
        );
    }
    for line in ["saw 1", "saw 2", "saw poison"] {
        dev.wait_for("line", |entry| entry["text"].as_str().unwrap().contains(line));
    }
    // Three deliveries, some seconds apart.
    dev.wait_for_messages("work-dead-letters", "1");
}

#[test]
fn an_event_that_nobody_waits_for_is_tried_three_times_and_ends_in_the_queue_for_failures() {
    let dev = Dev::start(&[&guest(guests::PANIC), "--on-failure", "given-up"]);
    let url = format!("{}/2015-03-31/functions/panic/invocations", dev.aws);
    let got = curl(&["-H", "X-Amz-Invocation-Type: Event", "-d", r#""boo""#, &url]);
    assert_eq!(got.status, 202);
    dev.wait_for_messages("given-up", "1");
    let started = dev.entries("invocation-started");
    assert_eq!(started.len(), 3);
    assert!(
        started
            .iter()
            .all(|entry| entry["request_id"] == started[0]["request_id"])
    );
    let received = dev.sqs("ReceiveMessage", &json!({"QueueUrl": dev.queue_url("given-up")}));
    let record: Value = serde_json::from_str(received["Messages"][0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestPayload"], "boo");
}

#[test]
fn routes_choose_the_function_and_each_can_be_called_by_its_name() {
    let folder = folder(&[("echo", guests::ECHO.as_ref()), ("sleep", guests::SLEEP.as_ref())]);
    let routes = "[functions.echo]\n[functions.sleep]\n\
                  [[routes]]\nmethod = 'GET'\npath = '/echo/{id}'\nfunction = 'echo'\n";
    fs::write(folder.path().join("orlop.toml"), routes).unwrap();
    let dev = Dev::start(&[path(folder.path())]);
    let got = curl(&[&format!("{}/echo/17", dev.front)]);
    let event: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(event["routeKey"], "GET /echo/{id}");
    assert_eq!(event["pathParameters"]["id"], "17");
    let got = curl(&[&format!("{}/elsewhere", dev.front)]);
    assert_eq!((got.status, got.body.as_str()), (404, r#"{"message":"Not Found"}"#));
    assert_eq!(dev.invoke("sleep", &json!(1)).body, "1");
}

#[test]
fn the_example_of_the_readme_has_its_requests_messages_and_schedule() {
    let components = [
        ("orders-api", examples::ORDERS_API),
        ("orders-queue", examples::ORDERS_QUEUE),
        ("orders-report", examples::ORDERS_REPORT),
    ];
    let components = components
        .each_ref()
        .map(|(name, component)| (*name, component.as_ref()));
    let folder = folder(&components);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/orders");
    fs::copy(source.join("orlop.toml"), folder.path().join("orlop.toml")).unwrap();
    fs::create_dir(folder.path().join("events")).unwrap();
    for event in ["api-create.json", "queue.json", "report.json"] {
        fs::copy(
            source.join("events").join(event),
            folder.path().join("events").join(event),
        )
        .unwrap();
    }
    let dev = Dev::start(&[path(folder.path())]);

    // The three commands that it prints are the three doors.
    dev.process
        .wait_for_log(|line| line.starts_with("  curl -H 'X-Amz-Target"));
    let commands: Vec<String> = dev
        .process
        .log()
        .iter()
        .filter(|line| line.starts_with("  curl "))
        .cloned()
        .collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    let got = curl(&[&format!("{}/orders/1001", dev.front)]);
    assert_eq!(
        (got.status, got.body.as_str()),
        (200, r#"{"item":"rope","price":5400,"quantity":12}"#)
    );
    let output = Command::new("sh").args(["-c", commands[0].trim()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("HTTP/1.1 202 Accepted"), "{text}");

    let order = json!({"item": "rope", "quantity": 1}).to_string();
    dev.sqs(
        "SendMessage",
        &json!({"QueueUrl": dev.queue_url("orders"), "MessageBody": order}),
    );
    dev.wait_for("invocation-started", |entry| entry["source"] == "queue orders");

    let whole = dev.entries("invocation-started")[0]["function"]
        .as_str()
        .unwrap()
        .to_owned();
    let report: Value = serde_json::from_slice(&fs::read(source.join("events/report.json")).unwrap()).unwrap();
    let got = dev.invoke(&whole, &report);
    assert!(got.body.contains("Orders of the day"), "{}", got.body);
}

#[test]
fn a_changed_component_takes_over_and_a_broken_one_does_not() {
    let folder = folder(&[("function", guests::ECHO.as_ref())]);
    let component = folder.path().join("function.wasm");
    let dev = Dev::start(&[path(folder.path())]);
    assert_eq!(dev.invoke("function", &json!(7)).body, "7");

    fs::write(&component, b"this is no component").unwrap();
    let failed = dev.wait_for("build-failed", |_| true);
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("does not begin as WebAssembly does")
    );
    assert_eq!(dev.invoke("function", &json!(8)).body, "8");

    fs::copy(guests::PRINT.path(), &component).unwrap();
    dev.wait_for("deployed", |entry| entry["version"] == 2);
    let event = json!([{"stream": "stdout", "text": "ahoy\n"}]);
    assert_eq!(dev.invoke("function", &event).body, "null");
    dev.wait_for("line", |entry| entry["text"].as_str().unwrap().ends_with("ahoy"));
}

#[test]
fn a_changed_source_is_built_and_served_and_what_does_not_build_is_shown_while_the_old_version_serves() {
    let desk = Desk::new();
    desk.crate_with("changing", &[("changing", "1")]);
    let dev = Dev::of(desk.command(orlop(), "changing", &[]), &[]);
    assert_eq!(dev.invoke("changing", &json!({})).body.trim(), "1");

    desk.write("changing/src/bin/changing.rs", "fn main() { this is no Rust }");
    let failed = dev.wait_for("build-failed", |_| true);
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("error: ") && message.contains("this is no Rust"),
        "{message}"
    );
    assert_eq!(dev.invoke("changing", &json!({})).body.trim(), "1");

    desk.write("changing/src/bin/changing.rs", "fn main() { println!(\"2\"); }");
    dev.wait_for("deployed", |entry| entry["version"] == 2);
    assert_eq!(dev.invoke("changing", &json!({})).body.trim(), "2");
}

#[test]
fn a_request_under_way_is_finished_by_the_version_that_took_it() {
    let folder = folder(&[("function", guests::SLEEP.as_ref())]);
    let component = folder.path().join("function.wasm");
    let dev = Dev::start(&[path(folder.path()), "--timeout", "60s"]);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| dev.invoke("function", &json!(6_000)));
        dev.wait_for("invocation-started", |_| true);
        fs::copy(guests::ECHO.path(), &component).unwrap();
        dev.wait_for("deployed", |entry| entry["version"] == 2);
        assert_eq!(dev.invoke("function", &json!({"new": true})).body, r#"{"new":true}"#);
        let slow = slow.join().unwrap();
        assert_eq!((slow.status, slow.body.as_str()), (200, "6000"));
    });
}

#[test]
fn a_guest_cannot_write_control_sequences_to_the_terminal() {
    let mut command = Command::new(orlop());
    command
        .args([
            "dev",
            "--http",
            "127.0.0.1:0",
            "--aws",
            "127.0.0.1:0",
            "--env",
            "PATH=/usr/bin:/bin",
        ])
        .args(["--", "python3"])
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign/python/runtime.py"));
    let process = Process::start(command);
    let line = process.wait_for_log(|line| line.contains("AWS_ENDPOINT_URL="));
    let aws = line.rsplit('=').next().unwrap();
    let event = json!({"print": "\u{1b}[2Jgone", "raw": "1"}).to_string();
    curl(&[
        "-d",
        &event,
        &format!("{aws}/2015-03-31/functions/function/invocations"),
    ]);
    let line = process.wait_for_stdout(|line| line.contains("gone"));
    assert!(!line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn mistakes_end_it_at_once_with_one_line_of_error_and_one_of_help() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let echo = guest(guests::ECHO);
    let empty = tempfile::tempdir().unwrap();
    let unclear = folder(&[("one", guests::ECHO.as_ref()), ("two", guests::SLEEP.as_ref())]);
    let misspelt = folder(&[("one", guests::ECHO.as_ref())]);
    fs::write(misspelt.path().join("orlop.toml"), "[functions.one]\ntimeot = '1s'\n").unwrap();
    let any = ["--http", "127.0.0.1:0", "--aws", "127.0.0.1:0"];
    let cases: [(&[&str], &str); 7] = [
        (
            &["dev", &echo, "--http", &taken, "--aws", "127.0.0.1:0"],
            "cannot listen on 127.0.0.1:",
        ),
        (&[&["dev", "/nowhere"][..], &any].concat(), "cannot read `/nowhere`"),
        (&[&["dev", path(empty.path())][..], &any].concat(), "without"),
        (
            &[&["dev", path(unclear.path())][..], &any].concat(),
            "several functions and no routes",
        ),
        (
            &[&["dev", path(misspelt.path())][..], &any].concat(),
            "the nearest is `timeout`",
        ),
        (
            &[&["dev", &echo, "--batch-size", "11"][..], &any].concat(),
            "batches of 11 messages need a batching window",
        ),
        (
            &[&["dev", &echo, "--queue", "a/b"][..], &any].concat(),
            "a queue cannot be called \"a/b\"",
        ),
    ];
    for (arguments, expected) in cases {
        let mut command = Command::new(orlop());
        command.args(arguments);
        let process = Process::start(command);
        let status = process.wait_for_exit(PATIENCE);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        let log = process.log();
        let [.., error, help] = log.as_slice() else {
            panic!("{log:?}")
        };
        assert!(error.starts_with("error: ") && error.contains(expected), "{error}");
        assert!(help.starts_with("help: "), "{help}");
    }
}
