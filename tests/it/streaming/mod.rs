//! Streamed answers of HTTP servers and of programs (runtime contract §3; conformance statements 56–66).

mod ends;
mod flow;
mod wasi_0_3;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use orlop_tests::held::status;
use orlop_tests::{Answer, Emulator, Event, FakeRuntimeApi, Served, TaskRoot, bootstrap, guests, text};
use serde_json::{Value, json};

const STREAMING: (&str, &str) = ("ORLOP_RESPONSE_MODE", "streaming");
/// Room for a busy machine between our deadline and Lambda's.
const MARGIN: (&str, &str) = ("ORLOP_DEADLINE_MARGIN", "700ms");
const OVERRUN: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(5);
const DELIMITER: [u8; 8] = [0; 8];
const MIB: usize = 1 << 20;

/// How one guest, which can be either, is run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    Http,
    Command,
}

const WORLDS: [World; 2] = [World::Http, World::Command];

impl World {
    fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::Http => ("ORLOP_WORLD", "http"),
            Self::Command => ("ORLOP_WORLD", "command"),
        }
    }

    fn served(self) -> Served {
        self.served_with(FakeRuntimeApi::start(), &[])
    }

    fn served_with(self, lambda: FakeRuntimeApi, variables: &[(&str, &str)]) -> Served {
        let variables = [&[self.variable(), STREAMING, MARGIN], variables].concat();
        Served::with(lambda, guests::DRIP, &variables)
    }

    /// An event for these steps.
    fn event(self, id: &str, steps: &[&str]) -> Event {
        Event::new(id, self.payload(steps))
    }

    fn payload(self, steps: &[&str]) -> String {
        match self {
            Self::Http => function_url("POST", "/", &steps.join("\n")),
            Self::Command => steps.join("\n"),
        }
    }

    /// What the guest wrote, of a streamed answer.
    fn written(self, body: &[u8]) -> String {
        let written = match self {
            Self::Http => http_parts(body).1,
            Self::Command => body,
        };
        String::from_utf8(written.to_vec()).unwrap()
    }

    /// How many bytes come before the first one that the guest wrote.
    fn prelude_bytes(self) -> usize {
        match self {
            Self::Http => r#"{"statusCode":200,"headers":{}}"#.len() + DELIMITER.len(),
            Self::Command => 0,
        }
    }
}

fn function_url(method: &str, path: &str, body: &str) -> String {
    let (raw_path, query) = path.split_once('?').unwrap_or((path, ""));
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": { "host": "abcdefghijklmnop.lambda-url.eu-central-1.on.aws", "content-type": "text/plain" },
        "requestContext": { "http": { "method": method, "path": raw_path }, "stage": "$default" },
        "body": body,
        "isBase64Encoded": false,
    })
    .to_string()
}

/// Prelude and payload of an HTTP stream.
fn http_parts(body: &[u8]) -> (Value, &[u8]) {
    let end = body.windows(DELIMITER.len()).position(|window| window == DELIMITER);
    let end = end.unwrap_or_else(|| panic!("no delimiter in {:?}", String::from_utf8_lossy(body)));
    (
        serde_json::from_slice(&body[..end]).unwrap(),
        &body[end + DELIMITER.len()..],
    )
}

/// The error that ended a stream (statement 58).
fn error_of(answer: &Answer) -> Value {
    assert!(!answer.is_error, "the error went to /error");
    let value = |name| std::str::from_utf8(answer.trailer(name).unwrap_or_else(|| panic!("no {name}"))).unwrap();
    let error_type = value("Lambda-Runtime-Function-Error-Type");
    let report = BASE64_STANDARD
        .decode(value("Lambda-Runtime-Function-Error-Body"))
        .unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(text(&report, "errorType"), error_type);
    assert!(
        report["errorMessage"].is_string() && report["stackTrace"].is_array(),
        "{report}"
    );
    assert_eq!(answer.trailers.len(), 2);
    report
}

fn assert_well_ended(answer: &Answer) {
    assert!(!answer.is_error, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.trailers.is_empty(), "{}", error_of(answer));
}

fn assert_nothing_at_error(lambda: &FakeRuntimeApi) {
    let requests = lambda.requests();
    assert!(
        requests.iter().all(|request| !request.path.ends_with("/error")),
        "{}",
        lambda.record()
    );
}

/// Asks for one more answer, of the same process.
fn assert_serves_on(served: &Served, world: World) {
    let answer = served.ask(world.event("after", &["write still here"]));
    assert_well_ended(&answer);
    assert_eq!(world.written(&answer.body), "still here");
    assert!(!served.host.has_exited());
}

