//! The event source mapping, against the embedded queue and against `moto`.

mod attack;
mod credentials;
mod desk;
mod faults;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use desk::{Desk, counts, queue};
use orlop_tests::Moto;
use orlop_tests::queue_server::{self, QueueServer};

fn a_thousand_messages_drain(endpoint: &str, environments: u32) {
    let url = queue(
        endpoint,
        "orders",
        3,
        2,
        "many(queue, [f'poison {n}' if n % 100 == 50 else f'order {n}' for n in range(1000)])",
    );
    let desk = Desk::new(|function| {
        function.timeout = Duration::from_secs(3);
        function.concurrency = NonZeroU32::new(environments).unwrap();
    });
    let mapping = desk.start(&url, |_| ());
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 990);
    desk.until("the poison is dead", &mapping, || {
        counts(endpoint, "dead") == "(10, 0, 0)"
    });
    assert_eq!(counts(endpoint, "orders"), "(0, 0, 0)");

    let done: BTreeSet<_> = desk.bodies("done").into_iter().collect();
    let orders = (0..1000).filter(|number| number % 100 != 50);
    assert_eq!(done, orders.map(|number| format!("order {number}")).collect());
    let mut failed = desk.bodies("failed");
    failed.sort();
    let poison = (0..10).flat_map(|number| vec![format!("poison {}", number * 100 + 50); 2]);
    assert_eq!(BTreeSet::from_iter(&failed).len(), 10);
    assert_eq!(failed, {
        let mut poison: Vec<_> = poison.collect();
        poison.sort();
        poison
    });
    let status = mapping.status();
    assert_eq!(
        (status.failed, status.delete_failed, status.in_flight),
        (20, 0, 0),
        "{status:?}"
    );
    desk.stop(mapping);
}

#[test]
fn a_thousand_messages_are_all_handled_and_poison_ends_in_the_dead_letter_queue() {
    let server = QueueServer::start();
    a_thousand_messages_drain(&server.url(), 8);
}

#[test]
fn a_thousand_messages_in_another_emulator_are_all_handled_and_poison_ends_in_the_dead_letter_queue() {
    let moto = Moto::start(&[]);
    // It gives a message to two at once if two ask at once.
    a_thousand_messages_drain(&moto.endpoint(), 1);
}

#[test]
fn groups_of_a_fifo_queue_keep_their_order_through_failures_while_others_go_on() {
    let server = QueueServer::start();
    let messages = "many(queue, [(f'g{n % 6}', f'flaky {n}' if n % 17 == 3 else f'step {n}') for n in range(120)])";
    let url = queue(&server.url(), "steps.fifo", 2, 3, messages);
    let desk = Desk::new(|function| function.timeout = Duration::from_secs(2));
    let mapping = desk.start(&url, |_| ());
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 120);
    desk.stop(mapping);

    let number = |body: &str| body.split_once(' ').unwrap().1.parse::<u32>().unwrap();
    let mut groups = BTreeMap::<String, Vec<(u32, bool)>>::new();
    for line in desk.all_lines() {
        let (phase, body) = (
            line["phase"].as_str().unwrap(),
            line["body"].as_str().unwrap_or_default(),
        );
        if matches!(phase, "done" | "failed") {
            let group = line["group"].as_str().unwrap().to_owned();
            groups.entry(group).or_default().push((number(body), phase == "done"));
        }
    }
    assert_eq!(groups.len(), 6);
    for (group, attempts) in groups {
        let first = group[1..].parse::<u32>().unwrap();
        let expected = (0..20).map(|step| first + step * 6).flat_map(|step| {
            let tries = if step % 17 == 3 { vec![false, true] } else { vec![true] };
            tries.into_iter().map(move |succeeds| (step, succeeds))
        });
        assert_eq!(attempts, expected.collect::<Vec<_>>(), "{group}");
    }
}

