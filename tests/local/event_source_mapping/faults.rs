//! What goes wrong: processes that die, queues that go away, messages that come twice, functions that are busy.

use std::num::NonZeroU32;
use std::time::Duration;

use orlop_local::journal::What;
use orlop_tests::queue_server::{self, QueueServer};
use orlop_tests::strict_queue::{self, Faults, StrictQueue};
use rustix::process::{Pid, Signal, kill_process};

use super::desk::{Desk, Way, counts, queue};
use crate::support;

#[test]
fn a_message_whose_environment_is_killed_comes_again() {
    let server = QueueServer::start();
    let desk = Desk::new(|function| function.timeout = Duration::from_secs(3));
    let flag = desk.path("flag");
    let url = queue(&server.url(), "orders", 3, 5, &format!("many(queue, ['wait {flag}'])"));
    let mapping = desk.start(&url, |_| ());
    desk.until("it has begun", &mapping, || desk.bodies("begin").len() == 1);
    let pid = desk.platform.environments()[0].pid;
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    desk.until("it failed", &mapping, || mapping.status().failed == 1);
    assert_eq!(mapping.status().deleted, 0);
    std::fs::write(&flag, "").unwrap();
    desk.until("it is deleted", &mapping, || mapping.status().deleted == 1);
    assert_eq!((desk.bodies("begin").len(), desk.bodies("done").len()), (2, 1));
}

#[test]
fn a_process_that_ends_in_the_middle_loses_no_message() {
    let server = QueueServer::start();
    let desk = Desk::new(|function| function.timeout = Duration::from_secs(2));
    let url = queue(&server.url(), "orders", 2, 2, "many(queue, ['crash'])");
    let mapping = desk.start(&url, |_| ());
    desk.until("it is dead", &mapping, || counts(&server.url(), "dead") == "(1, 0, 0)");
    assert_eq!(mapping.status().deleted, 0);
    assert_eq!(desk.bodies("begin").len(), 2);
}

#[test]
fn a_queue_that_goes_away_is_waited_for_and_nothing_is_lost_or_done_twice() {
    let server = QueueServer::start();
    let desk = Desk::new(|_| ());
    let flag = desk.path("flag");
    let url = queue(&server.url(), "orders", 60, 2, &format!("many(queue, ['wait {flag}'])"));
    let way = Way::to(&server.url());
    let mapping = desk.start(&way.url(&url), |_| ());
    desk.until("it has begun", &mapping, || desk.bodies("begin").len() == 1);

    way.cut();
    desk.until("it is noticed", &mapping, || !mapping.status().is_reachable);
    std::fs::write(&flag, "").unwrap();
    desk.until("the function is done", &mapping, || desk.bodies("done").len() == 1);
    let script = format!("for n in range(20): send('{url}', f'order {{n}}')");
    queue_server::python(&server.url(), &script);
    assert_eq!(mapping.status().deleted, 0);

    way.mend();
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 21);
    assert_eq!(desk.bodies("begin").len(), 21);
    let notices = desk.notices();
    assert!(notices[0].starts_with("the queue orders is unreachable"), "{notices:?}");
    assert_eq!(notices[1], "the queue orders is back");
    assert_eq!(notices.len(), 2, "{notices:?}");
    desk.stop(mapping);
}

#[test]
fn a_queue_that_is_deleted_and_made_again_goes_on() {
    let server = QueueServer::start();
    let desk = Desk::new(|_| ());
    let url = queue(&server.url(), "orders", 60, 2, "many(queue, ['order 1'])");
    let mapping = desk.start(&url, |_| ());
    desk.until("it is deleted", &mapping, || mapping.status().deleted == 1);
    server.python(&format!("sqs.delete_queue(QueueUrl='{url}')"));
    desk.until("it is noticed", &mapping, || !mapping.status().is_reachable);
    queue(&server.url(), "orders", 60, 2, "many(queue, ['order 2'])");
    desk.until("it is deleted", &mapping, || mapping.status().deleted == 2);
    assert_eq!(desk.bodies("done"), ["order 1", "order 2"]);
}

#[test]
fn a_clock_that_is_ten_minutes_wrong_is_no_obstacle() {
    let queue = StrictQueue::start(strict_queue::Settings {
        is_fifo: false,
        visibility: Duration::from_secs(60),
        max_receives: 2,
        clock_ahead: Duration::from_secs(600),
        faults: Faults::default(),
        seed: 1,
    });
    let desk = Desk::new(|_| ());
    queue.send((0..20).map(|number| (String::new(), format!("order {number}"))));
    let mapping = desk.start(&queue.url(), |_| ());
    desk.until("all are deleted", &mapping, || mapping.status().deleted == 20);
    assert_eq!((queue.left(), desk.bodies("begin").len()), (0, 20));
    assert!(desk.notices().is_empty(), "{:?}", desk.notices());
    desk.stop(mapping);
}

#[test]
fn a_message_that_comes_again_while_it_is_handled_is_not_handled_beside_itself() {
    let server = QueueServer::start();
    let desk = Desk::new(|_| ());
    let flag = desk.path("flag");
    let url = queue(&server.url(), "orders", 60, 100, "");
    let mapping = desk.start(&url, |_| ());
    let script = format!(
        "sqs.set_queue_attributes(QueueUrl='{url}', Attributes={{'VisibilityTimeout': '1'}})\n\
         send('{url}', 'wait {flag}')"
    );
    server.python(&script);
    desk.until("it came three times", &mapping, || mapping.status().received >= 3);
    assert_eq!((desk.bodies("begin").len(), mapping.status().in_flight), (1, 1));
    std::fs::write(&flag, "").unwrap();
    desk.until("the function is done", &mapping, || !desk.bodies("done").is_empty());
    desk.until("the queue is empty", &mapping, || {
        counts(&server.url(), "orders") == "(0, 0, 0)"
    });
}

#[test]
fn while_others_have_all_environments_messages_wait_and_are_handled_afterwards() {
    let server = QueueServer::start();
    let desk = Desk::new(|function| function.concurrency = NonZeroU32::MIN);
    let flag = desk.path("flag");
    let event = serde_json::json!({ "Records": [{
        "messageId": "other",
        "body": format!("wait {flag}"),
        "eventSourceARN": "",
        "attributes": {"ApproximateReceiveCount": "1"},
    }] });
    let platform = desk.platform.clone();
    let other = desk
        .runtime
        .spawn(async move { support::invoke(&platform, "worker", event).await });
    let url = queue(&server.url(), "orders", 60, 2, "many(queue, ['order 1'])");
    let mapping = desk.start(&url, |_| ());
    desk.until("it is throttled", &mapping, || {
        let (entries, _) = desk.platform.journal().read();
        entries.iter().any(|entry| matches!(entry.what, What::Throttled { .. }))
    });
    std::fs::write(&flag, "").unwrap();
    desk.until("it is deleted", &mapping, || mapping.status().deleted == 1);
    let status = mapping.status();
    assert_eq!((status.received, status.failed), (1, 0), "{status:?}");
    desk.runtime.block_on(other).unwrap().0.unwrap();
}
