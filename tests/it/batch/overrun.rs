//! Records that take too long, and what becomes of the others.

use super::*;

#[test]
fn an_endless_record_brings_back_itself_and_those_not_run_and_the_process_goes_on() {
    let served = Served::with_env(guests::RECORD, &[RECORD, MARGIN]);
    let pid = served.host.pid();
    for (event, body) in [("computes", "spin"), ("waits", "sleep 600000")] {
        let records = messages(&[("a", "ok"), ("b", "fail first"), ("c", body), ("d", "ok"), ("e", "ok")]);
        let timeout = Duration::from_secs(3);
        let sent = Instant::now();
        let answer = served.ask(Event::new(event, records).due_in(timeout));
        assert!(sent.elapsed() < timeout, "answered after {:?}", sent.elapsed());
        assert_eq!(failures(&answer), ["b", "c", "d", "e"], "{event}");
        let trace = Trace::of(&served.host, event);
        assert_eq!(
            (trace.begun(), trace.ended()),
            (vec!["a", "b", "c"], vec!["a"]),
            "{event}"
        );
        assert!(
            trace.0.iter().any(|line| line.contains("Runtime.DeadlineExceeded")),
            "{:?}",
            trace.0
        );
        let next = format!("after-{event}");
        let answer = served.ask(Event::new(next, messages(&[("c", "ok"), ("d", "ok"), ("e", "ok")])));
        assert_eq!(failures(&answer), [""; 0], "{event}");
    }
    assert_eq!(served.host.pid(), pid);
    assert!(!served.host.has_exited());
}

#[test]
fn a_record_that_waits_forever_does_not_keep_the_others_from_running() {
    let served = Served::with_env(guests::RECORD, &[RECORD, MARGIN, ("ORLOP_BATCH_CONCURRENCY", "2")]);
    let records = messages(&[
        ("a", "sleep 600000"),
        ("b", "ok"),
        ("c", "panic in between"),
        ("d", "ok"),
        ("e", "ok"),
    ]);
    let answer = served.ask(Event::new("event", records));
    assert_eq!(failures(&answer), ["a", "c"]);
    assert_eq!(Trace::of(&served.host, "event").ended(), ["b", "d", "e"]);
    assert_eq!(
        failures(&served.ask(Event::new("next", messages(&[("a", "ok")])))),
        [""; 0]
    );
}

#[test]
fn a_timeout_is_for_one_record_and_not_for_the_batch() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_TIMEOUT", "2s")]);
    let records = messages(&[("a", "sleep 900"), ("b", "sleep 900"), ("c", "sleep 900")]);
    let answer = served.ask(Event::new("event", records).due_in(Duration::from_secs(60)));
    assert_eq!(failures(&answer), [""; 0]);
}

// What had ended is not run again.
#[test]
fn records_that_overrun_their_timeout_fail_alone_and_the_others_run_once() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_TIMEOUT", "1s")]);
    let pid = served.host.pid();
    let records = messages(&[
        ("a", "ok"),
        ("b", "spin"),
        ("c", "fail between"),
        ("d", "sleep 600000"),
        ("e", "panic between"),
        ("f", "ok"),
    ]);
    let due = Duration::from_secs(60);
    let sent = Instant::now();
    // The fake compares the nonce that comes back.
    let event = Event::new("event", records)
        .due_in(due)
        .invocation_id("nonce")
        .tenant_id("blue");
    let answer = served.ask(event);
    assert!(sent.elapsed() < due / 2, "answered after {:?}", sent.elapsed());
    assert_eq!(failures(&answer), ["b", "c", "d", "e"]);
    let trace = Trace::of(&served.host, "event");
    assert_eq!(trace.begun(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(trace.ended(), ["a", "f"]);
    assert!(
        trace
            .lines("begin")
            .iter()
            .all(|line| line.ends_with(" event=1 files=0"))
    );
    for id in ["b", "d"] {
        let is_about = |line: &String| line.contains("did not return in time") && field(line, "record") == Some(id);
        let line = trace
            .0
            .iter()
            .find(|line| is_about(line))
            .unwrap_or_else(|| panic!("{id}: {:?}", trace.0));
        assert_eq!(field(line, "errorType"), Some("Runtime.DeadlineExceeded"), "{line}");
        let last_output = format!("last output: begin {id} ");
        assert!(
            line.contains("still running after 1s") && line.contains(&last_output),
            "{line}"
        );
    }
    assert_eq!(
        failures(&served.ask(Event::new("next", messages(&[("b", "ok")])))),
        [""; 0]
    );
    assert_eq!(served.host.pid(), pid);
    served
        .host
        .wait_for_log(|line| line.contains("ready") && line.contains("restarts=2"));
}

#[test]
fn an_overrun_stops_its_group_and_no_other() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_TIMEOUT", "1s")]);
    let due = Duration::from_secs(60);
    let event = batch([
        fifo_message("a", "a1", "ok"),
        fifo_message("a", "a2", "spin"),
        fifo_message("b", "b1", "ok"),
        fifo_message("a", "a3", "ok"),
        fifo_message("b", "b2", "ok"),
    ]);
    let answer = served.ask(Event::new("queue", event).due_in(due));
    assert_eq!(failures(&answer), ["a2", "a3"]);
    let trace = Trace::of(&served.host, "queue");
    assert_eq!((trace.begun().len(), trace.ended()), (4, vec!["a1", "b1", "b2"]));

    let event = batch([
        kinesis_record("1", "ok"),
        kinesis_record("2", "spin"),
        kinesis_record("3", "ok"),
    ]);
    let answer = served.ask(Event::new("stream", event).due_in(due));
    assert_eq!(failures(&answer), ["2", "3"]);
    assert_eq!(Trace::of(&served.host, "stream").begun(), ["1", "2"]);
}

