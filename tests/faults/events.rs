//! Events with odd heads and odd bodies (F05, F17 to F24, F26).

use std::time::Duration;

use orlop_tests::{Event, Held, Served, guests};
use serde_json::Value;

use crate::{accepted, assert_ended_with_reason, posts, tolerant};

/// The head of an event with that id, with these further lines.
fn head(id: &str, lines: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {id}\r\nLambda-Runtime-Deadline-Ms: 99999999999999\r\n{lines}\r\n"
    )
}

#[test]
fn every_framing_of_an_event_that_http_knows_is_understood() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    for (id, lines, body, closes) in [
        (
            "chunks",
            "Transfer-Encoding: chunked\r\n",
            "1\r\n\"\r\n2\r\nab\r\n1\r\n\"\r\n0\r\n\r\n",
            false,
        ),
        (
            "extensions",
            "Transfer-Encoding: chunked\r\n",
            "4;name=value;other=\"a b\"\r\n\"ab\"\r\n0;last\r\n\r\n",
            false,
        ),
        (
            "trailers",
            "Transfer-Encoding: chunked\r\nTrailer: x-a\r\n",
            "4\r\n\"ab\"\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
            false,
        ),
        (
            "hexadecimal",
            "Transfer-Encoding: CHUNKED\r\n",
            "0004\r\n\"ab\"\r\n000\r\n\r\n",
            false,
        ),
        ("length", "Content-Length: 4\r\n", "\"ab\"", false),
        ("spaces", "Content-Length:    4   \r\n", "\"ab\"", false),
        ("closing", "Content-Length: 4\r\nConnection: close\r\n", "\"ab\"", true),
        ("until-close", "", "\"ab\"", true),
    ] {
        let event = Event::new(id, "").as_bytes_on_the_wire(head(id, lines) + body);
        served.lambda.send(if closes { event.then_closing() } else { event });
        assert_eq!(served.lambda.wait_for_answer(id).body, b"\"ab\"", "{id}");
        assert_eq!(served.answer(&format!("after-{id}"), "1"), 1, "{id}");
    }
    let event = head("old", "").replace("HTTP/1.1", "HTTP/1.0") + "\"ab\"";
    served
        .lambda
        .send(Event::new("old", "").as_bytes_on_the_wire(event).then_closing());
    assert_eq!(served.lambda.wait_for_answer("old").body, b"\"ab\"");
}

#[test]
fn more_bytes_than_an_event_announced_are_no_part_of_anything() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    let surplus = "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: forged\r\nContent-Length: 1\r\n\r\n9";
    for (id, surplus) in [("nonsense", "surplus"), ("smuggled", surplus)] {
        let bytes = head(id, "Content-Length: 1\r\n") + "1" + surplus;
        served.lambda.send(Event::new(id, "1").as_bytes_on_the_wire(bytes));
        assert_eq!(served.lambda.wait_for_answer(id).body, b"1");
        assert_eq!(served.answer(&format!("after-{id}"), "2"), 2, "{id}");
    }
    assert!(served.lambda.answers("forged").is_empty(), "{}", served.lambda.record());
}

#[test]
fn an_event_that_is_shorter_than_announced_is_never_answered_by_half() {
    for length in [0, 1, 9, 19] {
        let served = Served::with(tolerant(), guests::ECHO, &[]);
        served
            .lambda
            .send(Event::new("short", "\"012345678901234567\"").cut_after(length));
        assert_ended_with_reason(&served, &format!("{length} bytes"));
        assert_eq!(accepted(&served.lambda, "short"), 0);
    }
}

#[test]
fn an_odd_deadline_is_no_reason_to_fail() {
    let served = Served::new(guests::CONTEXT);
    for (index, (deadline, most)) in [
        ("-1", 900_000),
        ("soon", 900_000),
        ("1e20", 900_000),
        ("100000000000000000000", 900_000),
        ("18446744073709551615", 5_400_000),
        ("99999999999999", 5_400_000),
        (" 99999999999999 ", 5_400_000),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = served.ask(Event::new(format!("event-{index}"), "{}").deadline(deadline));
        assert!(!answer.is_error, "{deadline}");
        let left = answer.json()["remaining_ms"].as_u64().unwrap();
        assert!((1..=most).contains(&left), "{deadline}: {left}");
    }
    // One that has passed leaves a moment; whatever the guest makes of it, there is an answer.
    for deadline in ["0", "1", "1000000000000"] {
        served.ask(Event::new(format!("passed-{deadline}"), "{}").deadline(deadline));
    }
    assert!(!served.answer("after", "{}").is_null());
}

