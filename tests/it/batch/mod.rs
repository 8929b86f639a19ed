//! Batches, record by record: which records run, in which order, and which of them the answer brings back (conformance
//! statement 100).

mod overrun;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use orlop_tests::{Answer, Event, FakeRuntimeApi, Host, Served, Signal, TaskRoot, guests};
use serde_json::{Value, json};

const RECORD: (&str, &str) = ("ORLOP_BATCH", "record");
/// Room for a busy machine between our deadline and Lambda's.
const MARGIN: (&str, &str) = ("ORLOP_DEADLINE_MARGIN", "700ms");

fn message(id: &str, body: &str) -> Value {
    json!({
        "messageId": id,
        "body": body,
        "attributes": { "ApproximateReceiveCount": "1" },
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
    })
}

fn fifo_message(group: &str, id: &str, body: &str) -> Value {
    let mut message = message(id, body);
    message["attributes"]["MessageGroupId"] = group.into();
    message["eventSourceARN"] = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo".into();
    message
}

fn kinesis_record(number: &str, key: &str) -> Value {
    json!({
        "kinesis": { "kinesisSchemaVersion": "1.0", "partitionKey": key, "sequenceNumber": number, "data": "e30=" },
        "eventSource": "aws:kinesis",
        "eventID": format!("shardId-000000000000:{number}"),
        "eventSourceARN": "arn:aws:kinesis:eu-central-1:123456789012:stream/orders",
    })
}

fn dynamodb_record(number: &str, key: &str) -> Value {
    json!({
        "eventID": "1",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": { "Keys": { "verb": { "S": key } }, "SequenceNumber": number, "SizeBytes": 26 },
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000",
    })
}

fn batch(records: impl IntoIterator<Item = Value>) -> String {
    json!({ "Records": records.into_iter().collect::<Vec<_>>() }).to_string()
}

/// A batch of messages, as identifier and body.
fn messages(messages: &[(&str, &str)]) -> String {
    batch(messages.iter().map(|(id, body)| message(id, body)))
}

/// The identifiers in an answer, which holds these and nothing else.
#[track_caller]
fn failures(answer: &Answer) -> Vec<String> {
    assert!(!answer.is_error, "{}", answer.text());
    let answer = answer.json();
    let failures = answer["batchItemFailures"].as_array().unwrap();
    let identifiers = failures
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap());
    let identifiers = identifiers.map(str::to_owned).collect::<Vec<_>>();
    let rebuilt = identifiers.iter().map(|id| json!({ "itemIdentifier": id }));
    assert_eq!(answer, json!({ "batchItemFailures": rebuilt.collect::<Vec<_>>() }));
    identifiers
}

/// What happened in an event, once the host has said that it is over.
struct Trace(Vec<String>);

impl Trace {
    fn of(host: &Host, id: &str) -> Self {
        let is_of_event = |line: &str| line.split('\t').nth(1) == Some(id);
        host.wait_for_log(|line| {
            let is_end = ["ran the batch record by record", "the batch was ended"];
            is_of_event(line) && is_end.iter().any(|end| line.contains(end))
        });
        Self(host.log().into_iter().filter(|line| is_of_event(line)).collect())
    }

    /// The guest's lines that begin with this word, without it, in order.
    fn lines(&self, word: &str) -> Vec<&str> {
        let contents = self.0.iter().filter_map(|line| line.split("\tstderr\t").nth(1));
        contents
            .filter_map(|content| content.strip_prefix(word)?.strip_prefix(' '))
            .collect()
    }

    fn begun(&self) -> Vec<&str> {
        let lines = self.lines("begin").into_iter();
        lines.map(|line| line.split(' ').next().unwrap_or_default()).collect()
    }

    fn ended(&self) -> Vec<&str> {
        self.lines("end")
    }

