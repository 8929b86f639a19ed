//! How a stream ends when its guest does not end well (conformance statements 58–61).

use orlop_tests::{Signal, text};
use serde_json::json;

use super::{
    END, LONG, WORLDS, World, assert_nothing_at_error, assert_serves_on, assert_well_ended, error_of, http_parts,
};

// Statements 58, 59 and 61.
#[test]
fn a_trap_after_the_first_byte_ends_the_stream_with_the_error_in_trailers() {
    for world in WORLDS {
        let served = world.served();
        let answer = served.ask(world.event("a", &["write one", "panic"]));
        let report = error_of(&answer);
        assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap");
        assert!(text(&report, "errorMessage").contains("told to panic"), "{report}");
        assert_eq!(world.written(&answer.body), "one");
        assert_serves_on(&served, world);
        assert_nothing_at_error(&served.lambda);
    }
}

#[test]
fn nothing_that_was_written_before_a_trap_is_lost() {
    for world in WORLDS {
        let served = world.served();
        let answer = served.ask(world.event("a", &["bytes 1000000", "panic"]).due_in(LONG));
        assert_eq!(text(&error_of(&answer), "errorType"), "Runtime.GuestTrap");
        assert_eq!(answer.body.len(), world.prelude_bytes() + 1_000_000, "{world:?}");
    }
}

#[test]
fn a_trap_behind_the_prelude_ends_the_stream_as_well() {
    let served = World::Http.served();
    let answer = served.ask(World::Http.event("a", &["status 201", "respond", "panic"]));
    assert_eq!(text(&error_of(&answer), "errorType"), "Runtime.GuestTrap");
    let (prelude, body) = http_parts(&answer.body);
    assert_eq!((&prelude["statusCode"], body), (&json!(201), &b""[..]));
    assert_serves_on(&served, World::Http);
}

#[test]
fn an_exit_in_mid_stream_is_an_error_unless_it_is_a_success() {
    let world = World::Command;
    let served = world.served();
    let answer = served.ask(world.event("failure", &["write one", "exit 3"]));
    let report = error_of(&answer);
    assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
    let answer = served.ask(world.event("success", &["write one", "exit 0"]));
    assert_well_ended(&answer);
    assert_eq!(world.written(&answer.body), "one");
}

// Statement 60.
#[test]
fn a_failure_before_the_first_byte_is_an_ordinary_error() {
    for world in WORLDS {
        let served = world.served();
        for (id, step, error_type) in [
            ("trap", "panic", "Runtime.GuestTrap"),
            ("exit", "exit 3", "Runtime.GuestExit"),
        ] {
            let answer = served.ask(world.event(id, &[step]));
            assert!(answer.is_error);
            assert_eq!(answer.error_type_header.as_deref(), Some(error_type));
        }
        let requests = served.lambda.requests();
        assert!(requests.iter().all(|request| !request.path.ends_with("/response")));
        assert_serves_on(&served, world);
    }
}

#[test]
fn a_server_that_never_responds_fails() {
    let served = World::Http.served();
    let answer = served.ask(World::Http.event("a", &["return"]));
    assert_eq!(answer.error_type_header.as_deref(), Some("Function.InvalidResponse"));
    assert_serves_on(&served, World::Http);
}

// Statement 77.
#[test]
fn a_termination_signal_in_mid_stream_ends_it_with_trailers_and_the_process_with_success() {
    for world in WORLDS {
        for step in ["spin", "sleep 60000"] {
            let served = world.served();
            served.lambda.send(world.event("a", &["write one", step]).due_in(LONG));
            served.lambda.wait_for_upload("a", world.prelude_bytes() + "one".len());
            served.host.signal(Signal::TERM);
            let answer = served.lambda.wait_for_answer("a");
            assert_eq!(text(&error_of(&answer), "errorType"), "Runtime.ShuttingDown");
            assert_eq!(served.host.wait_for_exit(END).code(), Some(0));
            assert_nothing_at_error(&served.lambda);
        }
    }
}

#[test]
fn a_body_that_is_dropped_before_its_end_is_an_invalid_response() {
    let served = World::Http.served();
    let answer = served.ask(World::Http.event("a", &["write one", "drop", "sleep 100"]));
    assert_eq!(text(&error_of(&answer), "errorType"), "Function.InvalidResponse");
    assert_eq!(World::Http.written(&answer.body), "one");
    assert_serves_on(&served, World::Http);
    assert_nothing_at_error(&served.lambda);
}

#[test]
fn a_body_that_is_held_on_to_ends_with_the_guest() {
    let served = World::Http.served();
    let answer = served.ask(World::Http.event("a", &["write one", "return"]));
    assert_eq!(World::Http.written(&answer.body), "one");
    assert_serves_on(&served, World::Http);
}

#[test]
fn a_trap_after_the_body_does_not_undo_it() {
    let served = World::Http.served();
    let answer = served.ask(World::Http.event("a", &["write one", "finish", "sleep 100", "panic"]));
    assert_well_ended(&answer);
    served.host.wait_for_log(|line| line.contains("Runtime.GuestTrap"));
    assert_serves_on(&served, World::Http);
}
