//! The host under the emulator as on a Managed Instance, where it shows a caller what it hides otherwise: headers, and an
//! error in trailers (runtime contract §11.3).

use std::time::{Duration, Instant};

use orlop_tests::emulator::{Outcome, managed_instances_are_skipped};
use orlop_tests::{Component, Emulator, TaskRoot, bootstrap, examples, guests, text};
use serde_json::{Value, json};

/// How many events it takes at a time.
const CONCURRENCY: usize = 4;
/// The mode of the answer, in an answer that is no error.
const MODE: &str = "Lambda-Runtime-Function-Response-Mode";

/// The host with one guest on a Managed Instance.
struct Managed {
    emulator: Emulator,
    _task_root: TaskRoot,
}

impl Managed {
    /// `None` where that is skipped.
    fn start(guest: Component, variables: &[(&str, &str)]) -> Option<Self> {
        if managed_instances_are_skipped() {
            return None;
        }
        let task_root = TaskRoot::new().with_concurrent(guest);
        let emulator = Emulator::of(bootstrap())
            .managed_instance(&task_root, CONCURRENCY)
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "20");
        let emulator = variables
            .iter()
            .fold(emulator, |emulator, (name, value)| emulator.env(name, value))
            .start();
        Some(Self {
            emulator,
            _task_root: task_root,
        })
    }

    fn outcome(&self, payload: impl AsRef<[u8]>) -> Outcome {
        self.emulator.outcome(payload, &[])
    }

    /// The emulator ends with its runtime, and does not start another one.
    fn assert_is_the_same_process(&self) {
        assert!(!self.emulator.has_exited());
        let log = self.emulator.stdout();
        let starts = log.iter().filter(|line| line.contains(r#""message":"ready""#));
        assert_eq!(starts.count(), 1, "{log:#?}");
    }
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&outcome.body)))
}

/// The report of an invocation that failed with this error.
fn report_of(outcome: &Outcome, error_type: &str) -> Value {
    let report = json(outcome);
    assert_eq!((outcome.status, text(&report, "errorType")), (200, error_type));
    assert!(report["stackTrace"].is_array(), "{report}");
    report
}

#[test]
fn an_event_is_answered_as_another_user_without_a_word_of_an_error() {
    let Some(managed) = Managed::start(examples::HELLO, &[]) else {
        return;
    };
    let outcome = managed.outcome(r#"{"name":"Ada"}"#);
    assert_eq!((outcome.status, outcome.header("Error-Type")), (200, None));
    assert_eq!(outcome.header(MODE), Some("buffered"));
    assert_eq!(json(&outcome), json!({ "message": "Hello, Ada!" }));
}

// Statement 48.
#[test]
fn a_caller_sees_the_type_of_a_function_error_and_the_next_event_succeeds() {
    let Some(managed) = Managed::start(guests::FAIL, &[]) else {
        return;
    };
    let outcome = managed.outcome(r#"{"type":"OrderNotFound","message":"no order 7"}"#);
    // Lambda wants a category before the name, the guest has none: it is the function's.
    assert_eq!(outcome.header("Error-Type"), Some("Function.OrderNotFound"));
    assert_eq!(
        text(&report_of(&outcome, "OrderNotFound"), "errorMessage"),
        "no order 7"
    );
    let next = managed.outcome("{}");
    assert_eq!((next.header("Error-Type"), json(&next)), (None, Value::Null));
    managed.assert_is_the_same_process();
}

// Statement 69.
#[test]
fn events_run_at_a_time() {
    let Some(managed) = Managed::start(guests::SLEEP, &[]) else {
        return;
    };
    managed.outcome("1");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CONCURRENCY)
            .map(|index| 1000 + index)
            .map(|wish| {
                (
                    wish,
                    scope.spawn({
                        let managed = &managed;
                        move || managed.outcome(wish.to_string())
                    }),
                )
            })
            .collect();
        for (wish, call) in calls {
            assert_eq!(json(&call.join().unwrap()), wish);
        }
    });
    assert!(begun.elapsed() < Duration::from_millis(3000), "{:?}", begun.elapsed());
    managed.assert_is_the_same_process();
}

// Statement 59.
#[test]
fn a_caller_sees_the_trap_that_ended_a_stream_and_the_next_stream_succeeds() {
    let variables = [("ORLOP_RESPONSE_MODE", "streaming"), ("ORLOP_WORLD", "command")];
    let Some(managed) = Managed::start(guests::DRIP, &variables) else {
        return;
    };
    let outcome = managed.outcome("write one\npanic");
    assert_eq!(outcome.header("Error-Type"), Some("Runtime.GuestTrap"));
    let report = report_of(&outcome, "Runtime.GuestTrap");
    assert!(text(&report, "errorMessage").contains("told to panic"), "{report}");
    // It had the first bytes, and no error by other ways.
    managed
        .emulator
        .wait_for_stdout(|line| line.contains("Runtime sent error trailers after response body"));

    let next = managed.outcome("write two");
    assert_eq!(
        (next.header("Error-Type"), next.header(MODE)),
        (None, Some("streaming"))
    );
    assert_eq!(next.body, b"two");
    managed.assert_is_the_same_process();
}
