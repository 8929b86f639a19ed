//! What a user of Orlop observes, one sentence a test; over real sockets, with real guests and the binaries that ship.
//!
//! A comment names the conformance statement of Lambda's contract that a test holds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod artifacts;
mod configuration;
mod context;
mod deadline;
mod documentation;
mod emulator;
mod errors;
mod examples;
mod init;
mod invoke;
mod isolation;
mod lifecycle;
mod limits;
mod logging;
mod sandbox;
mod tool;

use std::time::Duration;

use orlop_tests::{Component, Event, FakeRuntimeApi, Host, TaskRoot};

/// How long a process may take to end once it has to.
const END: Duration = Duration::from_secs(5);

/// The runtime as it ships, serving one guest; what a test begins with.
struct Served {
    lambda: FakeRuntimeApi,
    host: Host,
    /// Holds the artifact for as long as the host may want to load it again.
    _task_root: TaskRoot,
}

impl Served {
    /// A guest with 128 MiB of function memory.
    fn new(guest: Component) -> Self {
        Self::with(FakeRuntimeApi::start(), guest, &[])
    }

    /// A guest with further environment variables.
    fn with_env(guest: Component, variables: &[(&str, &str)]) -> Self {
        Self::with(FakeRuntimeApi::start(), guest, variables)
    }

    /// A guest behind that Runtime API.
    fn with(lambda: FakeRuntimeApi, guest: Component, variables: &[(&str, &str)]) -> Self {
        let task_root = TaskRoot::new().with_compiled(guest);
        let host = Host::bootstrap(&lambda)
            .task_root(&task_root)
            .handler(guest.name())
            .function(128);
        let host = variables
            .iter()
            .fold(host, |host, (name, value)| host.env(name, value))
            .start();
        Self {
            lambda,
            host,
            _task_root: task_root,
        }
    }

    /// Sends an event and waits for its answer.
    fn ask(&self, event: Event) -> orlop_tests::Answer {
        let id = event.id().to_owned();
        self.lambda.send(event);
        self.lambda.wait_for_answer(&id)
    }

    /// Sends a plain event and returns the successful answer as JSON.
    fn answer(&self, id: &str, payload: impl Into<Vec<u8>>) -> serde_json::Value {
        let answer = self.ask(Event::new(id, payload));
        assert!(!answer.is_error, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Sends a plain event and returns the error report.
    fn failure(&self, id: &str, payload: impl Into<Vec<u8>>) -> serde_json::Value {
        let answer = self.ask(Event::new(id, payload));
        assert!(answer.is_error, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}

/// The text of a JSON string.
fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no string `{name}` in {value}"))
}