#[test]
fn records_under_way_beside_an_overrun_come_back_and_are_not_run_twice() {
    let served = Served::with_env(
        guests::RECORD,
        &[RECORD, ("ORLOP_TIMEOUT", "1s"), ("ORLOP_BATCH_CONCURRENCY", "2")],
    );
    let records = (0..8).map(|index| (format!("m{index}"), if index == 2 { "spin" } else { "sleep 30" }));
    let records = records.collect::<Vec<_>>();
    let event = batch(records.iter().map(|(id, body)| message(id, body)));
    let answer = served.ask(Event::new("event", event).due_in(Duration::from_secs(60)));
    let failed = failures(&answer);
    let trace = Trace::of(&served.host, "event");
    let begun = trace.begun();
    assert_eq!(
        begun.iter().collect::<BTreeSet<_>>().len(),
        begun.len(),
        "none runs twice: {begun:?}"
    );
    assert!(failed.contains(&"m2".to_owned()) && failed.len() <= 2, "{failed:?}");
    for (id, _) in &records {
        assert!(
            failed.contains(id) || trace.ended().contains(&id.as_str()),
            "{id} is lost"
        );
    }
}

#[test]
fn a_batch_of_endless_records_is_answered_before_the_deadline_all_the_same() {
    let served = Served::with_env(
        guests::RECORD,
        &[RECORD, ("ORLOP_TIMEOUT", "400ms"), ("ORLOP_DEADLINE_MARGIN", "1s")],
    );
    let pid = served.host.pid();
    let ids = (0..20).map(|index| format!("m{index:02}")).collect::<Vec<_>>();
    let event = batch(ids.iter().map(|id| message(id, "spin")));
    let timeout = Duration::from_secs(3);
    let sent = Instant::now();
    let answer = served.ask(Event::new("event", event).due_in(timeout));
    assert!(sent.elapsed() < timeout, "answered after {:?}", sent.elapsed());
    assert_eq!(failures(&answer), ids);
    let begun = Trace::of(&served.host, "event").begun().len();
    assert!((2..ids.len()).contains(&begun), "{begun} were begun");
    assert_eq!(
        failures(&served.ask(Event::new("next", messages(&[("a", "ok")])))),
        [""; 0]
    );
    assert_eq!(served.host.pid(), pid);
}