    /// The records that were under way at once, for each moment at which one began.
    fn together(&self) -> Vec<BTreeSet<&str>> {
        let mut under_way = BTreeSet::new();
        let mut moments = Vec::new();
        for content in self.0.iter().filter_map(|line| line.split("\tstderr\t").nth(1)) {
            match content.split(' ').collect::<Vec<_>>().as_slice() {
                ["begin", id, ..] => {
                    assert!(under_way.insert(*id), "{id} runs twice at once");
                    moments.push(under_way.clone());
                }
                ["end", id] => assert!(under_way.remove(id), "{id} ended without having begun"),
                _ => {}
            }
        }
        moments
    }

    /// The host's line about a record that failed.
    #[track_caller]
    fn complaint(&self, id: &str) -> &str {
        let is_about =
            |line: &&String| line.contains("a record of the batch failed") && field(line, "record") == Some(id);
        let line = self.0.iter().find(is_about);
        line.unwrap_or_else(|| panic!("no line about {id}: {:?}", self.0))
    }
}

/// The value of a field in a line of the host's, if it is one word.
fn field<'line>(line: &'line str, name: &str) -> Option<&'line str> {
    let start = format!("{name}=");
    line.split(' ').find_map(|word| word.strip_prefix(start.as_str()))
}

/// A component below an `orlop.toml`.
fn deployed(component: orlop_tests::Component, manifest: &str) -> (FakeRuntimeApi, TaskRoot, Host) {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with_compiled(component)
        .with_content("orlop.toml", manifest);
    let host = Host::bootstrap(&lambda).task_root(&task_root).function(128).start();
    (lambda, task_root, host)
}

#[test]
fn every_record_is_one_call_with_the_event_of_that_record_alone_byte_for_byte() {
    let served = Served::with_env(guests::RECORD, &[RECORD]);
    // What a parser would change: white space, escapes, numbers, doubled keys, members that nobody knows.
    let first = r#"{ "messageId" : "a", "eventSource":"aws:sqs", "body":"\u00e9\ud83d\ude00 \/", "n":1.0e40, "n":-0 }"#;
    let second = "{\"eventSource\":\"aws:sqs\",\"messageId\":\"b\",\n\t\"body\":\"é \\\"}],[{\" }";
    let event = format!("\r\n{{ \"x\": [ 1 ],\"Records\" : [{first} ,\t{second}\n] , \"Records2\": {{}} }} ");
    let answer = served.ask(Event::new("event", event));
    assert_eq!(failures(&answer), [""; 0]);
    let alone = |record: &str| {
        let event = format!("\r\n{{ \"x\": [ 1 ],\"Records\" : [{record}] , \"Records2\": {{}} }} ");
        event.as_bytes().escape_ascii().to_string()
    };
    assert_eq!(
        Trace::of(&served.host, "event").lines("saw"),
        [alone(first), alone(second)]
    );
}

