//! A guest that makes HTTP requests, under grants.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Component, Event, FakeRuntimeApi, Host, Served, TaskRoot, guests};

/// The guests that make requests, through `wasi:http` 0.2 and 0.3.
pub const BOTH: [Component; 2] = [guests::FETCH, guests::FETCH_03];

/// More than a request takes on the busiest machine.
const AMPLE: Duration = Duration::from_secs(15);

/// One of [`BOTH`] in the runtime.
#[derive(Debug)]
pub struct Caller {
    /// The runtime, and what it talks to.
    pub served: Served,
    guest: Component,
    events: Cell<usize>,
}

impl Caller {
    /// With these lines of TOML as its grants.
    pub fn new(guest: Component, grants: &str) -> Self {
        Self::with(FakeRuntimeApi::start(), guest, grants, &[])
    }

    /// Behind that Runtime API, with further environment variables.
    pub fn with(lambda: FakeRuntimeApi, guest: Component, grants: &str, variables: &[(&str, &str)]) -> Self {
        let task_root = task_root(guest, grants);
        Self::of(guest, Served::in_task_root(lambda, task_root, guest.name(), variables))
    }

    /// In a runtime that serves the guest already.
    pub fn of(guest: Component, served: Served) -> Self {
        Self {
            served,
            guest,
            events: Cell::new(0),
        }
    }

    /// What came of the request that is described: `status`, `headers` and `body`, or `error`.
    ///
    /// # Panics
    ///
    /// If the event fails.
    pub fn fetch(&self, wanted: &Value) -> Value {
        self.fetch_at("/", wanted)
    }

    /// As [`Self::fetch`], with an event whose path is this; for the guest that is a server.
    ///
    /// # Panics
    ///
    /// If the event fails.
    pub fn fetch_at(&self, path: &str, wanted: &Value) -> Value {
        let event = self.event_at(path, wanted);
        let id = event.id().to_owned();
        self.served.lambda.send(event);
        self.outcome(&id)
    }

    /// As [`Self::fetch`], with a plain GET.
    ///
    /// # Panics
    ///
    /// If the event fails.
    pub fn get(&self, url: &str) -> Value {
        self.fetch(&json!({ "url": url }))
    }

    /// The name of the error that a plain GET ends with, and its values.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn refusal(&self, url: &str) -> String {
        let outcome = self.get(url);
        let error = outcome["error"].as_str().unwrap_or_else(|| panic!("{url}: {outcome}"));
        error.trim_start_matches("ErrorCode::").to_owned()
    }

    /// Sends the event that describes a request, and returns its id.
    pub fn send(&self, wanted: &Value) -> String {
        let event = self.event(wanted);
        let id = event.id().to_owned();
        self.served.lambda.send(event);
        id
    }

    /// What came of the event, as [`Self::fetch`] gives it.
    ///
    /// # Panics
    ///
    /// If the event fails.
    pub fn outcome(&self, id: &str) -> Value {
        let answer = self.served.lambda.wait_for_answer(id);
        assert!(!answer.is_error, "{}", answer.text());
        if self.guest == guests::FETCH {
            return answer.json();
        }
        let envelope = answer.json();
        let body = envelope["body"].as_str().filter(|_| envelope["statusCode"] == 200);
        let body = body.unwrap_or_else(|| panic!("no description in {envelope}"));
        serde_json::from_str(body).expect("the guest answers with JSON")
    }

    /// The next event, as the guest's world wants it.
    pub fn event(&self, wanted: &Value) -> Event {
        self.event_at("/", wanted)
    }

    fn event_at(&self, path: &str, wanted: &Value) -> Event {
        let id = format!("event-{}", self.events.replace(self.events.get() + 1));
        let payload = if self.guest == guests::FETCH {
            wanted.clone()
        } else {
            json!({
                "version": "2.0",
                "rawPath": path,
                "rawQueryString": "",
                "headers": { "content-type": "application/json" },
                "requestContext": { "http": { "method": "POST", "path": path } },
                "body": wanted.to_string(),
                "isBase64Encoded": false,
            })
        };
        Event::new(id, payload.to_string()).due_in(AMPLE)
    }

    /// The process.
    pub fn host(&self) -> &Host {
        &self.served.host
    }

    /// The lines about refusals in the log; waits for one with this text in it.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn refusals(&self, last: &str) -> Vec<String> {
        let is_refusal = |line: &str| line.contains("refused a request of the guest");
        self.host().wait_for_log(|line| is_refusal(line) && line.contains(last));
        let lines = self.host().log().into_iter();
        lines.filter(|line| is_refusal(line)).collect()
    }
}

/// A task root with the guest and these lines of TOML as its grants.
pub fn task_root(guest: Component, grants: &str) -> TaskRoot {
    let manifest = format!("[functions.{}.grants]\n{grants}\n", guest.name());
    TaskRoot::new()
        .with_compiled(guest)
        .with_content("orlop.toml", manifest)
}
