//! A response that leaves while its guest still writes it.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::Error;

use super::{GuestResponse, discard, noted};
use crate::error::FunctionError;
use crate::events::{HttpEvent, Source, has_body, prelude};
use crate::runtime_api::{Answer, BrokenOff, Consumed, Responder, StreamBody, StreamType, beginning_with};

/// The way of the response to one HTTP event.
pub(super) struct Stream {
    source: Source,
    method: String,
    responder: Responder,
}

impl Stream {
    pub(super) fn new(event: &HttpEvent<'_>, responder: &Responder) -> Self {
        Self {
            source: event.source(),
            method: event.method().to_owned(),
            responder: responder.clone(),
        }
    }

    /// Has the response leave, without waiting for anything: its guest may compute from here on and not let the caller
    /// come back to it.
    pub(super) fn begin(self, response: GuestResponse) -> Result<Begun, FunctionError> {
        let (parts, body) = response.into_parts();
        let prelude = prelude(self.source, &parts);
        let ends_here = prelude.replaced.is_some() || !has_body(&self.method, parts.status);
        let prelude = noted(prelude);
        let (streamed, unwanted): (StreamBody, _) = match ends_here {
            true => (
                Full::new(prelude).map_err(|error| match error {}).boxed_unsync(),
                Some(body),
            ),
            false => {
                let body = body.map_err(|error| BrokenOff(error.to_string())).boxed_unsync();
                (beginning_with(prelude, body), None)
            }
        };
        let consumed = self
            .responder
            .stream(StreamType::Http, streamed)
            .map_err(|error| FunctionError::Host(error.to_string()))?;
        Ok(Begun { consumed, unwanted })
    }
}

/// A response on its way.
pub(super) struct Begun {
    consumed: Consumed,
    /// The body of a response that has none for its client.
    unwanted: Option<UnsyncBoxBody<Bytes, Error>>,
}

impl Begun {
    /// Waits until the body is over; the guest goes on writing until then.
    pub(super) async fn end(self) -> Answer {
        self.consumed.wait().await;
        if let Some(body) = self.unwanted {
            discard(body).await;
        }
        Answer::Streamed
    }
}