// Statement 100.
#[test]
fn a_batch_without_failures_is_answered_with_an_empty_list() {
    let served = Served::with_env(guests::RECORD, &[RECORD]);
    let answer = served.ask(Event::new("event", messages(&[("a", "ok"), ("b", "ok")])));
    assert_eq!(answer.text(), r#"{"batchItemFailures":[]}"#);
    assert_eq!(answer.header("content-type").unwrap(), b"application/json");
    let trace = Trace::of(&served.host, "event");
    assert_eq!((trace.begun(), trace.ended()), (vec!["a", "b"], vec!["a", "b"]));
}

#[test]
fn every_record_finds_a_fresh_sandbox_also_where_instances_are_kept() {
    for isolation in ["event", "environment", "tenant"] {
        let served = Served::with_env(
            guests::RECORD,
            &[RECORD, ("ORLOP_ISOLATION", isolation), ("ORLOP_BATCH_CONCURRENCY", "2")],
        );
        for event in ["first", "second"] {
            let records = ["a", "b", "c", "d", "e"].map(|id| message(id, "sleep 20"));
            served.ask(Event::new(event, batch(records)));
            let trace = Trace::of(&served.host, event);
            let begun = trace.lines("begin");
            assert_eq!(begun.len(), 5, "{isolation}: {begun:?}");
            let is_fresh = |line: &&str| line.ends_with(" event=1 files=0");
            assert!(begun.iter().all(is_fresh), "{isolation}: {begun:?}");
        }
    }
}

// Statement 100.
#[test]
fn a_record_that_fails_in_whatever_way_fails_alone_and_says_why_in_the_log() {
    let served = Served::with_env(guests::RECORD, &[RECORD]);
    let pid = served.host.pid();
    let event = messages(&[
        ("good-1", "ok"),
        ("error", "fail no such order"),
        ("trap", "panic out of rope"),
        ("good-2", "ok"),
        ("memory", "exhaust"),
        ("exit-0", "exit 0"),
        ("exit-1", "exit 1"),
        ("odd", r#"answer {"batchItemFailures":[{"itemIdentifier":"good-1"}]}"#),
        ("good-3", "ok"),
    ]);
    let answer = served.ask(Event::new("event", event));
    assert_eq!(
        failures(&answer),
        ["error", "trap", "memory", "exit-0", "exit-1", "odd"]
    );
    let trace = Trace::of(&served.host, "event");
    assert_eq!(trace.begun().len(), 9);
    for (id, error_type, reason) in [
        ("error", "Poison", "no such order"),
        ("trap", "Runtime.GuestTrap", "out of rope"),
        ("memory", "Runtime.OutOfMemory", "ORLOP_LIMIT_MEMORY"),
        ("exit-0", "Runtime.GuestExit", "status 0"),
        ("exit-1", "Runtime.GuestExit", "status 1"),
        ("odd", "Function.RecordFailed", "good-1"),
    ] {
        let line = trace.complaint(id);
        assert_eq!(field(line, "errorType"), Some(error_type), "{line}");
        assert!(line.contains(reason), "{line}");
    }
    let answer = served.ask(Event::new("next", messages(&[("a", "ok")])));
    assert_eq!(failures(&answer), [""; 0]);
    assert_eq!(served.host.pid(), pid);
}

// For one record: its own identifier, and Lambda's table for whatever else seems to be a report. A
// guest that knows nothing of batches may answer anything.
#[test]
fn what_a_guest_answers_for_its_record_counts_as_it_would_for_a_batch() {
    let served = Served::with_env(guests::RECORD, &[RECORD]);
    let table = [
        ("empty-list", r#"{"batchItemFailures":[]}"#, true),
        ("null-list", r#"{"batchItemFailures":null}"#, true),
        ("empty-object", "{}", true),
        ("null", "null", true),
        ("nothing", "", true),
        ("list", "[]", true),
        ("number", "7", true),
        ("text", "charged 7 cents", true),
        ("other-object", r#"{"statusCode":200}"#, true),
        (
            "itself",
            r#"{"batchItemFailures":[{"itemIdentifier":"itself"}]}"#,
            false,
        ),
        (
            "twice",
            r#"{"batchItemFailures":[{"itemIdentifier":"twice"},{"itemIdentifier":"twice"}]}"#,
            false,
        ),
        (
            "unknown",
            r#"{"batchItemFailures":[{"itemIdentifier":"nobody"}]}"#,
            false,
        ),
        ("empty-id", r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, false),
        ("null-id", r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, false),
        (
            "wrong-key",
            r#"{"batchItemFailures":[{"itemIdentifer":"wrong-key"}]}"#,
            false,
        ),
        (
            "misspelt",
            r#"{"batchItemFailure":[{"itemIdentifier":"misspelt"}]}"#,
            false,
        ),
        ("wrong-type", r#"{"batchItemFailures":"wrong-type"}"#, false),
        (
            "no-json",
            r#"{"batchItemFailures":[{"itemIdentifier":"no-json"}]"#,
            false,
        ),
    ];
    let records = table.map(|(id, answer, _)| message(id, &format!("answer {answer}")));
    let answer = served.ask(Event::new("event", batch(records)));
    let expected = table.iter().filter(|(_, _, is_success)| !is_success);
    assert_eq!(failures(&answer), expected.map(|(id, _, _)| *id).collect::<Vec<_>>());
}

// Statement 100.
#[test]
fn a_group_of_a_fifo_queue_keeps_its_order_and_stops_at_its_first_failure() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "8")]);
    let event = batch([
        fifo_message("a", "a1", "sleep 100"),
        fifo_message("b", "b1", "sleep 20"),
        fifo_message("a", "a2", "panic at a2"),
        fifo_message("b", "b2", "sleep 20"),
        fifo_message("a", "a3", "ok"),
        fifo_message("b", "b3", "ok"),
        fifo_message("c", "c1", "fail at once"),
        fifo_message("a", "a4", "ok"),
    ]);
    let answer = served.ask(Event::new("event", event));
    assert_eq!(failures(&answer), ["a2", "a3", "c1", "a4"]);
    let trace = Trace::of(&served.host, "event");
    let begun = trace.begun();
    let of_group = |group: &str| {
        begun
            .iter()
            .copied()
            .filter(|id| id.starts_with(group))
            .collect::<Vec<_>>()
    };
    assert_eq!(of_group("a"), ["a1", "a2"]);
    assert_eq!(of_group("b"), ["b1", "b2", "b3"]);
    assert_eq!(of_group("c"), ["c1"]);
    assert_eq!(
        trace.ended().into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["a1", "b1", "b2", "b3"])
    );
}

#[test]
fn groups_of_a_fifo_queue_run_beside_each_other_and_the_messages_of_one_do_not() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "8")]);
    let records = ["a1", "a2", "b1", "a3", "b2", "b3"].map(|id| fifo_message(&id[..1], id, "sleep 150"));
    let answer = served.ask(Event::new("event", batch(records)).due_in(Duration::from_secs(15)));
    assert_eq!(failures(&answer), [""; 0]);
    let trace = Trace::of(&served.host, "event");
    let moments = trace.together();
    for together in &moments {
        let groups = together.iter().map(|id| &id[..1]).collect::<BTreeSet<_>>();
        assert_eq!(groups.len(), together.len(), "{together:?}");
    }
    assert_eq!(moments[1], BTreeSet::from(["a1", "b1"]));
    let begun = trace.begun();
    let place = |id| begun.iter().position(|known| *known == id);
    assert!(place("a1") < place("a2") && place("a2") < place("a3"), "{begun:?}");
    assert!(place("b1") < place("b2") && place("b2") < place("b3"), "{begun:?}");
}