#[test]
fn an_odd_header_is_no_reason_to_fail() {
    let served = Served::new(guests::ECHO);
    let long = "x".repeat(64 << 10);
    for (id, event) in [
        (
            "bytes",
            Event::new("bytes", "1").set_header("X-Odd", (0x80..=0xff).collect::<Vec<u8>>()),
        ),
        ("empty", Event::new("empty", "1").set_header("X-Odd", "")),
        ("long", Event::new("long", "1").client_context(long.clone())),
        (
            "many",
            (0..300).fold(Event::new("many", "1"), |event, index| {
                event.add_header(&format!("X-{index}"), "y")
            }),
        ),
        ("tab", Event::new("tab", "1").trace_id("a\tb")),
        (
            "type",
            Event::new("type", "1").set_header("Content-Type", "text/html; charset=utf-16"),
        ),
        (
            "encoding",
            Event::new("encoding", "1").set_header("Content-Encoding", "gzip"),
        ),
    ] {
        let answer = served.ask(event);
        assert!(!answer.is_error && answer.body == b"1", "{id}: {}", answer.text());
    }
}

#[test]
fn an_odd_request_id_comes_back_as_it_was_and_leaves_its_place_in_the_path_never() {
    let served = Served::new(guests::ECHO);
    for id in [
        "a/b",
        "../../next",
        "a?b=c",
        "a#b",
        "a%2Fb",
        "%",
        "a b",
        "ü",
        "..",
        ".",
        "a;b",
        "a\\b",
        "\u{fffd}",
    ] {
        assert_eq!(served.ask(Event::new(id, "1")).body, b"1", "{id:?}");
    }
    for request in posts(&served.lambda) {
        assert_eq!(request.path.matches('/').count(), 5, "{}", request.path);
    }
}

#[test]
fn a_request_id_that_can_be_none_is_refused() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    served.lambda.send(Event::new("x".repeat(4096), "1"));
    assert_ended_with_reason(&served, "4 kB");
    assert!(posts(&served.lambda).is_empty());
}

#[test]
fn events_beyond_the_limit_are_refused_without_being_kept() {
    let served = Served::with_env(guests::ECHO, &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")]);
    let before = memory_kib(served.host.pid());
    let at = served.ask(Event::new("at", vec![b' '; 6 << 20]).due_in(Duration::from_secs(30)));
    assert!(!at.is_error);
    for (id, event) in [
        ("announced", Event::new("announced", vec![b' '; (32 << 20) + 1])),
        (
            "unannounced",
            Event::new("unannounced", vec![b' '; 100 << 20]).in_chunks_of(1 << 20),
        ),
    ] {
        let answer = served.ask(event.due_in(Duration::from_secs(30)));
        assert_eq!(answer.json()["errorType"], "Runtime.UnmarshalError", "{id}");
        assert_eq!(served.answer(&format!("after-{id}"), "1"), 1, "{id}");
    }
    let after = memory_kib(served.host.pid());
    // What was read up to the limit may stay with the allocator; a second copy may not.
    assert!(after < before + (48 << 10), "{before} KiB became {after} KiB");
}

fn memory_kib(pid: i32) -> u64 {
    Held::by(pid).unwrap().memory_kib
}

#[test]
fn what_is_no_json_is_the_guests_to_judge() {
    let events = [
        String::new(),
        "{no json".to_owned(),
        "\u{feff}{}".to_owned(),
        r#""\ud800""#.to_owned(),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        r#"{"a":1,"a":2}"#.to_owned(),
        "\0\0\0".to_owned(),
    ];
    let handler = Served::new(guests::ECHO);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(
            handler.ask(Event::new(format!("event-{index}"), &**event)).text(),
            event
        );
    }
    // Where the host has to look into it, for a route, there is an answer as well.
    let manifest = "routes = [{ source = 'aws.events', function = 'echo' }, { path = '/{a+}', function = 'echo' }]\n[functions.echo]\n";
    let task_root = orlop_tests::TaskRoot::new()
        .with_compiled(guests::ECHO)
        .with_content("orlop.toml", manifest);
    let routed = Served::in_task_root(orlop_tests::FakeRuntimeApi::start(), task_root, None, &[]);
    for (index, event) in events.iter().enumerate() {
        let answer = routed.ask(Event::new(format!("event-{index}"), &**event));
        let report: Value = answer.json();
        assert_eq!(report["errorType"], "Runtime.RouteNotFound", "{event:.40}: {report}");
    }
}

#[test]
fn an_event_that_takes_longer_to_arrive_than_it_may_last_is_answered_all_the_same() {
    let served = Served::new(guests::ECHO);
    let event = Event::new("slow", "\"0123456789\"").due_in(Duration::from_millis(300));
    let answer = served.ask(event.one_byte_every(Duration::from_millis(50)));
    // Lambda has given up by then; what counts is that the process has not.
    assert!(answer.body == b"\"0123456789\"" || answer.json()["errorType"] == "Runtime.DeadlineExceeded");
    assert_eq!(served.answer("after", "1"), 1);
}
