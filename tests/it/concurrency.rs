//! Managed Instances: one process, several events at a time, and guests that share nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use orlop_tests::{Component, Event, FakeRuntimeApi, Held, Reply, Served, Signal, TaskRoot, guests};
use serde_json::{Value, json};

use crate::{END, text};

/// Room for a busy machine between our deadline and Lambda's.
const MARGIN: (&str, &str) = ("ORLOP_DEADLINE_MARGIN", "700ms");

/// A guest that `count` events may visit at a time.
fn served(guest: Component, count: usize, variables: &[(&str, &str)]) -> Served {
    behind(
        FakeRuntimeApi::builder().concurrency(count).start(),
        guest,
        count,
        variables,
    )
}

fn behind(lambda: FakeRuntimeApi, guest: Component, count: usize, variables: &[(&str, &str)]) -> Served {
    let task_root = TaskRoot::new().with_concurrent(guest);
    let count = count.to_string();
    let all = [
        ("AWS_LAMBDA_MAX_CONCURRENCY", count.as_str()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048"),
    ];
    let all: Vec<_> = all.iter().chain(variables).copied().collect();
    Served::in_task_root(lambda, task_root, guest.name(), &all)
}

/// Sends the events together and waits for all answers, in the order of the events.
fn together(served: &Served, events: &[(String, String)]) -> Vec<orlop_tests::Answer> {
    for (id, payload) in events {
        served.lambda.send(Event::new(id.clone(), payload.clone()).due_in(END));
    }
    events.iter().map(|(id, _)| served.lambda.wait_for_answer(id)).collect()
}

fn numbered(count: usize, payload: impl Fn(usize) -> String) -> Vec<(String, String)> {
    (0..count)
        .map(|index| (format!("event-{index}"), payload(index)))
        .collect()
}

/// The lines of the log, which is JSON on Managed Instances whatever is set.
fn lines(served: &Served) -> Vec<Value> {
    let lines = served.host.log().into_iter().chain(served.host.stdout());
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

// Statements 67 and 68.
#[test]
fn there_are_as_many_requests_for_events_as_lambda_offers() {
    for count in [1, 7] {
        let served = served(guests::ECHO, count, &[]);
        served.lambda.wait_for_nexts(count);
        // The fake complains of one too many.
        served.answer("a", "1");
        served.lambda.wait_for_nexts(count);
    }
}

// Statement 69.
#[test]
fn events_run_at_a_time_and_every_answer_goes_to_its_own() {
    let served = served(guests::SLEEP, 16, &[]);
    served.lambda.wait_for_nexts(16);
    let begun = Instant::now();
    let events = numbered(16, |index| (200 + (index * 37) % 100).to_string());
    for ((_, payload), answer) in events.iter().zip(together(&served, &events)) {
        assert!(!answer.is_error, "{}", answer.text());
        assert_eq!(answer.text(), *payload);
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let pid = served.host.pid();
    assert_eq!(served.answer("next", "1"), 1);
    assert_eq!(served.host.pid(), pid);
}

#[test]
fn a_thousand_handlers_that_wait_fit_into_300_megabytes() {
    const COUNT: usize = 1000;
    let served = served(guests::SLEEP, COUNT, &[]);
    served.lambda.wait_for_nexts(COUNT);
    for (id, payload) in numbered(COUNT, |_| "4000".to_owned()) {
        served
            .lambda
            .send(Event::new(id, payload).due_in(Duration::from_secs(60)));
    }
    served.lambda.wait_until_pending(0);
    let kib = Held::by(served.host.pid()).unwrap().memory_kib;
    assert!(kib < 300_000_000 / 1024, "{kib} KiB");
    for index in 0..COUNT {
        let answer = served.lambda.wait_for_answer(&format!("event-{index}"));
        assert_eq!(answer.text(), "4000");
    }
}

// Statement 70.
#[test]
fn the_trace_is_in_the_environment_of_its_own_guest_and_of_nobody_else() {
    let served = served(guests::ENVIRONMENT, 4, &[]);
    served.lambda.wait_for_nexts(4);
    let trace = |index: usize| format!("Root=1-5759e988-bd862e3fe1be46a994272{index:03};Sampled=1");
    for index in 0..8 {
        let event = Event::new(format!("event-{index}"), "{}");
        served.lambda.send(event.trace_id(trace(index)));
    }
    for index in 0..8 {
        let answer = served.lambda.wait_for_answer(&format!("event-{index}")).json();
        assert_eq!(text(&answer, "_X_AMZN_TRACE_ID"), trace(index));
    }
    let untraced = served.ask(Event::new("untraced", "{}")).json();
    assert_eq!(untraced["_X_AMZN_TRACE_ID"], Value::Null);
    let environment = std::fs::read(format!("/proc/{}/environ", served.host.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("_X_AMZN_TRACE_ID"));
}

// Statement 71.
#[test]
fn the_lines_of_guests_that_run_at_a_time_carry_their_own_request_ids() {
    let served = served(guests::PRINT, 8, &[]);
    served.lambda.wait_for_nexts(8);
    let print = |index: usize| {
        json!([
            { "stream": "stdout", "text": format!("from event-{index}\n"), "times": 20 },
            { "stream": "stdout", "text": format!("end of event-{index}\n") },
        ])
        .to_string()
    };
    together(&served, &numbered(8, print));
    for index in 0..8 {
        let end = format!("\"end of event-{index}\"");
        served.host.wait_for_log(|line| line.contains(&end));
    }
    let lines = lines(&served);
    for index in 0..8 {
        let id = format!("event-{index}");
        let of_event: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == format!("from {id}"))
            .collect();
        assert_eq!(of_event.len(), 20, "{id}");
        assert!(
            of_event.iter().all(|line| line["requestId"] == id.as_str()),
            "{of_event:?}"
        );
    }
}

// Statement 72.
#[test]
fn a_guest_that_loops_forever_does_not_disturb_the_others() {
    let served = served(guests::SPIN, 4, &[MARGIN]);
    served.lambda.wait_for_nexts(4);
    let pid = served.host.pid();
    // As many as there are threads, and one more.
    for index in 0..3 {
        let event = Event::new(format!("loop-{index}"), "true").due_in(Duration::from_secs(8));
        served.lambda.send(event);
    }
    for round in 0..5 {
        served.answer(&format!("other-{round}"), "false");
    }
    for index in 0..3 {
        assert!(served.lambda.answers(&format!("loop-{index}")).is_empty());
    }
    for index in 0..3 {
        let answer = served.lambda.wait_for_answer(&format!("loop-{index}"));
        assert_eq!(text(&answer.json(), "errorType"), "Runtime.DeadlineExceeded");
    }
    served.lambda.wait_for_nexts(4);
    assert_eq!((served.host.pid(), served.host.has_exited()), (pid, false));
    let lines = lines(&served);
    assert!(lines.iter().filter(|line| line["message"] == "ready").count() == 1);
}

// Statement 72.
#[test]
fn a_trap_or_a_full_memory_does_not_disturb_the_others() {
    let served = served(guests::ALLOCATE, 4, &[("ORLOP_LIMIT_MEMORY", "64MiB")]);
    served.lambda.wait_for_nexts(4);
    let wish = |index: usize| match index % 2 {
        0 => json!({ "bytes": 1 << 30, "aborts": true }).to_string(),
        _ => json!({ "bytes": 1 << 20 }).to_string(),
    };
    for (index, answer) in together(&served, &numbered(12, wish)).into_iter().enumerate() {
        match index % 2 {
            0 => assert_eq!(text(&answer.json(), "errorType"), "Runtime.OutOfMemory"),
            _ => assert_eq!(answer.json(), 1 << 20),
        }
    }
}

// Statement 73.
#[test]
fn a_guest_past_its_deadline_is_stopped_and_a_late_answer_is_not_sent() {
    let served = served(guests::SLEEP, 2, &[MARGIN]);
    let begun = Instant::now();
    let answer = served.ask(Event::new("late", "60000").due_in(Duration::from_secs(2)));
    assert_eq!(text(&answer.json(), "errorType"), "Runtime.DeadlineExceeded");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    served.lambda.wait_for_nexts(2);
    assert_eq!(served.lambda.answers("late").len(), 1);
    // Lambda may have given up first; it says so, and the poller goes on.
    served.lambda.on_response(Reply::status(410));
    served.ask(Event::new("refused", "1"));
    assert_eq!(served.answer("next", "2"), 2);
}

// Statement 74.
#[test]
fn a_poller_that_is_refused_tries_again_and_the_others_go_on() {
    let served = served(guests::ECHO, 2, &[]);
    served.lambda.wait_for_nexts(2);
    for _ in 0..3 {
        served.lambda.on_next(Reply::status(403));
    }
    for index in 0..4 {
        served.answer(&format!("event-{index}"), "1");
    }
    served.lambda.wait_for_nexts(2);
    assert!(!served.host.has_exited());
}

// Statement 74.
#[test]
fn a_runtime_api_that_stays_away_ends_the_process_when_all_pollers_have_given_up() {
    let lambda = FakeRuntimeApi::builder().concurrency(3).tolerate_violations().start();
    let served = behind(lambda, guests::ECHO, 3, &[]);
    served.lambda.wait_for_nexts(3);
    served.lambda.refuse_connections();
    assert_eq!(served.host.wait_for_exit(Duration::from_secs(20)).code(), Some(2));
    let fatal = lines(&served)
        .into_iter()
        .filter(|line| line["level"] == "FATAL")
        .count();
    assert_eq!(fatal, 1);
}

// Statement 74.
#[test]
fn a_failure_of_lambda_itself_ends_the_process() {
    let lambda = FakeRuntimeApi::builder().concurrency(3).tolerate_violations().start();
    let served = behind(lambda, guests::ECHO, 3, &[]);
    served.lambda.wait_for_nexts(3);
    served.lambda.on_next(Reply::status(500));
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
}

// Statement 75.
#[test]
fn guests_that_run_at_a_time_do_not_see_each_others_files() {
    let served = served(guests::FILES, 4, &[]);
    served.lambda.wait_for_nexts(4);
    let operations = |index: usize| {
        json!([
            { "verb": "list", "path": "/tmp" },
            { "verb": "write", "path": "/tmp/same", "data": format!("of {index}") },
            { "verb": "read", "path": "/tmp/same" },
            { "verb": "list", "path": "/tmp" },
        ])
        .to_string()
    };
    for (index, answer) in together(&served, &numbered(12, operations)).into_iter().enumerate() {
        assert_eq!(answer.json(), json!([[], null, format!("of {index}"), ["same"]]));
    }
}

#[test]
fn no_memory_of_one_event_is_there_for_the_next() {
    let served = served(guests::LEAK, 4, &[]);
    for answer in together(&served, &numbered(40, |_| "1000000".to_owned())) {
        assert_eq!(answer.json(), 1);
    }
}

#[test]
fn a_guest_that_prepares_itself_does_so_once_for_each_that_runs_at_a_time() {
    let served = served(guests::COUNTER, 3, &[]);
    served.lambda.wait_for_nexts(3);
    let answers = together(&served, &numbered(30, |_| "1".to_owned()));
    let counts: Vec<u64> = answers.iter().map(|answer| answer.json().as_u64().unwrap()).collect();
    assert!(counts.iter().all(|count| *count > 100 && *count <= 130), "{counts:?}");
    let instances = counts.iter().filter(|count| **count == 101).count();
    assert!((1..=3).contains(&instances), "{counts:?}");
}

#[test]
fn a_record_that_never_returns_fails_alone_and_the_other_batches_go_on() {
    let variables = [("ORLOP_BATCH", "record"), ("ORLOP_TIMEOUT", "500ms")];
    let served = served(guests::RECORD, 2, &variables);
    let record = |id: &str, body: &str| json!({ "messageId": id, "eventSource": "aws:sqs", "body": body });
    let batch = |wishes: &[&str]| {
        let ids = ["a", "b", "c"];
        let records: Vec<_> = ids.iter().zip(wishes).map(|(id, wish)| record(id, wish)).collect();
        json!({ "Records": records }).to_string()
    };
    let events = [
        ("stuck".to_owned(), batch(&["ok", "spin", "ok"])),
        ("well".to_owned(), batch(&["ok", "ok", "ok"])),
    ];
    let answers = together(&served, &events);
    assert_eq!(
        answers[0].json(),
        json!({ "batchItemFailures": [{ "itemIdentifier": "b" }] })
    );
    assert_eq!(answers[1].json(), json!({ "batchItemFailures": [] }));
}

// Statement 77.
#[test]
fn a_termination_signal_ends_the_process_and_answers_what_still_runs() {
    for (guest, payload) in [(guests::SLEEP, "60000"), (guests::SPIN, "true")] {
        let lambda = FakeRuntimeApi::builder().concurrency(3).tolerate_violations().start();
        let served = behind(lambda, guest, 3, &[]);
        served.lambda.wait_for_nexts(3);
        served
            .lambda
            .send(Event::new("long", payload).due_in(Duration::from_secs(60)));
        // The event is being worked on when a poller is not waiting.
        served.lambda.wait_until_pending(2);
        let sent = Instant::now();
        served.host.signal(Signal::TERM);
        assert_eq!(served.host.wait_for_exit(END).code(), Some(0));
        assert!(sent.elapsed() < Duration::from_millis(600), "{:?}", sent.elapsed());
        let answer = served.lambda.wait_for_answer("long");
        assert_eq!(text(&answer.json(), "errorType"), "Runtime.ShuttingDown");
    }
}

#[test]
fn code_that_cannot_be_interrupted_is_refused_with_the_command_that_makes_the_right_one() {
    let lambda = FakeRuntimeApi::builder().concurrency(2).start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let variables = [("AWS_LAMBDA_MAX_CONCURRENCY", "2")];
    let served = Served::in_task_root(lambda, task_root, guests::ECHO.name(), &variables);
    let report = served.lambda.wait_for_init_error().json();
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("orlop compile echo.wasm -o echo.concurrent.cwasm --execution concurrent"),
        "{message}"
    );
    assert_eq!(served.host.wait_for_exit(END).code(), Some(1));
}

#[test]
fn code_that_can_be_interrupted_serves_one_event_at_a_time_too() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_concurrent(guests::SPIN);
    let served = Served::in_task_root(lambda, task_root, guests::SPIN.name(), &[MARGIN]);
    served.answer("a", "false");
    let overrun = served.ask(Event::new("b", "true").due_in(Duration::from_secs(2)));
    assert_eq!(text(&overrun.json(), "errorType"), "Runtime.DeadlineExceeded");
    served.answer("c", "false");
    served
        .host
        .wait_for_log(|line| line.contains("WARN") && line.contains("concurrent execution"));
}

#[test]
fn a_stream_that_lasts_does_not_keep_others_waiting() {
    let variables = [("ORLOP_RESPONSE_MODE", "streaming"), ("ORLOP_WORLD", "command")];
    let served = served(guests::DRIP, 3, &variables);
    served.lambda.wait_for_nexts(3);
    let answers = together(
        &served,
        &numbered(6, |index| format!("write {index}\nsleep 100\nwrite {index}")),
    );
    let bodies: BTreeSet<&str> = answers.iter().map(orlop_tests::Answer::text).collect();
    let expected: BTreeSet<String> = (0..6).map(|index| format!("{index}{index}")).collect();
    assert!(
        bodies.iter().copied().eq(expected.iter().map(String::as_str)),
        "{bodies:?}"
    );
}