#[test]
fn groups_of_a_standard_queue_are_for_fairness_and_have_no_order() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "3")]);
    let records = [("a", "fail here"), ("b", "sleep 100"), ("c", "sleep 100")].map(|(id, body)| {
        let mut message = message(id, body);
        message["attributes"]["MessageGroupId"] = "one".into();
        message
    });
    let answer = served.ask(Event::new("event", batch(records)));
    assert_eq!(failures(&answer), ["a"]);
    let trace = Trace::of(&served.host, "event");
    assert_eq!(
        trace.ended().into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["b", "c"])
    );
}

#[test]
fn a_stream_runs_in_order_and_stops_at_the_first_failure_from_which_it_goes_on() {
    type Record = fn(&str, &str) -> Value;
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "4")]);
    for (event, record) in [
        ("kinesis", kinesis_record as Record),
        ("dynamodb", dynamodb_record as Record),
    ] {
        let records = [
            record("49590338271490256608559692538361571095921575989136588898", "sleep 50"),
            record("49590338271490256608559692540925702759324208523137515618", "ok"),
            record("3", "panic at 3"),
            record("4", "ok"),
            record("5", "ok"),
        ];
        let answer = served.ask(Event::new(event, batch(records)));
        assert_eq!(failures(&answer), ["3", "4", "5"], "{event}");
        let trace = Trace::of(&served.host, event);
        let expected = [
            "49590338271490256608559692538361571095921575989136588898",
            "49590338271490256608559692540925702759324208523137515618",
            "3",
        ];
        assert_eq!(trace.begun(), expected, "{event}");
        assert_eq!(trace.ended(), expected[..2], "{event}");
        assert!(
            trace.together().iter().take(2).all(|moment| moment.len() == 1),
            "{event}"
        );
        let answer = served.ask(Event::new(
            format!("{event}-again"),
            batch([record("3", "ok"), record("4", "ok")]),
        ));
        assert_eq!(failures(&answer), [""; 0], "{event}");
    }
}

