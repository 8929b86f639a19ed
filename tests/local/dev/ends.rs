//! What is left when there is nothing to do, and when `orlop dev` ends.

use std::fs;
use std::time::Duration;

use orlop_tests::process::PATIENCE;
use orlop_tests::{Signal, guests};
use serde_json::json;

use super::{Dev, guest, is_running, path, until};

#[test]
fn a_platform_with_nothing_to_do_uses_no_processor_time() {
    let dev = Dev::start(&[&guest(guests::ECHO)]);
    dev.invoke("echo", &json!({}));
    dev.wait_for("environment-frozen", |_| true);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", dev.process.pid())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let times = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        times.sum::<u64>()
    };
    let before = ticks();
    // A platform with nothing to do does nothing, and nothing can be waited for.
    std::thread::sleep(Duration::from_secs(2));
    let spent = ticks() - before;
    assert!(spent <= 2, "{spent} ticks");
}

#[test]
fn it_ends_with_all_environments_when_it_is_told_to() {
    for signal in [Signal::INT, Signal::TERM] {
        let dev = Dev::start(&[&guest(guests::ECHO)]);
        dev.invoke("echo", &json!({}));
        let pid = dev.wait_for("environment-started", |_| true)["pid"].clone();
        dev.process.signal(signal);
        assert_eq!(dev.process.wait_for_exit(PATIENCE).code(), Some(0));
        assert!(!is_running(&pid));
    }
}

#[test]
fn environments_do_not_outlive_it_however_it_ends() {
    let dev = Dev::start(&[&guest(guests::SLEEP), "--timeout", "60s"]);
    dev.invoke("sleep", &json!(1));
    dev.wait_for("environment-frozen", |_| true);
    let frozen = dev.wait_for("environment-started", |_| true)["pid"].clone();
    dev.process.signal(Signal::KILL);
    dev.process.wait_for_exit(PATIENCE);
    until(|| !is_running(&frozen));
}

#[test]
fn a_kept_queue_whose_messages_would_come_again_too_early_waits_longer_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let kept = ["--state", path(folder.path()), "--queue", "work"];
    let echo = guest(guests::ECHO);
    let visibility = |timeout: &str| {
        let dev = Dev::start(&[&[echo.as_str(), "--timeout", timeout][..], &kept].concat());
        let request = json!({"QueueUrl": dev.queue_url("work"), "AttributeNames": ["VisibilityTimeout"]});
        let answer = dev.sqs("GetQueueAttributes", &request);
        answer["Attributes"]["VisibilityTimeout"].as_str().unwrap().to_owned()
    };
    // Six times the timeout, and what there is as long as it will do.
    assert_eq!(
        [visibility("3s"), visibility("9s"), visibility("19s")],
        ["18", "18", "114"]
    );
}

#[test]
fn messages_survive_its_end_where_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = ["--state", path(folder.path()), "--queue", "work"];
    let dead = json!("not for this function");
    {
        let spin = guest(guests::SPIN);
        let dev = Dev::start(&[&[spin.as_str(), "--timeout", "30s"][..], &kept].concat());
        dev.sqs(
            "SendMessage",
            &json!({"QueueUrl": dev.queue_url("work-dead-letters"), "MessageBody": dead}),
        );
        dev.process.signal(Signal::KILL);
        dev.process.wait_for_exit(PATIENCE);
    }
    let echo = guest(guests::ECHO);
    let dev = Dev::start(&[&[echo.as_str()][..], &kept].concat());
    dev.wait_for_messages("work-dead-letters", "1");
}
