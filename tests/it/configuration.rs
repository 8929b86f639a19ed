//! Settings that mean nothing are errors that name the variable, the value and what would do.

use orlop_tests::{FakeRuntimeApi, Host, TaskRoot, guests};

use crate::{END, text};

#[test]
fn a_malformed_value_is_reported_and_nothing_is_served() {
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "lots"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "-1"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "0"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "many"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", ""),
        ("_LAMBDA_TELEMETRY_LOG_FD", "stdout"),
        ("ORLOP_ISOLATION", "none"),
        ("ORLOP_LIMIT_MEMORY", "99999999999999G"),
        ("ORLOP_LIMIT_RESOURCES", "0"),
        ("ORLOP_DEADLINE_MARGIN", "soon"),
        ("ORLOP_CONTENT_TYPE", "nonsense"),
        ("ORLOP_LIMITS_MEMORY", "64MiB"),
    ] {
        let lambda = FakeRuntimeApi::start();
        let host = Host::bootstrap(&lambda).task_root(&task_root).env(name, value).start();
        let report = lambda.wait_for_init_error().json();
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidConfiguration");
        assert!(text(&report, "errorMessage").contains(name), "{name}={value}: {report}");
        assert_eq!(host.wait_for_exit(END).code(), Some(1));
        assert_eq!(lambda.requests().len(), 1, "{}", lambda.record());
    }
}

#[test]
fn an_empty_value_counts_as_unset() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let _host = Host::bootstrap(&lambda)
        .task_root(&task_root)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        .env("ORLOP_ISOLATION", "")
        .env("_HANDLER", "")
        .start();
    lambda.wait_for_next();
}