#[test]
fn as_many_records_run_at_a_time_as_the_setting_says() {
    for (at_a_time, setting) in [(1, None), (1, Some("1")), (3, Some("3")), (6, Some("100"))] {
        let setting = setting.map(|count| ("ORLOP_BATCH_CONCURRENCY", count));
        let variables = [RECORD].into_iter().chain(setting).collect::<Vec<_>>();
        let served = Served::with_env(guests::RECORD, &variables);
        let records = ["a", "b", "c", "d", "e", "f"].map(|id| message(id, "sleep 100"));
        let answer = served.ask(Event::new("event", batch(records)).due_in(Duration::from_secs(15)));
        assert_eq!(failures(&answer), [""; 0]);
        let trace = Trace::of(&served.host, "event");
        let most = trace.together().iter().map(BTreeSet::len).max();
        assert_eq!(most, Some(at_a_time), "{setting:?}");
        // Those that start together may say so in any order.
        let first = trace.begun()[..at_a_time].iter().copied().collect::<BTreeSet<_>>();
        let expected = ["a", "b", "c", "d", "e", "f"][..at_a_time].iter().copied();
        assert_eq!(first, expected.collect(), "{setting:?}");
    }
}

#[test]
fn copies_of_a_message_never_run_beside_each_other_and_are_named_once() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "4")]);
    let event = messages(&[
        ("a", "sleep 100"),
        ("b", "sleep 50"),
        ("a", "sleep 20"),
        ("a", "fail the third"),
    ]);
    let answer = served.ask(Event::new("late", event));
    assert_eq!(failures(&answer), ["a"]);
    // It panics if one of them runs twice at once.
    assert_eq!(Trace::of(&served.host, "late").together().len(), 4);

    let event = messages(&[("a", "fail the first"), ("b", "ok"), ("a", "ok")]);
    let answer = served.ask(Event::new("early", event));
    assert_eq!(failures(&answer), ["a"]);
    let trace = Trace::of(&served.host, "early");
    assert_eq!(trace.begun().into_iter().filter(|id| *id == "a").count(), 1);
}

#[test]
fn whole_batches_are_untouched_in_both_directions() {
    for variables in [&[][..], &[("ORLOP_BATCH", "whole")]] {
        let served = Served::with_env(guests::RECORD, variables);
        let report = r#" { "batchItemFailures" : [ {"itemIdentifier":"nobody"} ] } "#;
        let event = format!(
            " {} ",
            messages(&[("a", &format!("answer {report}")), ("b", "panic never")])
        );
        let answer = served.ask(Event::new("event", event.clone()));
        assert_eq!((answer.is_error, answer.text()), (false, report));
        let saw = served.host.wait_for_log(|line| line.contains("\tsaw "));
        assert!(
            saw.ends_with(&format!("\tsaw {}", event.as_bytes().escape_ascii())),
            "{saw}"
        );
        let report = served.failure("fails", messages(&[("a", "fail as a whole"), ("b", "ok")]));
        assert_eq!(report["errorType"], "Poison");
    }
}