// Statements 56, 58 and 66.
#[test]
fn a_stream_has_mode_chunks_and_declared_trailers_and_no_length_and_its_connection_is_not_used_again() {
    for world in WORLDS {
        let served = world.served();
        let event = world.event("a", &["write one", "write two"]).invocation_id("nonce");
        let answer = served.ask(event);
        assert_serves_on(&served, world);
        assert_well_ended(&answer);
        assert_eq!(world.written(&answer.body), "onetwo");
        let header = |name| {
            answer
                .header(name)
                .map(|value| String::from_utf8_lossy(value).to_ascii_lowercase())
        };
        assert_eq!(
            header("lambda-runtime-function-response-mode").as_deref(),
            Some("streaming")
        );
        assert_eq!(header("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(header("content-length"), None);
        assert_eq!(
            header("trailer").as_deref(),
            Some("lambda-runtime-function-error-type, lambda-runtime-function-error-body")
        );
        let content_type = match world {
            World::Http => "application/vnd.awslambda.http-integration-response",
            World::Command => "application/octet-stream",
        };
        assert_eq!(header("content-type").as_deref(), Some(content_type));
        let requests = served.lambda.requests();
        let on_it = requests
            .iter()
            .filter(|request| request.connection == answer.connection);
        assert_eq!(on_it.count(), 1, "{}", served.lambda.record());
    }
}

// Statement 62.
#[test]
fn an_answer_without_a_body_has_prelude_and_delimiter_all_the_same() {
    let served = World::Http.served();
    for (id, method, steps, status) in [
        ("empty", "POST", &["respond"][..], 200),
        ("no-content", "POST", &["status 204", "respond"], 204),
        ("not-modified", "GET", &["status 304", "respond"], 304),
        (
            "redirect",
            "POST",
            &["status 302", "header location /elsewhere", "respond"],
            302,
        ),
        ("head", "HEAD", &["respond"], 200),
        (
            "head-with-body",
            "HEAD",
            &["write not for the client", "bytes 1000000"],
            200,
        ),
    ] {
        let answer = served.ask(Event::new(id, function_url(method, "/", &steps.join("\n"))));
        assert_well_ended(&answer);
        let (prelude, body) = http_parts(&answer.body);
        assert_eq!((prelude["statusCode"].as_u64(), body), (Some(status), &b""[..]), "{id}");
    }
}

// Statement 63.
#[test]
fn the_prelude_has_single_strings_cookies_apart_and_no_length() {
    let served = World::Http.served();
    let steps = [
        "header x-twice one",
        "header x-twice two",
        "header set-cookie a=1; Path=/",
        "header set-cookie b=2",
        "header content-type text/html",
        "header content-length 3",
        "write abc",
    ];
    let answer = served.ask(World::Http.event("a", &steps));
    assert_well_ended(&answer);
    let (prelude, body) = http_parts(&answer.body);
    let expected = json!({
        "statusCode": 200,
        "headers": { "x-twice": "one, two", "content-type": "text/html" },
        "cookies": ["a=1; Path=/", "b=2"],
    });
    assert_eq!((prelude, body), (expected, &b"abc"[..]));
}

#[test]
fn the_type_of_a_programs_stream_is_a_setting_and_an_empty_stream_is_one() {
    let world = World::Command;
    let served = world.served_with(FakeRuntimeApi::start(), &[("ORLOP_CONTENT_TYPE", "text/csv")]);
    let answer = served.ask(world.event("a", &[]));
    assert_well_ended(&answer);
    assert_eq!(answer.header("content-type"), Some(&b"text/csv"[..]));
    assert_eq!(
        answer.header("lambda-runtime-function-response-mode"),
        Some(&b"streaming"[..])
    );
    assert!(answer.body.is_empty());
}

/// The most memory that the process ever had, in bytes.
fn peak_memory(served: &Served) -> usize {
    let kib = status(served.host.pid(), "VmHWM").unwrap();
    usize::try_from(kib).unwrap() * 1024
}

#[test]
fn what_is_no_http_event_is_answered_whole() {
    let served = World::Http.served();
    let answer = served.ask(Event::new("a", r#"{"Records":[]}"#));
    assert_eq!(answer.header("lambda-runtime-function-response-mode"), None);
}

#[test]
fn the_same_guests_are_answered_whole_in_the_other_mode() {
    for world in WORLDS {
        let variables = [world.variable(), MARGIN];
        let served = Served::with_env(guests::DRIP, &variables);
        let answer = served.ask(world.event("a", &["write one", "compute 50", "write two"]));
        assert!(!answer.is_error);
        assert_eq!(answer.header("lambda-runtime-function-response-mode"), None);
        let written = match world {
            World::Http => text(&answer.json(), "body").to_owned(),
            World::Command => answer.text().to_owned(),
        };
        assert_eq!(written, "onetwo");
        for step in ["panic", "spin"] {
            let event = world.event(step, &["write one", step]).due_in(Duration::from_secs(2));
            assert!(served.ask(event).is_error, "{world:?}: {step}");
        }
        assert!(!served.ask(world.event("after", &["write one"])).is_error);
    }
}

// Runtime contract §11.2.
#[test]
fn the_emulator_collects_a_stream_and_goes_on_after_a_broken_one() {
    for world in WORLDS {
        let task_root = TaskRoot::new().with_compiled(guests::DRIP);
        let (name, value) = world.variable();
        let emulator = Emulator::of(bootstrap())
            .arg(guests::DRIP.name())
            .env("LAMBDA_TASK_ROOT", task_root.path())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "3")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env(STREAMING.0, STREAMING.1)
            .env(MARGIN.0, MARGIN.1)
            .env(name, value)
            .start();
        let ask = |steps: &[&str]| {
            let (status, body) = emulator.invoke(world.payload(steps));
            assert_eq!(status, 200);
            world.written(&body)
        };
        assert_eq!(ask(&["write one", "sleep 50", "write two"]), "onetwo");
        assert_eq!(ask(&["write one", "panic"]), "one");
        assert_eq!(ask(&["write one", "spin"]), "one");
        assert_eq!(ask(&["write still here"]), "still here");
    }
}
