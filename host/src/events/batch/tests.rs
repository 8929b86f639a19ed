use std::num::NonZeroUsize;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const FIFO: &str = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo";
const STANDARD: &str = "arn:aws:sqs:eu-central-1:123456789012:orders";

fn message(identifier: &str, queue: &str, group: Option<&str>) -> Value {
    let mut attributes = json!({ "ApproximateReceiveCount": "1" });
    if let Some(group) = group {
        attributes["MessageGroupId"] = group.into();
    }
    json!({
        "messageId": identifier,
        "body": "x",
        "attributes": attributes,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue,
    })
}

fn kinesis(identifier: &str) -> Value {
    json!({ "eventSource": "aws:kinesis", "kinesis": { "sequenceNumber": identifier, "data": "eA==" } })
}

fn dynamodb(identifier: &str) -> Value {
    json!({ "eventSource": "aws:dynamodb", "dynamodb": { "SequenceNumber": identifier, "Keys": {} } })
}

fn event(records: &[Value]) -> Bytes {
    json!({ "Records": records }).to_string().into()
}

fn batch(records: &[Value]) -> Batch {
    Batch::parse(&event(records)).unwrap()
}

fn progress(records: &[Value], limit: usize) -> Progress {
    Progress::new(&batch(records), NonZeroUsize::new(limit).unwrap())
}

fn failures(progress: &Progress) -> Vec<String> {
    let answer: Value = serde_json::from_slice(&progress.answer()).unwrap();
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
        .collect()
}

fn started(progress: &mut Progress) -> Vec<usize> {
    std::iter::from_fn(|| progress.start()).collect()
}

#[test]
fn an_event_of_one_record_differs_from_the_batch_in_nothing_else() {
    let text = "\n{ \"a\" : [1,  2], \"Records\" : [ \
                {\"messageId\":\"1\", \"eventSource\":\"aws:sqs\",\"n\":1.0e+2} ,\n\
                {\"messageId\":\"2\",\"eventSource\":\"aws:sqs\",\"body\":\"\\u00fc\\/ü\"}\t] , \"z\":null }\n";
    let batch = Batch::parse(&Bytes::from(text)).unwrap();
    assert_eq!(batch.len(), 2);
    assert_eq!((batch.identifier(0), batch.identifier(1)), ("1", "2"));
    assert_eq!(
        batch.event(0),
        "\n{ \"a\" : [1,  2], \"Records\" : [{\"messageId\":\"1\", \"eventSource\":\"aws:sqs\",\"n\":1.0e+2}] , \
         \"z\":null }\n"
    );
    assert_eq!(
        batch.event(1),
        "\n{ \"a\" : [1,  2], \"Records\" : [{\"messageId\":\"2\",\"eventSource\":\"aws:sqs\",\
         \"body\":\"\\u00fc\\/ü\"}] , \"z\":null }\n"
    );
}

#[test]
fn what_has_no_records_of_a_queue_or_stream_is_no_batch() {
    for text in [
        "",
        "null",
        "{",
        "{}",
        "[]",
        r#"{"Records":null}"#,
        r#"{"Records":[]}"#,
        r#"{"Records":[null]}"#,
        r#"{"Records":{"eventSource":"aws:sqs"}}"#,
        r#"{"Records":[{"eventSource":"aws:s3"}]}"#,
        r#"{"Records":[{"EventSource":"aws:sns"}]}"#,
        r#"{"Event":"s3:TestEvent"}"#,
    ] {
        assert_eq!(Batch::parse(&text.into()).unwrap_err(), Undivided::NoBatch, "{text}");
    }
    assert_eq!(
        Batch::parse(&Bytes::from_static(b"\xff")).unwrap_err(),
        Undivided::NoBatch
    );
}

