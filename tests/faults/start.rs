//! Where the Runtime API is, and what if it is not there (F01 to F03, F27).

use std::time::{Duration, Instant};

use orlop_tests::{End, FakeRuntimeApi, Host, Served, TaskRoot, Toxic, ToxicProxy, bootstrap, guests};

use crate::{END, assert_ended_with_reason, tolerant};

#[test]
fn an_address_that_is_none_ends_the_process_with_the_name_of_the_variable() {
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    for address in [
        " ",
        "http://",
        "/",
        "127.0.0.1:9001/2018-06-01",
        "127.0.0.1:port",
        "127.0.0.1:99999",
        "a b:9001",
        "ftp://127.0.0.1:9001",
        "127.0.0.1:9001?a",
        "\u{1b}[31m",
    ] {
        let host = Host::binary(bootstrap())
            .runtime_api(address)
            .task_root(&task_root)
            .start();
        assert_eq!(host.wait_for_exit(END).code(), Some(1), "{address:?}: {:?}", host.log());
        let log = host.log();
        assert_eq!(log.len(), 1, "{address:?}: {log:?}");
        assert!(log[0].contains("AWS_LAMBDA_RUNTIME_API"), "{address:?}: {log:?}");
        assert!(!log[0].contains('\u{1b}'), "{log:?}");
    }
}

#[test]
fn a_name_that_nobody_knows_ends_the_process_with_that_name() {
    let lambda = FakeRuntimeApi::start();
    let served = Served::with(
        lambda,
        guests::ECHO,
        &[("AWS_LAMBDA_RUNTIME_API", "nowhere.invalid:9001")],
    );
    assert_ended_with_reason(&served, "an unknown name");
    assert!(
        served
            .host
            .log()
            .last()
            .is_some_and(|line| line.contains("nowhere.invalid"))
    );
}

#[test]
fn a_runtime_api_that_goes_away_between_two_events_is_waited_for_a_moment() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    served.answer("before", "1");
    served.lambda.wait_for_next();
    served.lambda.refuse_connections();
    served
        .host
        .wait_for_log(|line| line.contains("asking for the next event again"));
    served.lambda.accept_connections();
    assert_eq!(served.answer("after", "2"), 2);
}

#[test]
fn a_runtime_api_that_has_gone_for_good_ends_the_process_without_haste_and_without_hurry() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    served.answer("before", "1");
    served.lambda.wait_for_next();
    let gone = Instant::now();
    served.lambda.refuse_connections();
    assert_ended_with_reason(&served, "refused for good");
    let tried = gone.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(6)).contains(&tried),
        "tried for {tried:?}"
    );
    // One line says that it is tried again, one that it is over: a log is not filled by a network that is down.
    assert!(served.host.log().len() <= 4, "{:?}", served.host.log());
}

#[test]
fn an_init_error_that_nobody_takes_does_not_keep_the_process() {
    let lambda = tolerant();
    let proxy = ToxicProxy::before(&lambda.address());
    proxy.upstream(Toxic::cut(0, End::HalfOpen));
    let began = Instant::now();
    let host = Host::bootstrap(&lambda)
        .runtime_api(&proxy.address())
        .task_root(TaskRoot::new())
        .start();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let log = host.log();
    assert!(log.last().is_some_and(|line| line.contains("\tFATAL\t")), "{log:?}");
}