#[test]
fn a_batch_for_which_the_process_is_not_ready_again_in_time_is_answered_with_what_was_done() {
    // To compile the component for each of them takes longer than the batch has left.
    let names = (0..20).map(|index| format!("f{index}")).collect::<Vec<_>>();
    let functions = names
        .iter()
        .map(|name| format!("[functions.{name}]\ncomponent = 'record'\n[[routes]]\nfunction = '{name}'\n"));
    let manifest = "[defaults]\nbatch = 'record'\ntimeout = '500ms'\n".to_owned() + &functions.collect::<String>();
    let task_root = TaskRoot::new()
        .with("record.wasm", guests::RECORD)
        .with_content("orlop.toml", manifest);
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda)
        .task_root(&task_root)
        .function(128)
        .env(MARGIN.0, MARGIN.1)
        .start();
    let served = Served::of(lambda, host, task_root);
    let pid = served.host.pid();
    served.lambda.wait_for_next();

    let records = messages(&[("a", "ok"), ("b", "spin"), ("c", "ok")]);
    let timeout = Duration::from_millis(1700);
    let sent = Instant::now();
    let answer = served.ask(Event::new("event", records).due_in(timeout));
    assert!(sent.elapsed() < timeout, "answered after {:?}", sent.elapsed());
    assert_eq!(failures(&answer), ["b", "c"]);
    let trace = Trace::of(&served.host, "event");
    assert!(
        trace.0.iter().any(|line| line.contains("was not ready again")),
        "{:?}",
        trace.0
    );
    let next = Event::new("next", messages(&[("a", "ok")])).due_in(Duration::from_secs(60));
    assert_eq!(failures(&served.ask(next)), [""; 0]);
    assert_eq!(served.host.pid(), pid);
    served
        .host
        .wait_for_log(|line| line.contains("ready") && line.contains("restarts=2"));
}

#[test]
fn records_for_which_the_time_does_not_suffice_come_back_before_the_deadline() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_DEADLINE_MARGIN", "1s")]);
    let ids = (0..60).map(|index| format!("m{index:02}")).collect::<Vec<_>>();
    let records = ids.iter().map(|id| message(id, "sleep 100"));
    let timeout = Duration::from_secs(3);
    let sent = Instant::now();
    let answer = served.ask(Event::new("event", batch(records)).due_in(timeout));
    assert!(sent.elapsed() < timeout, "answered after {:?}", sent.elapsed());
    let failed = failures(&answer);
    assert!(!failed.is_empty() && failed.len() < ids.len(), "{failed:?}");
    let done = ids.len() - failed.len();
    assert_eq!(failed, ids[done..]);
    let trace = Trace::of(&served.host, "event");
    assert_eq!(
        trace.ended()[..done],
        ids[..done],
        "what is not named was run to its end"
    );
    assert!(trace.begun().len() <= done + 1, "{:?}", trace.begun());
    assert_eq!(
        failures(&served.ask(Event::new("next", messages(&[("a", "ok")])))),
        [""; 0]
    );
}

#[test]
fn of_many_records_each_has_run_to_its_end_or_comes_back() {
    let served = Served::with_env(guests::RECORD, &[RECORD, ("ORLOP_BATCH_CONCURRENCY", "5")]);
    let bodies = [
        "ok",
        "sleep 3",
        "fail x",
        "panic x",
        "exit 1",
        "sleep 1",
        "answer {\"batchItemFailures\":7}",
    ];
    let records = (0..200).map(|index| (format!("m{index:03}"), bodies[index % bodies.len()]));
    let records = records.collect::<BTreeMap<_, _>>();
    let event = batch(records.iter().map(|(id, body)| message(id, body)));
    let answer = served.ask(Event::new("event", event).due_in(Duration::from_secs(20)));
    let failed = failures(&answer).into_iter().collect::<BTreeSet<_>>();
    let trace = Trace::of(&served.host, "event");
    let begun = trace.begun();
    assert_eq!(begun.len(), 200);
    assert_eq!(begun.into_iter().collect::<BTreeSet<_>>().len(), 200, "none runs twice");
    let ended = trace.ended();
    for (id, body) in &records {
        let is_good = *body == "ok" || body.starts_with("sleep");
        assert_eq!(failed.contains(id), !is_good, "{id} {body}");
        assert!(
            failed.contains(id) || ended.contains(&id.as_str()),
            "{id} {body} is lost"
        );
    }
    // Ones that failed have given their places back.
    let records = (0..50).map(|index| message(&format!("m{index}"), "ok"));
    assert_eq!(failures(&served.ask(Event::new("next", batch(records)))), [""; 0]);
}

#[test]
fn a_termination_signal_brings_back_what_is_not_done() {
    let served = Served::with_env(guests::RECORD, &[RECORD]);
    let records = messages(&[("a", "ok"), ("b", "sleep 600000"), ("c", "ok")]);
    served
        .lambda
        .send(Event::new("event", records).due_in(Duration::from_secs(60)));
    served.host.wait_for_log(|line| line.contains("begin b"));
    served.host.signal(Signal::TERM);
    assert_eq!(failures(&served.lambda.wait_for_answer("event")), ["b", "c"]);
    assert_eq!(served.host.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
}