#[test]
fn of_a_batch_only_the_messages_that_are_reported_come_again() {
    let server = QueueServer::start();
    let url = queue(
        &server.url(),
        "orders",
        2,
        5,
        "many(queue, ['order 1', 'flaky 2', 'order 3', 'flaky 4', 'order 5'])",
    );
    let desk = Desk::new(|function| function.timeout = Duration::from_secs(2));
    let mapping = desk.start(&url, |_| ());
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 5);
    let mut begun = desk.bodies("begin");
    begun.sort();
    assert_eq!(
        begun,
        [
            "flaky 2", "flaky 2", "flaky 4", "flaky 4", "order 1", "order 3", "order 5"
        ]
    );
    assert_eq!(mapping.status().failed, 2);
}

#[test]
fn a_batch_whose_event_fails_comes_again_as_a_whole() {
    let server = QueueServer::start();
    let url = queue(
        &server.url(),
        "orders",
        2,
        2,
        "many(queue, ['order 1', 'raise it', 'order 3'])",
    );
    let desk = Desk::new(|function| {
        function.timeout = Duration::from_secs(2);
        function.concurrency = NonZeroU32::MIN;
    });
    let mapping = desk.start(&url, |_| ());
    desk.until("all three are dead", &mapping, || {
        counts(&server.url(), "dead") == "(3, 0, 0)"
    });
    let status = mapping.status();
    assert_eq!(
        (status.received, status.deleted, status.failed),
        (6, 0, 6),
        "{status:?}"
    );
}

#[test]
fn an_answer_that_is_no_list_of_failures_has_the_batch_come_again_and_the_journal_says_why() {
    let server = QueueServer::start();
    let url = queue(&server.url(), "orders", 20, 2, "many(queue, ['order 1'])");
    let desk = Desk::new(|function| function.variables.push(("ANSWER".to_owned(), "handled it".to_owned())));
    let mapping = desk.start(&url, |_| ());
    desk.until("it failed", &mapping, || mapping.status().failed == 1);
    assert_eq!(mapping.status().deleted, 0);
    let notices = desk.notices().join("\n");
    assert!(
        notices.contains("the answer of `worker` is no list of failed ones: it is no JSON"),
        "{notices}"
    );
}

#[test]
fn with_reports_switched_off_every_event_that_succeeds_is_done_and_a_report_in_vain_is_told() {
    let server = QueueServer::start();
    let url = queue(&server.url(), "orders", 20, 2, "many(queue, ['order 1', 'poison 2'])");
    let desk = Desk::new(|_| ());
    let mapping = desk.start(&url, |settings| settings.report_batch_item_failures = false);
    desk.until("both are deleted", &mapping, || mapping.status().deleted == 2);
    let notices = desk.notices().join("\n");
    assert!(
        notices.contains("without ReportBatchItemFailures they are deleted"),
        "{notices}"
    );
}

#[test]
fn a_window_collects_more_messages_than_one_request_brings() {
    let server = QueueServer::start();
    let url = queue(
        &server.url(),
        "orders",
        60,
        2,
        "many(queue, [f'order {n}' for n in range(35)])",
    );
    let desk = Desk::new(|function| function.concurrency = NonZeroU32::MIN);
    let mapping = desk.start(&url, |settings| {
        settings.batch_size = 25;
        settings.window = Duration::from_secs(2);
    });
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 35);
    let sizes: Vec<_> = desk
        .lines("event")
        .iter()
        .map(|event| event["count"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [25, 10]);
}

#[test]
fn large_messages_are_spread_over_events_that_lambda_would_take() {
    let server = QueueServer::start();
    let messages = "for n in range(10): send(queue, f'order {n} ' + 'x' * 1_000_000)";
    let url = queue(&server.url(), "orders", 60, 2, messages);
    let desk = Desk::new(|function| function.concurrency = NonZeroU32::MIN);
    let mapping = desk.start(&url, |_| ());
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 10);
    let sizes: Vec<_> = desk
        .lines("event")
        .iter()
        .map(|event| event["bytes"].as_u64().unwrap())
        .collect();
    assert!(sizes.iter().all(|bytes| *bytes <= 6_291_556), "{sizes:?}");
    assert!(sizes.len() < 10, "{sizes:?}");
}