#[test]
fn a_batch_whose_records_cannot_be_reported_one_by_one_stays_whole() {
    let whole = |records: &[Value]| match Batch::parse(&event(records)) {
        Err(Undivided::Unreportable(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let mut nameless = message("2", STANDARD, None);
    nameless["messageId"] = Value::Null;
    assert_eq!(
        whole(&[message("1", STANDARD, None), nameless]),
        "record 2 of 2 has no identifier"
    );
    assert_eq!(whole(&[message("", STANDARD, None)]), "record 1 of 1 has no identifier");
    assert!(whole(&[message("1", STANDARD, None), kinesis("2")]).contains("another source"));
    assert!(whole(&[kinesis("1"), json!(5)]).contains("cannot be read"));
    let mut odd = message("1", STANDARD, None);
    odd["messageId"] = json!(7);
    assert!(whole(&[odd]).contains("cannot be read"));
    assert!(whole(&[json!({ "eventSource": "aws:dynamodb" })]).contains("no identifier"));
    let window = json!({ "Records": [kinesis("1")], "window": { "start": "a", "end": "b" }, "state": {} });
    let window = Batch::parse(&window.to_string().into());
    assert!(matches!(window, Err(Undivided::Unreportable(reason)) if reason.contains("time window")));
}

#[test]
fn messages_of_a_standard_queue_run_side_by_side_up_to_the_limit() {
    let records: Vec<Value> = (0..5)
        .map(|n| message(&n.to_string(), STANDARD, Some("same")))
        .collect();
    let mut progress = progress(&records, 2);
    assert_eq!(started(&mut progress), [0, 1]);
    progress.finished(0, false);
    assert_eq!(started(&mut progress), [2]);
    progress.finished(2, true);
    progress.finished(1, true);
    assert_eq!(started(&mut progress), [3, 4]);
    progress.finished(4, true);
    assert!(!progress.is_complete());
    progress.finished(3, true);
    assert!(progress.is_complete());
    assert_eq!(failures(&progress), ["0"]);
}

#[test]
fn a_group_of_a_fifo_queue_stops_at_its_first_failure_and_others_go_on() {
    let groups = ["a", "b", "a", "b", "a"];
    let records: Vec<Value> = groups
        .iter()
        .enumerate()
        .map(|(n, group)| message(&n.to_string(), FIFO, Some(group)))
        .collect();
    let mut progress = progress(&records, 10);
    assert_eq!(started(&mut progress), [0, 1]);
    progress.finished(0, true);
    assert_eq!(started(&mut progress), [2]);
    progress.finished(2, false);
    progress.finished(1, true);
    assert_eq!(started(&mut progress), [3]);
    progress.finished(3, true);
    assert!(progress.is_complete());
    assert_eq!(failures(&progress), ["2", "4"]);
    let tally = Tally {
        succeeded: 3,
        failed: 1,
        not_run: 1,
    };
    assert_eq!(progress.tally(), tally);
}

#[test]
fn a_stream_stops_at_its_first_failure() {
    for record in [kinesis, dynamodb] {
        let records = ["7", "8", "9"].map(record);
        let mut progress = progress(&records, 10);
        assert_eq!(started(&mut progress), [0]);
        progress.finished(0, true);
        assert_eq!(started(&mut progress), [1]);
        progress.finished(1, false);
        assert!(progress.is_complete());
        assert_eq!(failures(&progress), ["8", "9"]);
    }
}

// Conformance statement 100.
#[test]
fn full_success_is_an_empty_list_and_failures_are_an_identifier_each() {
    let records = [message("a\"b", STANDARD, None), message("c", STANDARD, None)];
    let mut progress = progress(&records, 2);
    started(&mut progress);
    progress.finished(1, true);
    assert_eq!(
        progress.answer(),
        r#"{"batchItemFailures":[{"itemIdentifier":"a\"b"}]}"#
    );
    progress.finished(0, true);
    assert_eq!(progress.answer(), r#"{"batchItemFailures":[]}"#);
}

#[test]
fn copies_of_a_message_never_run_side_by_side_and_are_reported_once() {
    let records = ["1", "1", "2", "1"].map(|identifier| message(identifier, STANDARD, None));
    let mut progress = progress(&records, 10);
    assert_eq!(started(&mut progress), [0, 2]);
    progress.finished(0, true);
    assert_eq!(started(&mut progress), [1]);
    progress.finished(1, false);
    progress.finished(2, true);
    assert!(progress.is_complete());
    assert_eq!(failures(&progress), ["1"]);
}

#[test]
fn giving_up_fails_what_is_not_finished_and_nothing_changes_that() {
    let records: Vec<Value> = (0..4).map(|n| message(&n.to_string(), STANDARD, None)).collect();
    let mut progress = progress(&records, 2);
    started(&mut progress);
    progress.finished(0, true);
    progress.give_up();
    progress.finished(1, true);
    assert_eq!(progress.start(), None);
    assert!(progress.is_complete());
    assert_eq!(failures(&progress), ["1", "2", "3"]);
    let tally = Tally {
        succeeded: 1,
        failed: 1,
        not_run: 2,
    };
    assert_eq!(progress.tally(), tally);
}

#[test]
fn an_end_of_what_is_not_under_way_changes_nothing() {
    let mut progress = progress(&[kinesis("1"), kinesis("2")], 1);
    progress.finished(0, true);
    progress.finished(9, true);
    assert_eq!(progress.start(), Some(0));
    progress.finished(1, true);
    progress.finished(0, false);
    progress.finished(0, true);
    assert_eq!(failures(&progress), ["1", "2"]);
}

#[test]
fn another_thread_can_report() {
    let progress = std::sync::Mutex::new(progress(&[kinesis("1")], 1));
    let reported = std::thread::scope(|scope| {
        let watchdog = scope.spawn(|| {
            let mut progress = progress.lock().unwrap();
            progress.give_up();
            failures(&progress)
        });
        watchdog.join().unwrap()
    });
    assert_eq!(reported, ["1"]);
}

#[test]
fn a_guest_that_reports_its_record_has_failed_it() {
    let report = br#"{"batchItemFailures":[{"itemIdentifier":"me"}]}"#;
    assert_eq!(record_outcome(report, "me"), Err(Reason::Reported));
    let twice = br#"{"batchItemFailures":[{"itemIdentifier":"other"},{"itemIdentifier":"me"}]}"#;
    assert_eq!(record_outcome(twice, "me"), Err(Reason::Reported));
}

#[test]
fn no_failures_and_answers_that_are_no_reports_are_success() {
    for answer in [
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
        r#"{"batchItemFailures":[],"other":1}"#,
        "{}",
        "null",
        "",
        " ",
        "\"done\"",
        "done",
        "[]",
        "7",
        r#"{"statusCode":200,"body":"batch"}"#,
        r#"{"failures":["me"]}"#,
        "{\"cut",
    ] {
        assert_eq!(record_outcome(answer.as_bytes(), "me"), Ok(()), "{answer}");
    }
    assert_eq!(record_outcome(b"\xff\xfe", "me"), Ok(()));
    let long_key = format!("{{\"{}\":1}}", "b".repeat(1 << 20));
    assert_eq!(record_outcome(long_key.as_bytes(), "me"), Ok(()));
}

#[test]
fn a_report_that_lambda_would_not_understand_fails_the_record() {
    for (answer, part) in [
        (
            r#"{"batchItemFailures":[{"itemIdentifier":"other"}]}"#,
            "not that of the record",
        ),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            "not that of the record",
        ),
        (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, "no text"),
        (r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#, "no text"),
        (r#"{"batchItemFailures":[{"itemIdentifer":"me"}]}"#, "no text"),
        (r#"{"batchItemFailures":["me"]}"#, "no text"),
        (r#"{"batchItemFailures":[null]}"#, "no text"),
        (r#"{"batchItemFailures":"me"}"#, "no list"),
        (r#"{"batchItemFailures":{}}"#, "no list"),
        (r#"{"batchItemFailure":[{"itemIdentifier":"me"}]}"#, "batchItemFailure"),
        (
            r#"{"BatchItemFailures":[{"itemIdentifier":"me"}]}"#,
            "BatchItemFailures",
        ),
        (
            r#"{"batch_item_failures":[{"itemIdentifier":"me"}]}"#,
            "batch_item_failures",
        ),
        (r#"{"batchItemFailures":[{"itemIdenti"#, "no JSON"),
        (r#"{'batchItemFailures':[]}"#, "no JSON"),
    ] {
        let reason = record_outcome(answer.as_bytes(), "me").unwrap_err();
        assert!(matches!(reason, Reason::Malformed(_)), "{answer}");
        assert!(reason.to_string().contains(part), "{answer}: {reason}");
    }
}

/// One batch and the way it goes: who ends next, how each ends, and when time is up.
#[derive(Debug, Clone)]
struct Story {
    records: Vec<Value>,
    lanes: Vec<String>,
    succeeds: Vec<bool>,
    limit: usize,
    picks: Vec<usize>,
    steps: usize,
}

fn stories() -> impl Strategy<Value = Story> {
    let record = (0_u8..4, prop::bool::weighted(0.8));
    let records = prop::collection::vec(record, 1..40);
    let picks = prop::collection::vec(any::<usize>(), 1..20);
    (records, 0_u8..4, 1_usize..6, picks, 0_usize..60).prop_map(|(records, kind, limit, picks, steps)| {
        let mut story = Story {
            records: Vec::new(),
            lanes: Vec::new(),
            succeeds: Vec::new(),
            limit,
            picks,
            steps,
        };
        for (index, (group, succeeds)) in records.into_iter().enumerate() {
            let (group, unique) = (format!("g{group}"), format!("id{index}"));
            let (record, lane) = match kind {
                0 => (message(&unique, FIFO, Some(&group)), group),
                1 => (message(&unique, STANDARD, Some(&group)), unique),
                2 => (message(&group, STANDARD, None), group),
                _ => (kinesis(&unique), String::new()),
            };
            story.records.push(record);
            story.lanes.push(lane);
            story.succeeds.push(succeeds);
        }
        story
    })
}

proptest! {
    #[test]
    fn none_is_lost_none_is_acknowledged_that_did_not_succeed_and_order_is_kept(story in stories()) {
        let batch = batch(&story.records);
        let mut progress = Progress::new(&batch, NonZeroUsize::new(story.limit).unwrap());
        let mut running: Vec<usize> = Vec::new();
        let mut ended: Vec<usize> = Vec::new();
        let mut picks = story.picks.iter().cycle();
        for _ in 0..story.steps {
            while let Some(index) = progress.start() {
                let lane = &story.lanes[index];
                let same_lane = |other: &&usize| story.lanes[**other] == *lane;
                prop_assert!(!running.iter().any(|other| same_lane(&other)), "two at a time of one lane");
                prop_assert!(!running.contains(&index) && !ended.contains(&index), "one is run twice");
                let earlier: Vec<usize> = (0..index).filter(|other| same_lane(&other)).collect();
                prop_assert!(earlier.iter().all(|other| ended.contains(other) && story.succeeds[*other]), "overtaken");
                running.push(index);
                prop_assert!(running.len() <= story.limit);
            }
            if running.is_empty() {
                break;
            }
            let index = running.swap_remove(picks.next().unwrap() % running.len());
            ended.push(index);
            progress.finished(index, story.succeeds[index]);
        }
        let is_complete = progress.is_complete();
        progress.give_up();
        let reported = failures(&progress);
        let succeeded = |index: &usize| ended.contains(index) && story.succeeds[*index];
        let mut expected: Vec<&str> = Vec::new();
        for index in (0..batch.len()).filter(|index| !succeeded(index)) {
            if !expected.contains(&batch.identifier(index)) {
                expected.push(batch.identifier(index));
            }
        }
        prop_assert_eq!(reported, expected);
        if is_complete {
            for index in (0..batch.len()).filter(|index| !ended.contains(index)) {
                let failed = |other: usize| ended.contains(&other) && !story.succeeds[other];
                let has_reason = (0..index).any(|other| story.lanes[other] == story.lanes[index] && failed(other));
                prop_assert!(has_reason, "one is forgotten");
            }
        }
    }

    #[test]
    fn any_bytes_are_a_batch_or_none_and_any_answer_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Batch::parse(&Bytes::from(bytes.clone()));
        let _ = record_outcome(&bytes, "me");
    }

    #[test]
    fn every_event_of_one_record_is_a_batch_of_that_record(story in stories()) {
        let whole = event(&story.records);
        let batch = Batch::parse(&whole).unwrap();
        for (index, record) in story.records.iter().enumerate() {
            let one: Value = serde_json::from_slice(&batch.event(index)).unwrap();
            prop_assert_eq!(&one, &json!({ "Records": [record] }));
            let alone = Batch::parse(&batch.event(index)).unwrap();
            prop_assert_eq!(alone.identifier(0), batch.identifier(index));
        }
    }
}