#[test]
fn events_that_are_no_batch_go_to_the_guest_as_they_are_without_a_warning() {
    let served = Served::with_env(guests::ECHO, &[RECORD]);
    for (index, event) in [
        "",
        "{}",
        "not json",
        "[]",
        r#"{"Records":[]}"#,
        r#"{"Records":{"a":1}}"#,
        r#"{"Records":[7]}"#,
        r#"{"Records":[{"EventSource":"aws:sns","Sns":{"MessageId":"m","Message":"x"}}]}"#,
        r#"{"Records":[{"eventSource":"aws:s3","s3":{"bucket":{"name":"b"}}}]}"#,
        r#"{"records":[{"messageId":"a","eventSource":"aws:sqs"}]}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let answer = served.ask(Event::new(format!("event-{index}"), event));
        assert_eq!((answer.is_error, answer.text()), (false, event));
    }
    let log = served.host.log();
    assert!(!log.iter().any(|line| line.contains("WARN")), "{log:?}");
}

#[test]
fn a_batch_that_cannot_be_reported_record_by_record_goes_whole_with_a_warning() {
    let served = Served::with_env(guests::ECHO, &[RECORD]);
    let unnamed = json!({ "eventSource": "aws:sqs", "body": "x" });
    let mut window = json!({ "Records": [kinesis_record("1", "ok")] });
    window["window"] = json!({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:02:00Z" });
    for (id, event, reason) in [
        (
            "unnamed",
            batch([message("a", "ok"), unnamed]),
            "record 2 of 2 has no identifier",
        ),
        ("empty", batch([message("", "ok")]), "record 1 of 1 has no identifier"),
        (
            "mixed",
            batch([message("a", "ok"), kinesis_record("1", "ok")]),
            "record 2 of 2 comes from another source",
        ),
        ("window", window.to_string(), "time window"),
    ] {
        let answer = served.ask(Event::new(id, event.clone()));
        assert_eq!((answer.is_error, answer.text()), (false, event.as_str()), "{id}");
        served.host.wait_for_log(|line| {
            line.contains("WARN") && line.contains("goes to the guest as a whole") && line.contains(reason)
        });
    }
}

#[test]
fn the_answer_for_a_batch_is_whole_where_other_answers_are_streamed() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_RESPONSE_MODE", "streaming")]);
    let answer = served.ask(Event::new("event", messages(&[("a", "ok"), ("b", "fail x")])));
    assert_eq!(failures(&answer), ["b"]);
    let answer = served.ask(Event::new("next", messages(&[("a", "ok")])));
    assert_eq!(failures(&answer), [""; 0]);
}

#[test]
fn a_program_takes_records_one_by_one() {
    let manifest = "[functions.command]\nargs = ['record']\nbatch = 'record'\nbatch-concurrency = 2\n";
    let (lambda, _task_root, host) = deployed(guests::COMMAND, manifest);
    lambda.send(Event::new("event", messages(&[("a", "1"), ("b", "two"), ("c", "3")])));
    assert_eq!(failures(&lambda.wait_for_answer("event")), ["b"]);
    let trace = Trace::of(&host, "event");
    let line = trace.complaint("b");
    assert!(
        line.contains("Runtime.GuestExit") && line.contains("two is no number"),
        "{line}"
    );
}

#[test]
fn a_server_takes_records_one_by_one() {
    let manifest = "[functions.queue]\nbatch = 'record'\n";
    let (lambda, _task_root, host) = deployed(guests::QUEUE, manifest);
    lambda.send(Event::new("event", messages(&[("a", "1"), ("b", "two"), ("c", "3")])));
    assert_eq!(failures(&lambda.wait_for_answer("event")), ["b"]);
    let trace = Trace::of(&host, "event");
    assert_eq!(trace.lines("saw"), ["1", "two", "3"]);
    assert!(trace.complaint("b").contains("status 422"), "{}", trace.complaint("b"));
}