#[test]
fn an_event_carries_all_that_the_sender_and_the_queue_said() {
    let server = QueueServer::start();
    let messages = r#"
attributes = {
    "price": {"DataType": "Number.cents", "StringValue": "42"},
    "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}
trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5e272390-8c398be037738dc042009320"}}
attributes = {"MessageAttributes": attributes, "MessageSystemAttributes": trace}
send(queue, 'line\n"quoted" \U0001F600', MessageGroupId="g", MessageDeduplicationId="d", **attributes)
"#;
    let url = queue(&server.url(), "orders.fifo", 60, 2, messages);
    let desk = Desk::new(|_| ());
    let mapping = desk.start(&url, |_| ());
    desk.until("it is deleted", &mapping, || mapping.status().deleted == 1);
    let event = &desk.lines("event")[0]["first"];
    assert_eq!(event["body"], "line\n\"quoted\" \u{1F600}");
    assert_eq!(event["messageAttributes"]["price"]["stringValue"], "42");
    assert_eq!(event["messageAttributes"]["price"]["dataType"], "Number.cents");
    assert_eq!(event["messageAttributes"]["raw"]["binaryValue"], "AP8=");
    assert_eq!(event["attributes"]["MessageGroupId"], "g");
    assert_eq!(event["attributes"]["MessageDeduplicationId"], "d");
    assert_eq!(event["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(
        event["attributes"]["AWSTraceHeader"],
        "Root=1-5e272390-8c398be037738dc042009320"
    );
    assert!(
        event["attributes"]["SentTimestamp"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert_eq!(event["eventSource"], "aws:sqs");
    assert_eq!(
        event["eventSourceARN"],
        "arn:aws:sqs:us-east-1:000000000000:orders.fifo"
    );
    assert_eq!(event["awsRegion"], "us-east-1");
    assert_eq!(event["md5OfMessageAttributes"].as_str().unwrap().len(), 32);
}

#[test]
fn there_are_more_pollers_while_messages_wait_and_few_again_afterwards() {
    let server = QueueServer::start();
    let desk = Desk::new(|_| ());
    let flag = desk.path("flag");
    let url = queue(
        &server.url(),
        "orders",
        60,
        2,
        &format!("many(queue, ['wait {flag}'] * 8)"),
    );
    let mapping = desk.start(&url, |settings| settings.batch_size = 1);
    desk.until("all environments are busy", &mapping, || desk.lines("begin").len() == 8);
    assert_eq!(mapping.status().pollers, 8);
    std::fs::write(&flag, "").unwrap();
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 8);
    desk.until("few pollers are left", &mapping, || mapping.status().pollers == 5);
}

#[test]
fn stopping_finishes_what_has_begun_and_gives_back_the_rest_at_once() {
    let server = QueueServer::start();
    let desk = Desk::new(|function| function.concurrency = NonZeroU32::MIN);
    let url = queue(
        &server.url(),
        "orders",
        600,
        2,
        "many(queue, [f'order {n}' for n in range(15)])",
    );
    let mapping = desk.start(&url, |settings| {
        settings.batch_size = 100;
        settings.window = Duration::from_secs(300);
    });
    desk.until("all are collected", &mapping, || mapping.status().in_flight == 15);
    desk.stop(mapping);
    assert_eq!(counts(&server.url(), "orders"), "(15, 0, 0)");

    let flag = desk.path("flag");
    let script =
        format!("send(create('slow', VisibilityTimeout=600), 'wait {flag}'); print(address + '/000000000000/slow')");
    let url = queue_server::python(&server.url(), &script).trim().to_owned();
    let mapping = desk.start(&url, |_| ());
    desk.until("it has begun", &mapping, || desk.bodies("begin").len() == 1);
    let stopping = desk.runtime.spawn(mapping.stop());
    std::fs::write(&flag, "").unwrap();
    desk.runtime.block_on(stopping).unwrap();
    assert_eq!(counts(&server.url(), "slow"), "(0, 0, 0)");
}
