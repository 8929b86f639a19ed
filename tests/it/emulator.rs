//! The host under AWS's own Runtime Interface Emulator (runtime contract §11).

mod managed_instances;

use orlop_tests::{Component, Emulator, TaskRoot, bootstrap, examples, guests};
use serde_json::Value;

/// The host with one guest under the emulator.
struct Emulated {
    emulator: Emulator,
    _task_root: TaskRoot,
}

fn emulate(guest: Component, timeout_seconds: u32) -> Emulated {
    let task_root = TaskRoot::new().with_compiled(guest);
    let emulator = Emulator::of(bootstrap())
        .arg(guest.name())
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout_seconds.to_string())
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        // Room for a busy machine between our deadline and the emulator's.
        .env("ORLOP_DEADLINE_MARGIN", "700ms")
        .start();
    Emulated {
        emulator,
        _task_root: task_root,
    }
}

impl Emulated {
    fn json(&self, payload: impl AsRef<[u8]>) -> (u16, Value) {
        let (status, body) = self.emulator.invoke(payload);
        let json = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&body)));
        (status, json)
    }
}

#[test]
fn an_event_is_answered() {
    let emulated = emulate(examples::HELLO, 3);
    let (status, answer) = emulated.json(r#"{"name":"Ada"}"#);
    assert_eq!((status, answer["message"].as_str()), (200, Some("Hello, Ada!")));
}

#[test]
fn two_hundred_events_in_a_row_are_answered() {
    let emulated = emulate(guests::ECHO, 3);
    for index in 0..200 {
        let (status, answer) = emulated.json(index.to_string());
        assert_eq!((status, answer), (200, index.into()));
    }
}

// Statement 48.
#[test]
fn a_function_error_reaches_the_caller_and_the_next_event_succeeds() {
    let emulated = emulate(guests::FAIL, 3);
    let (_, report) = emulated.json(r#"{"type":"OrderNotFound","message":"no order 7"}"#);
    assert_eq!(
        (report["errorType"].as_str(), report["errorMessage"].as_str()),
        (Some("OrderNotFound"), Some("no order 7"))
    );
    assert_eq!(emulated.json("{}").0, 200);
}

// Statement 49.
#[test]
fn a_trap_reaches_the_caller_and_the_next_event_succeeds() {
    let emulated = emulate(guests::PANIC, 3);
    let (_, report) = emulated.json("\"boo\"");
    assert_eq!(report["errorType"], "Runtime.GuestTrap");
    assert_eq!(emulated.json("null"), (200, Value::Null));
}

// Statement 51.
#[test]
fn an_overrun_is_answered_before_the_emulator_gives_up_and_the_runtime_goes_on() {
    let emulated = emulate(guests::SPIN, 2);
    assert_eq!(emulated.json("false"), (200, Value::Null));
    // The emulator's own answer would be the sentence "Task timed out after 2.00 seconds".
    let (_, report) = emulated.json("true");
    assert_eq!(report["errorType"], "Runtime.DeadlineExceeded");
    assert_eq!(emulated.json("false"), (200, Value::Null));
}

#[test]
fn an_init_error_reaches_the_caller() {
    let task_root = TaskRoot::new();
    let emulator = Emulator::of(bootstrap())
        .arg("orders")
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .start();
    let (status, body) = emulator.invoke("{}");
    let report: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, report["errorType"].as_str()),
        (502, Some("Runtime.ComponentNotFound"))
    );
}

// Statements 34 and 38.
#[test]
fn the_largest_response_arrives_and_a_larger_one_is_an_error() {
    let emulated = emulate(guests::BIG, 10);
    let (status, body) = emulated.emulator.invoke("6291556");
    assert_eq!((status, body.len()), (200, 6_291_556));
    let (_, body) = emulated.emulator.invoke("6291557");
    let report = String::from_utf8(body).unwrap();
    assert!(report.contains("ResponseSizeTooLarge"), "{report}");
    assert_eq!(emulated.json("2").0, 200);
}

#[test]
fn the_handler_may_be_left_to_the_task_root() {
    let task_root = TaskRoot::new().with_compiled(examples::HELLO);
    let emulator = Emulator::of(bootstrap())
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .start();
    let (status, _) = emulator.invoke("{}");
    assert_eq!(status, 200);
}
