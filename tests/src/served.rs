//! What most tests begin with: the runtime, one guest, and the fake that plays Lambda.

use crate::host::Builder;
use crate::{Answer, Component, Event, FakeRuntimeApi, Host, TaskRoot};

/// The runtime as it ships, serving one guest; what a test begins with.
#[derive(Debug)]
pub struct Served {
    /// What it talks to.
    pub lambda: FakeRuntimeApi,
    /// The process.
    pub host: Host,
    /// What it serves; there for as long as the host may want to load it again.
    pub task_root: TaskRoot,
}

impl Served {
    /// A guest with 128 MiB of function memory.
    pub fn new(guest: Component) -> Self {
        Self::with(FakeRuntimeApi::start(), guest, &[])
    }

    /// A guest with further environment variables.
    pub fn with_env(guest: Component, variables: &[(&str, &str)]) -> Self {
        Self::with(FakeRuntimeApi::start(), guest, variables)
    }

    /// A guest behind that Runtime API.
    pub fn with(lambda: FakeRuntimeApi, guest: Component, variables: &[(&str, &str)]) -> Self {
        Self::in_task_root(lambda, TaskRoot::new().with_compiled(guest), guest.name(), variables)
    }

    /// What lies in that task root under the handler's name, if one is named, with an `orlop.toml` if there is one.
    pub fn in_task_root<'a>(
        lambda: FakeRuntimeApi,
        task_root: TaskRoot,
        handler: impl Into<Option<&'a str>>,
        variables: &[(&str, &str)],
    ) -> Self {
        let host = Host::bootstrap(&lambda);
        Self::by(host, lambda, task_root, handler, variables)
    }

    /// As [`Self::in_task_root`], by that program.
    pub fn by<'a>(
        program: Builder,
        lambda: FakeRuntimeApi,
        task_root: TaskRoot,
        handler: impl Into<Option<&'a str>>,
        variables: &[(&str, &str)],
    ) -> Self {
        let host = program.task_root(&task_root).function(128);
        let host = match handler.into() {
            Some(handler) => host.handler(handler),
            None => host,
        };
        let host = variables
            .iter()
            .fold(host, |host, (name, value)| host.env(name, value))
            .start();
        Self::of(lambda, host, task_root)
    }

    /// A runtime that was started otherwise, and what it serves.
    pub fn of(lambda: FakeRuntimeApi, host: Host, task_root: TaskRoot) -> Self {
        Self {
            lambda,
            host,
            task_root,
        }
    }

    /// Sends an event and waits for its answer.
    pub fn ask(&self, event: Event) -> Answer {
        let id = event.id().to_owned();
        self.lambda.send(event);
        self.lambda.wait_for_answer(&id)
    }

    /// Sends a plain event and returns the successful answer as JSON.
    #[track_caller]
    pub fn answer(&self, id: &str, payload: impl Into<Vec<u8>>) -> serde_json::Value {
        let answer = self.ask(Event::new(id, payload));
        assert!(!answer.is_error, "{id}: {}", answer.text());
        answer.json()
    }

    /// Sends a plain event and returns the error report.
    #[track_caller]
    pub fn failure(&self, id: &str, payload: impl Into<Vec<u8>>) -> serde_json::Value {
        let answer = self.ask(Event::new(id, payload));
        assert!(answer.is_error, "{id}: {}", answer.text());
        answer.json()
    }
}

/// The text of a JSON string.
///
/// # Panics
///
/// If there is none of that name.
pub fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no string `{name}` in {value}"))
}
