//! What the page's buttons do.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{StatusCode, request};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use super::{Inner, respond_json};
use crate::invocation::{Invocation, MAX_PAYLOAD_BYTES, Refusal};
use crate::journal::What;
use crate::server::{self, RequestBody, Response};

/// The most that is sent by one click.
const MAX_COUNT: u32 = 100;
/// The largest request; a payload in JSON may have twice its size.
const MAX_REQUEST_BYTES: usize = 2 * MAX_PAYLOAD_BYTES + (64 << 10);
/// What is kept of a payload by the journal; one of that size may have been longer.
const KEPT_PAYLOAD_BYTES: usize = 256 << 10;

/// What can be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Invoke,
    Replay,
    Send,
}

#[derive(Deserialize)]
struct Invoke {
    function: String,
    payload: String,
    count: u32,
    /// The name of the example, if the payload is one.
    example: Option<String>,
}

#[derive(Deserialize)]
struct Replay {
    request_id: String,
}

#[derive(Deserialize)]
struct Send {
    queue: String,
    body: String,
    count: u32,
}

/// Why something is not done: a status, and words for the reader of the page.
struct Denial(StatusCode, String);

impl Action {
    /// The action behind a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/_page/invoke" => Some(Self::Invoke),
            "/_page/replay" => Some(Self::Replay),
            "/_page/send" => Some(Self::Send),
            _ => None,
        }
    }

    /// Does it, if the request comes from the page's document.
    pub(super) async fn answer(self, page: &Arc<Inner>, request: &request::Parts, body: RequestBody) -> Response {
        let done = match page.admit(request) {
            Ok(()) => self.act(page, body).await,
            Err(denial) => Err(denial),
        };
        match done {
            Ok(request_ids) => respond_json(StatusCode::ACCEPTED, &json!({ "request_ids": request_ids })),
            Err(Denial(status, message)) => respond_json(status, &json!({ "message": message })),
        }
    }

    async fn act(self, page: &Arc<Inner>, body: RequestBody) -> Result<Vec<String>, Denial> {
        let body = server::read(body, MAX_REQUEST_BYTES)
            .await
            .map_err(|error| Denial(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        match self {
            Self::Invoke => page.invoke(parsed(&body)?),
            Self::Replay => page.replay(&parsed::<Replay>(&body)?.request_id),
            Self::Send => page.send(parsed(&body)?).await,
        }
    }
}

impl Inner {
    /// `Host`, and `Origin` where there is one, have been checked.
    fn admit(&self, request: &request::Parts) -> Result<(), Denial> {
        let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let token = header("x-orlop-token").unwrap_or_default();
        if !request.headers.contains_key(ORIGIN) || !is_same(token.as_bytes(), self.token.as_bytes()) {
            let message = "only the page itself may do that; if this is the page, load it again";
            return Err(Denial(StatusCode::FORBIDDEN, message.to_owned()));
        }
        let media_type = header(CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
        if media_type.is_none_or(|media_type| !media_type.trim().eq_ignore_ascii_case("application/json")) {
            let message = "this takes application/json".to_owned();
            return Err(Denial(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        Ok(())
    }

    fn invoke(&self, wanted: Invoke) -> Result<Vec<String>, Denial> {
        let Invoke {
            function,
            payload,
            count,
            example,
        } = wanted;
        check_count(count)?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&payload) {
            return Err(bad(format!("the event is not JSON: {error}")));
        }
        let source = example.map_or_else(|| "page".to_owned(), |name| format!("example {name}"));
        self.start(&function, &payload.into(), &source, count)
    }

    fn replay(&self, request_id: &str) -> Result<Vec<String>, Denial> {
        let (entries, _) = self.platform.journal().read();
        let event = entries.iter().rev().find_map(|entry| {
            let What::InvocationStarted {
                request_id: id,
                function,
                source,
                payload,
                environment: _,
                is_cold: _,
            } = &entry.what
            else {
                return None;
            };
            (id == request_id).then(|| (function, source, payload.as_bytes()))
        });
        let Some((function, source, payload)) = event else {
            let message = "this event is no longer kept; send it by the form";
            return Err(Denial(StatusCode::NOT_FOUND, message.to_owned()));
        };
        if payload.len() >= KEPT_PAYLOAD_BYTES {
            let message = "of an event as large as this only the first 256 KiB are kept";
            return Err(Denial(StatusCode::CONFLICT, message.to_owned()));
        }
        let original = source.strip_prefix("replay of ").unwrap_or(source);
        self.start(function, payload, &format!("replay of {original}"), 1)
    }

    /// Starts events, without waiting for them: what becomes of them is in the journal.
    fn start(&self, function: &str, payload: &bytes::Bytes, source: &str, count: u32) -> Result<Vec<String>, Denial> {
        if self.platform.function(function).is_none() {
            let refusal = Refusal::UnknownFunction(function.to_owned());
            return Err(Denial(StatusCode::NOT_FOUND, refusal.to_string()));
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            let refusal = Refusal::TooLarge { size: payload.len() };
            return Err(Denial(StatusCode::PAYLOAD_TOO_LARGE, refusal.to_string()));
        }
        let request_ids: Vec<_> = (0..count).map(|_| uuid::Uuid::new_v4().to_string()).collect();
        for request_id in request_ids.clone() {
            let (platform, function) = (self.platform.clone(), function.to_owned());
            let invocation = Invocation {
                payload: payload.clone(),
                source: source.to_owned(),
                request_id: Some(request_id),
                ..Invocation::default()
            };
            tokio::spawn(async move {
                match platform.invoke(&function, invocation).await {
                    // Throttling is in the journal already.
                    Ok(_) | Err(Refusal::Throttled { .. }) => {}
                    Err(refusal) => platform.journal().record(What::Notice {
                        text: format!("an event of the page was not taken: {refusal}"),
                    }),
                }
            });
        }
        Ok(request_ids)
    }

    async fn send(&self, wanted: Send) -> Result<Vec<String>, Denial> {
        let Send { queue, body, count } = wanted;
        check_count(count)?;
        for _ in 0..count {
            self.settings.queues.send(&queue, &body).await.map_err(bad)?;
        }
        Ok(Vec::new())
    }
}

fn check_count(count: u32) -> Result<(), Denial> {
    match (1..=MAX_COUNT).contains(&count) {
        true => Ok(()),
        false => Err(bad(format!("from 1 to {MAX_COUNT} can be sent at once"))),
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denial> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the request is not understood: {error}")))
}

fn bad(message: String) -> Denial {
    Denial(StatusCode::BAD_REQUEST, message)
}

/// In a time that does not tell where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |differences, (one, other)| differences | (one ^ other))
            == 0
}
