//! The table of what guests do while they are served, and what their callers get.

use std::time::Duration;

use orlop_tests::{Answer, Event};
use serde_json::{Value, json};

use crate::guests::{self, Made};

/// One thing that a guest does in an event.
pub(crate) struct Case {
    /// The number in the threat model, and what tells it from others of the same number.
    pub(crate) id: &'static str,
    /// The rest of the sentence "a guest that …".
    pub(crate) does: &'static str,
    pub(crate) guest: Guest,
    pub(crate) expected: Expected,
}

/// Who does it.
pub(crate) enum Guest {
    /// The guest `hostile`, told what to do.
    Told(Value),
    /// The same, with more memory.
    Large(Value),
    /// The guest `http`, at this path, with this body.
    Server(&'static str, Value),
    /// The guest `hostile-03`, a server on WASI 0.3, told what to do.
    Asynchronous(&'static str),
    /// A component that can do nothing else.
    Made(Made),
}

/// What the caller gets.
pub(crate) enum Expected {
    /// This answer.
    Answer(Value),
    /// An answer, of which this holds.
    AnswerThat(fn(&Value) -> bool),
    /// An error of this type, whose message contains this.
    Failure(&'static str, &'static str),
    /// An error at the deadline, after which the process has begun anew under the same id.
    Overrun,
}

/// How long an event may take that is to overrun. With the host's margin, half of it remains.
const SHORT: Duration = Duration::from_millis(300);

/// The address of the Runtime API and the path of a file that nobody may reach.
pub(crate) struct Surroundings {
    pub(crate) runtime_api: String,
    pub(crate) canary: String,
}

const TRAP: &str = "Runtime.GuestTrap";
const EXIT: &str = "Runtime.GuestExit";
const MEMORY: &str = "Runtime.OutOfMemory";
const LIMIT: &str = "Runtime.LimitExceeded";
const TOO_LARGE: &str = "Function.ResponseTooLarge";
const INVALID: &str = "Function.InvalidResponse";

use Expected::{Answer as Gets, AnswerThat, Failure, Overrun};
use Guest::{Asynchronous, Large, Server, Told};

/// All of them.
#[rustfmt::skip]
pub(crate) fn cases(surroundings: &Surroundings) -> Vec<Case> {
    let Surroundings { runtime_api, canary } = surroundings;
    let does = |what: &str| Told(json!({ "does": what }));
    let case = |id, does, guest, expected| Case { id, does, guest, expected };
    let made = |make: fn() -> Vec<u8>, id| Guest::Made(Made { id, make });
    vec![
        case("G01", "computes forever", does("spin"), Overrun),
        case("G06", "grows its memory until it is refused", Told(json!({ "does": "grow", "aborts": false })),
            AnswerThat(|pages| (512..1024).contains(&pages.as_u64().unwrap_or(0)))),
        case("G07", "grows its memory and aborts when it is refused", Told(json!({ "does": "grow", "aborts": true })),
            Failure(MEMORY, "ORLOP_LIMIT_MEMORY")),
        case("G07-later", "copes with a refusal and traps for another reason", does("grow-then-panic"),
            Failure(TRAP, "of something else")),
        case("G11", "grows a table without end", made(guests::table_growth, "G11"), Gets(json!(1))),
        case("G12", "calls itself until the native stack is full", made(guests::native_recursion, "G12"),
            Failure(TRAP, "call stack exhausted")),
        case("G13", "calls itself until its own stack is full", does("recurse"), Failure(TRAP, "")),
        case("G14-panic", "panics", Told(json!({ "does": "panic", "message": "out of rope" })),
            Failure(TRAP, "out of rope")),
        case("G14-abort", "aborts", does("abort"), Failure(TRAP, "unreachable")),
        case("G14-unreachable", "reaches the unreachable", made(guests::unreachable, "G14-unreachable"), Failure(TRAP, "unreachable")),
        case("G15-0", "exits well", Told(json!({ "does": "exit", "code": 0 })), Failure(EXIT, "status 0")),
        case("G15-1", "exits with 1", Told(json!({ "does": "exit", "code": 1 })), Failure(EXIT, "status 1")),
        case("G15-42", "exits with 42", Told(json!({ "does": "exit", "code": 42 })), Failure(EXIT, "status ")),
        case("G17", "answers with 100 MB", Large(json!({ "does": "answer-bytes", "count": 100_000_000 })),
            Failure(TOO_LARGE, "6291556")),
        case("G17-list", "answers with a list that says it has 100 MB", made(guests::answer_outside, "G17-list"),
            Failure(INVALID, "")),
        case("G18-outside", "answers with a list that lies outside of its memory", made(guests::answer_at_the_end, "G18-outside"),
            Failure(INVALID, "")),
        case("G18-wrapping", "answers with a list that wraps around the end of its memory", made(guests::answer_wraps, "G18-wrapping"),
            Failure(INVALID, "")),
        case("G18-misaligned", "returns a misaligned address", made(guests::result_misaligned, "G18-misaligned"),
            Failure(INVALID, "")),
        case("G18-nowhere", "returns an address outside of its memory", made(guests::result_outside, "G18-nowhere"),
            Failure(INVALID, "")),
        case("G19-utf8", "fails with words that are no UTF-8", made(guests::error_without_utf8, "G19-utf8"),
            Failure(INVALID, "utf-8")),
        case("G19-variant", "answers neither well nor badly", made(guests::result_variant, "G19-variant"),
            Failure(INVALID, "")),
        case("G20-outside", "allocates outside of its memory", made(guests::allocate_outside, "G20-outside"),
            Failure(TRAP, "")),
        case("G20-misaligned", "allocates at odd addresses", made(guests::allocate_misaligned, "G20-misaligned"),
            Failure(TRAP, "")),
        case("G20-same", "allocates everything in the same place", made(guests::allocate_same, "G20-same"), Gets(json!(1))),
        case("G20-trap", "traps when it is to take its event", made(guests::allocate_never, "G20-trap"), Failure(TRAP, "")),
        case("G23", "answers with what is no JSON", Told(json!({ "does": "answer-text", "text": "{no json", "times": 1 })),
            AnswerThat(|answer| answer == "{no json")),
        case("G24-deep", "answers with JSON that is 10,000 deep", Told(json!({ "does": "answer-text", "text": "[", "times": 10_000 })),
            AnswerThat(|answer| answer.as_str().map(str::len) == Some(10_000))),
        case("G24-wide", "answers with a million keys", Told(json!({ "does": "answer-text", "text": "\"a\":1,", "times": 1_000_000 })),
            AnswerThat(|answer| answer.as_str().map(str::len) == Some(6_000_000))),
        case("G24-number", "answers with a number that is none", Told(json!({ "does": "answer-text", "text": "1e999 NaN", "times": 1 })),
            AnswerThat(|answer| answer == "1e999 NaN")),
        case("G25-99", "responds with the status 99", responding(99, json!([])), AnswerThat(|answer| is_status(answer, 200))),
        case("G25-600", "responds with the status 600", responding(600, json!([])), AnswerThat(|answer| is_status(answer, 502))),
        case("G25-1000", "responds with the status 1000", responding(1000, json!([])), AnswerThat(|answer| is_status(answer, 200))),
        case("G25-101", "switches protocols", responding(101, json!([])), AnswerThat(|answer| is_status(answer, 502))),
        case("G25-inject", "breaks lines in headers", Server("/inject", json!({})),
            AnswerThat(|answer| is_status(answer, 200) && !answer.to_string().contains("stolen=1\""))),
        case("G25-lengths", "announces two lengths", Server("/lengths", json!({})), AnswerThat(|answer| is_status(answer, 200))),
        case("G25-chunked", "announces another framing", responding(200, json!([["transfer-encoding", "chunked"], ["x-a", "1"]])),
            AnswerThat(|answer| is_status(answer, 200) && !answer.to_string().contains("chunked"))),
        case("G25-headers", "responds with 2,000 headers", Server("/headers", json!({})), AnswerThat(|answer| is_status(answer, 200))),
        case("G25-nothing", "never responds", Server("/no-response", json!({})), Failure(INVALID, "without a response")),
        case("G26", "reaches for files elsewhere", Told(json!({ "does": "reach", "canary": canary })), Gets(json!([]))),
        case("G28", "makes links that lead elsewhere, and follows them", Told(json!({ "does": "link", "canary": canary })), Gets(json!([]))),
        case("G29", "reads its variables", does("variables"), AnswerThat(has_no_secrets)),
        case("G30", "opens files until it is refused", does("open-files"), Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G31", "tries every address that it should not reach, and listens", Told(json!({ "does": "network", "address": runtime_api })),
            Gets(json!([]))),
        case("G35", "sleeps forever", does("sleep"), Overrun),
        case("G36", "reads its stdin to the end", does("read-stdin"), Gets(json!(0))),
        case("G37", "polls 90,000 things at once", does("poll"), Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G38-pollables", "makes pollables without end", does("pollables"), Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G38-streams", "takes handles to stdout without end", does("streams"), Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G39-lines", "prints 16 MiB of lines", printing(&"0123456789abcde\n".repeat(4096), 256), Gets(json!(null))),
        case("G39-line", "prints 16 MiB without the end of a line", printing(&"0123456789abcdef".repeat(4096), 256), Gets(json!(null))),
        case("G40", "forges lines of the platform", printing(FORGED, 1), Gets(json!(null))),
        case("G41", "writes files until there is no room", does("fill-tmp"),
            AnswerThat(|outcome| outcome["count"] == 8 && outcome["error"].is_string())),
        case("G41-sparse", "makes a file of a tebibyte of nothing", does("fill-sparse"), Gets(json!({ "count": 0, "error": "StorageFull" }))),
        case("G42", "makes files without end", does("crowd-tmp"), Gets(json!({ "count": 500, "error": "StorageFull" }))),
        case("G42-deep", "nests directories without end", does("nest-tmp"), AnswerThat(|outcome| outcome["error"] == "StorageFull")),
        case("G43-huge", "asks for a tebibyte of random bytes", Told(json!({ "does": "random", "bytes": 1_u64 << 40 })),
            Failure(LIMIT, "ORLOP_LIMIT_RANDOM")),
        case("G43-above", "asks for one random byte too many", Told(json!({ "does": "random", "bytes": (64 << 10) + 1 })),
            Failure(LIMIT, "ORLOP_LIMIT_RANDOM")),
        case("G43-forever", "asks for random bytes forever", does("random-forever"), Overrun),
        case("G44-tight", "measures the shortest times", does("time-tightly"), Gets(json!(false))),
        case("G44-future", "waits for the end of time", does("far-future"), Gets(json!([2]))),
        case("G44-times", "gives files times beyond all ends", does("far-times"), AnswerThat(|taken| taken.as_u64() >= Some(1))),
        case("G45-zeros", "writes a tebibyte of zeros", Told(json!({ "does": "write-zeroes", "bytes": 1_u64 << 40 })), Failure(TRAP, "")),
        case("G45-read", "reads a tebibyte at once", Told(json!({ "does": "read-file", "bytes": 1_u64 << 40 })),
            Gets(json!({ "written": 7, "read": 7, "streamed": 7 }))),
        case("G45-path", "names a file with 13 MB", Told(json!({ "does": "long-path", "bytes": 13_000_000 })),
            Failure(LIMIT, "ORLOP_LIMIT_HOST_CALL_DATA")),
        case("G45-name", "names a file with 1 MB", Told(json!({ "does": "long-path", "bytes": 1_000_000 })),
            Gets(json!("InvalidFilename"))),
        case("G46", "keeps 20 MB for the next event", Told(json!({ "does": "leak", "bytes": 20_000_000 })), Gets(json!(1))),
        case("G47", "leaves everything open", does("leave-open"), Gets(json!(80))),
        case("G57-long", "has functions with names of 100 kB, and traps", made(guests::long_names, "G57-long"), Failure(TRAP, "unreachable")),
        case("G57-odd", "has functions with line ends and escapes in their names, and traps", made(guests::odd_names, "G57-odd"),
            Failure(TRAP, "unreachable")),
        case("G58", "has debug information that is none, and traps", made(guests::false_debug_information, "G58"),
            Failure(TRAP, "unreachable")),
        case("G61", "fails with a message of 10 MB", Told(json!({ "does": "fail", "message": "0123456789", "times": 1_000_000 })),
            Failure("Hostile", "0123456789")),
        case("G01-0.3", "computes forever on WASI 0.3", Asynchronous("spin"), Overrun),
        case("G01-0.3-yield", "lets others run forever", Asynchronous("yield"), Overrun),
        case("G01-0.3-later", "goes on computing when it has answered", Asynchronous("work-on"), body("done")),
        case("G15-0.3", "exits with 42 on WASI 0.3", Asynchronous("exit"), Failure(EXIT, "status 42")),
        case("G25-0.3", "responds with 2 MB of trailers", Asynchronous("trailers"), body("")),
        case("G25-0.3-99", "responds with the status 99 on WASI 0.3", Asynchronous("status"), body("false")),
        case("G25-0.3-end", "never ends its response", Asynchronous("no-end"), Overrun),
        case("G25-0.3-body", "responds without end", Asynchronous("body-forever"), AnswerThat(|answer| is_status(answer, 502))),
        case("G30-0.3", "opens files until it is refused on WASI 0.3", Asynchronous("open-files"),
            Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G31-0.3", "tries to reach somebody on WASI 0.3", Asynchronous("network"), body("")),
        case("G31-0.3-sockets", "makes sockets without end", Asynchronous("sockets"), body("ErrorCode::AccessDenied")),
        case("G35-0.3", "waits for the end of time on WASI 0.3", Asynchronous("wait"), Overrun),
        case("G35-0.3-itself", "waits for itself", Asynchronous("deadlock"), Overrun),
        case("G36-0.3", "reads its stdin to the end on WASI 0.3", Asynchronous("stdin"), body("0 Ok(())")),
        case("G38-0.3-tasks", "begins tasks without end", Asynchronous("spawn"), Failure(LIMIT, "ORLOP_LIMIT_HANDLES")),
        case("G38-0.3-waits", "begins waits without end", Asynchronous("timers"), Failure(LIMIT, "ORLOP_LIMIT_HANDLES")),
        case("G38-0.3-streams", "makes streams without end", Asynchronous("streams"), Failure(LIMIT, "ORLOP_LIMIT_HANDLES")),
        case("G38-0.3-futures", "makes futures without end", Asynchronous("futures"), Failure(LIMIT, "ORLOP_LIMIT_HANDLES")),
        case("G38-0.3-fields", "makes headers without end", Asynchronous("fields"), Failure(LIMIT, "ORLOP_LIMIT_RESOURCES")),
        case("G39-0.3", "prints 16 MiB through a stream", Asynchronous("print"), body("16777216")),
        case("G39-0.3-forever", "prints forever through a stream", Asynchronous("print-forever"), Overrun),
        case("G43-0.3", "asks for a tebibyte of random bytes on WASI 0.3", Asynchronous("random"), body("65536")),
        case("G47-0.3", "leaves everything open on WASI 0.3", Asynchronous("leave-open"), body("done")),
    ]
}

/// What a guest would print to be taken for the platform, and what it would break a terminal with.
pub(crate) const FORGED: &str = "START RequestId: 1 Version: 2\nEND RequestId: 1\nREPORT RequestId: 1 Duration: 1 ms\n\
     2026-01-01T00:00:00.000Z\tb\tERROR\tforged\n\u{1b}[31mred\u{1b}]0;title\u{7}\0\r\u{9b}2J\u{202e}\u{2028}\n";

fn printing(text: &str, times: usize) -> Guest {
    Told(json!({ "does": "print", "stream": "stdout", "text": text, "bytes": [], "times": times }))
}

fn responding(status: u16, headers: Value) -> Guest {
    Server(
        "/",
        json!({ "respond": { "status": status, "headers": headers, "body": "" } }),
    )
}

fn is_status(answer: &Value, status: u16) -> bool {
    answer["statusCode"] == status
}

/// An answer with the status 200 and that body.
fn body(text: &str) -> Expected {
    Gets(json!({ "statusCode": 200, "headers": {}, "body": text, "isBase64Encoded": false }))
}

/// Names and values of variables that may be a guest's.
fn has_no_secrets(variables: &Value) -> bool {
    let is_harmless = |(name, value): (&String, &Value)| {
        value != "secret" && !name.contains("TOKEN") && !name.contains("SECRET") && name != "AWS_LAMBDA_RUNTIME_API"
    };
    let variables = variables.as_object();
    variables.is_some_and(|variables| variables.contains_key("VISIBLE") && variables.iter().all(is_harmless))
}

impl Case {
    /// Whether the process begins anew because of it.
    pub(crate) fn restarts(&self) -> bool {
        matches!(self.expected, Overrun)
    }

    /// Its event, with that request id.
    pub(crate) fn event(&self, request_id: &str) -> Event {
        let payload = match &self.guest {
            Told(orders) => addressed("hostile", orders),
            Large(orders) => addressed("large", orders),
            Guest::Made(made) => addressed(made.id, &json!({})),
            Server(path, body) => request(path, body),
            Asynchronous(does) => request(&format!("/asynchronous/{does}"), &json!({})),
        };
        let event = Event::new(request_id, payload.to_string());
        // A busy machine must not make an overrun of what only takes long.
        event.due_in(if self.restarts() {
            SHORT
        } else {
            Duration::from_secs(60)
        })
    }

    /// What is wrong with what the caller got, if anything is.
    pub(crate) fn complaint(&self, answer: &Answer) -> Option<String> {
        let Self { id, does, expected, .. } = self;
        let is_right = match expected {
            Gets(wanted) => !answer.is_error && value(answer) == *wanted,
            AnswerThat(holds) => !answer.is_error && holds(&value(answer)),
            Failure(error_type, words) => is_report(answer, error_type, words),
            Overrun => is_report(answer, "Runtime.DeadlineExceeded", ""),
        };
        let beginning = answer.text().chars().take(1000).collect::<String>();
        (!is_right).then(|| format!("{id}: a guest that {does} got {beginning}"))
    }
}

fn is_report(answer: &Answer, error_type: &str, words: &str) -> bool {
    let report = value(answer);
    let message = report["errorMessage"].as_str().unwrap_or_default();
    let is_small = message.len() <= 4096 && answer.body.len() <= 64 << 10;
    let is_clean = !answer.text().contains(char::is_control);
    answer.is_error && report["errorType"] == error_type && message.contains(words) && is_small && is_clean
}

/// An answer as JSON, or as the text that it is.
fn value(answer: &Answer) -> Value {
    let text = answer.text();
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// An event that the route of that name takes, and that a guest reads its orders from.
pub(crate) fn addressed(function: &str, orders: &Value) -> Value {
    let mut event = json!({ "detail-type": "orders", "source": function, "resources": [] });
    let members = event.as_object_mut().unwrap();
    members.extend(orders.as_object().cloned().unwrap_or_default());
    event
}

/// A request as API Gateway's HTTP API describes it.
fn request(path: &str, body: &Value) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "host": "example.com", "content-type": "application/json" },
        "requestContext": { "http": { "method": "POST", "path": path, "sourceIp": "203.0.113.17" }, "stage": "$default" },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}
