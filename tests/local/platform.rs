//! Execution environments: when they come, what they are told, and how they go.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use orlop_local::invocation::{Refusal, Status};
use orlop_local::journal::What;
use orlop_local::platform::{Settings, State};
use orlop_local::{Function, Invocation, Journal, Platform};
use serde_json::{Value, json};

use crate::support::{function, invoke, platform};

fn with(mut function: Function, name: &str, value: &str) -> Function {
    function.variables.push((name.to_owned(), value.to_owned()));
    function
}

/// Waits until the environments are in these states.
async fn until(platform: &Platform, states: &[State]) {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let now: Vec<State> = platform.environments().iter().map(|status| status.state).collect();
        if now == states {
            return;
        }
        assert!(
            Instant::now() < patience,
            "the environments are {now:?}, not {states:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn state_of(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap();
    state.trim().to_owned()
}

fn error_of(answer: Result<Value, Value>) -> (String, String) {
    let error = answer.unwrap_err();
    let part = |name: &str| error[name].as_str().unwrap().to_owned();
    (part("errorType"), part("errorMessage"))
}

#[tokio::test]
async fn the_first_event_starts_an_environment_and_the_next_finds_it_warm() {
    let platform = platform([function("one")]);
    assert!(platform.environments().is_empty());
    let (first, report) = invoke(&platform, "one", json!({"n": 1})).await;
    assert!(report.init.is_some());
    let (second, report) = invoke(&platform, "one", json!({"n": 2})).await;
    assert_eq!(report.init, None);
    assert_eq!(first.unwrap()["pid"], second.unwrap()["pid"]);
    assert_eq!(platform.environments()[0].events, 2);
}

#[tokio::test]
async fn an_environment_is_stopped_while_it_has_nothing_to_do() {
    let platform = platform([function("one")]);
    invoke(&platform, "one", json!({})).await.0.unwrap();
    until(&platform, &[State::Frozen]).await;
    let patience = Instant::now() + Duration::from_secs(10);
    // A signal takes its time.
    while state_of(platform.environments()[0].pid) != "T (stopped)" {
        assert!(Instant::now() < patience, "the environment goes on running");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_at_once_have_an_environment_each_and_go_on_to_share_them() {
    let platform = platform([function("one")]);
    let events = (0..5).map(|_| invoke(&platform, "one", json!({"sleep": 1})));
    let mut pids: Vec<u64> = futures_util::future::join_all(events)
        .await
        .into_iter()
        .map(|(answer, _)| answer.unwrap()["pid"].as_u64().unwrap())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5);
    let (again, _) = invoke(&platform, "one", json!({})).await;
    assert!(pids.contains(&again.unwrap()["pid"].as_u64().unwrap()));
}

#[tokio::test]
async fn events_one_after_the_other_never_need_a_second_environment() {
    let platform = platform([function("one")]);
    for _ in 0..50 {
        invoke(&platform, "one", json!({})).await.0.unwrap();
    }
    assert_eq!(platform.environments().len(), 1);
}

#[tokio::test]
async fn beyond_the_limit_a_caller_is_throttled() {
    let limited = Function {
        concurrency: NonZeroU32::new(2).unwrap(),
        ..function("one")
    };
    let platform = platform([limited]);
    let busy = [
        tokio::spawn({
            let platform = platform.clone();
            async move { invoke(&platform, "one", json!({"sleep": 2})).await }
        }),
        tokio::spawn({
            let platform = platform.clone();
            async move { invoke(&platform, "one", json!({"sleep": 2})).await }
        }),
    ];
    until(&platform, &[State::Busy, State::Busy]).await;
    let refusal = platform.invoke("one", Invocation::default()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Throttled { limit: 2, .. }));
    for event in busy {
        event.await.unwrap().0.unwrap();
    }
    invoke(&platform, "one", json!({})).await.0.unwrap();
}

#[tokio::test]
async fn an_idle_environment_goes_away() {
    let settings = Settings {
        idle: Duration::from_millis(300),
        ..Settings::default()
    };
    let platform = Platform::new(Journal::default(), settings);
    platform.deploy(function("one"));
    invoke(&platform, "one", json!({})).await.0.unwrap();
    until(&platform, &[]).await;
    let (_, report) = invoke(&platform, "one", json!({})).await;
    assert!(report.init.is_some());
}

#[tokio::test]
async fn an_event_that_takes_too_long_is_killed_and_the_next_one_served() {
    let hasty = Function {
        timeout: Duration::from_millis(1_500),
        ..function("one")
    };
    let platform = platform([hasty]);
    let (answer, report) = invoke(&platform, "one", json!({"sleep": 60})).await;
    let (error_type, message) = error_of(answer);
    assert_eq!(error_type, "Sandbox.Timedout");
    assert!(
        message.ends_with("Error: Task timed out after 1.50 seconds"),
        "{message}"
    );
    assert_eq!(report.status, Status::Timeout);
    let (_, report) = invoke(&platform, "one", json!({})).await;
    assert!(report.init.is_some());
}

#[tokio::test]
async fn a_runtime_that_ends_in_an_event_is_reported_as_on_lambda() {
    let platform = platform([function("one")]);
    for (event, expected) in [
        (json!({"exit": 7}), "Runtime exited with error: exit status 7"),
        (json!({"exit": 0}), "Runtime exited without providing a reason"),
        (json!({"kill": 9}), "Runtime exited with error: signal: killed"),
    ] {
        let (answer, report) = invoke(&platform, "one", event).await;
        let (error_type, message) = error_of(answer);
        assert_eq!(error_type, "Runtime.ExitError");
        assert_eq!(message, format!("RequestId: {} Error: {expected}", report.request_id));
        assert_eq!(report.status, Status::Crash);
    }
}

#[tokio::test]
async fn an_error_in_init_is_the_answer_after_a_second_try() {
    let platform = platform([with(function("one"), "INIT", "fail")]);
    let (answer, report) = invoke(&platform, "one", json!({})).await;
    assert_eq!(
        error_of(answer),
        ("Runtime.NoLuck".to_owned(), "no luck in Init".to_owned())
    );
    assert_eq!(report.status, Status::InitFailed);
    let (entries, _) = platform.journal().read();
    let tries = entries
        .iter()
        .filter(|entry| matches!(entry.what, What::InitFailed { .. }));
    assert_eq!(tries.count(), 2);
    until(&platform, &[]).await;
}

#[tokio::test]
async fn an_init_beyond_its_limit_is_run_again_in_the_time_of_the_event() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let settings = Settings {
        init_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let platform = Platform::new(Journal::default(), settings);
    let slow = with(function("one"), "INIT", "sleep-once");
    platform.deploy(with(slow, "RECORD", record.to_str().unwrap()));
    let (answer, report) = invoke(&platform, "one", json!({})).await;
    answer.unwrap();
    assert_eq!(report.status, Status::Success);
}

#[tokio::test]
async fn a_new_version_takes_over_while_the_old_one_finishes_its_event() {
    let platform = platform([with(function("one"), "VERSION", "old")]);
    let running = tokio::spawn({
        let platform = platform.clone();
        async move { invoke(&platform, "one", json!({"sleep": 2})).await }
    });
    until(&platform, &[State::Busy]).await;
    platform.deploy(with(function("one"), "VERSION", "new"));
    let (new, _) = invoke(&platform, "one", json!({})).await;
    assert_eq!(new.unwrap()["environment"]["VERSION"], "new");
    let (old, _) = running.await.unwrap();
    assert_eq!(old.unwrap()["environment"]["VERSION"], "old");
    until(&platform, &[State::Frozen]).await;
}

#[tokio::test]
async fn a_runtime_is_told_what_lambda_tells() {
    let platform = platform([function("one")]);
    let (answer, report) = invoke(&platform, "one", json!({})).await;
    let answer = answer.unwrap();
    let (headers, environment) = (&answer["headers"], &answer["environment"]);
    assert_eq!(headers["lambda-runtime-aws-request-id"], *report.request_id);
    assert_eq!(
        headers["lambda-runtime-invoked-function-arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:one"
    );
    assert!(
        headers["lambda-runtime-trace-id"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "one");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
    assert_eq!(environment["AWS_LAMBDA_INITIALIZATION_TYPE"], "on-demand");
    // This shell's variables stay out.
    assert_eq!(environment["CARGO_MANIFEST_DIR"], Value::Null);
}

#[tokio::test]
async fn a_log_has_what_the_function_printed_between_start_and_report() {
    let platform = platform([function("one")]);
    let (_, report) = invoke(&platform, "one", json!({"print": "ahoy"})).await;
    let lines: Vec<&str> = report.log_tail.lines().collect();
    let [start, line, end, last] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!(
        *start,
        format!("START RequestId: {} Version: $LATEST", report.request_id)
    );
    assert_eq!(*line, "ahoy");
    assert_eq!(*end, format!("END RequestId: {}", report.request_id));
    assert!(last.starts_with(&format!("REPORT RequestId: {}\tDuration: ", report.request_id)));
    assert!(last.contains("\tMemory Size: 128 MB\tMax Memory Used: "), "{last}");
}

#[tokio::test]
async fn an_answer_or_event_at_the_limit_passes_and_one_byte_more_does_not() {
    let platform = platform([function("one")]);
    let (answer, _) = invoke(&platform, "one", json!({"size": 6_291_556})).await;
    assert_eq!(answer.unwrap().as_str().unwrap().len(), 6_291_554);
    let (answer, _) = invoke(&platform, "one", json!({"size": 6_291_557})).await;
    assert_eq!(error_of(answer).0, "Function.ResponseSizeTooLarge");
    // The runtime goes on after the refusal.
    let (_, report) = invoke(&platform, "one", json!({})).await;
    assert_eq!(report.init, None);

    let event = |size: usize| Invocation {
        payload: [b"{}".to_vec(), vec![b' '; size - 2]].concat().into(),
        ..Invocation::default()
    };
    platform
        .invoke("one", event(6_291_556))
        .await
        .unwrap()
        .body
        .collect()
        .await
        .unwrap();
    let refusal = platform.invoke("one", event(6_291_557)).await.unwrap_err();
    assert!(matches!(refusal, Refusal::TooLarge { size: 6_291_557 }));
}

#[tokio::test]
async fn an_environment_on_managed_instances_takes_several_events_and_is_never_stopped() {
    let shared = Function {
        events_per_environment: NonZeroU32::new(4),
        timeout: Duration::from_secs(1),
        ..function("one")
    };
    let platform = platform([shared]);
    let (answer, _) = invoke(&platform, "one", json!({})).await;
    let answer = answer.unwrap();
    assert_eq!(answer["environment"]["AWS_LAMBDA_MAX_CONCURRENCY"], "4");
    assert_eq!(
        answer["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "lambda-managed-instances"
    );
    until(&platform, &[State::Idle]).await;
    let events = (0..4).map(|_| invoke(&platform, "one", json!({"sleep": 0.5})));
    for (same, _) in futures_util::future::join_all(events).await {
        assert_eq!(same.unwrap()["pid"], answer["pid"]);
    }
    assert_eq!(platform.environments().len(), 1);
    // An event whose time is over does not end the environment.
    let (answer, _) = invoke(&platform, "one", json!({"sleep": 3})).await;
    assert_eq!(error_of(answer).0, "Sandbox.Timedout");
    assert_ne!(state_of(platform.environments()[0].pid), "T (stopped)");
}

#[tokio::test]
async fn a_stream_comes_piece_by_piece_and_says_how_it_ended() {
    let platform = platform([function("one")]);
    let invocation = |event: Value| Invocation {
        payload: event.to_string().into(),
        ..Invocation::default()
    };
    let answer = platform
        .invoke("one", invocation(json!({"stream": ["a", "b"], "pause": 0.2})))
        .await
        .unwrap();
    assert_eq!(answer.body.collect().await.unwrap(), "ab");
    let answer = platform
        .invoke("one", invocation(json!({"stream": ["a"], "break": "Function.Broke"})))
        .await
        .unwrap();
    let error: Value = serde_json::from_slice(&answer.body.collect().await.unwrap_err()).unwrap();
    assert_eq!(error["errorType"], "Function.Broke");
}

#[tokio::test]
async fn the_environments_end_with_the_platform() {
    let platform = platform([function("one")]);
    invoke(&platform, "one", json!({})).await.0.unwrap();
    let pid = platform.environments()[0].pid;
    platform.shut_down().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let refusal = platform.invoke("one", Invocation::default()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::ShuttingDown));
}
