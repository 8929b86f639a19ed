//! The body of InvokeWithResponseStream's answer: events in the framing `application/vnd.amazon.eventstream`.
//!
//! Every piece of the function's answer is one event `PayloadChunk`; the last event is `InvokeComplete`, which says how it ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::invocation::{Answer, AnswerBody, ResponseStream, StreamEnd};
use crate::server::Body;

/// The media type of such a body.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// What an `InvokeComplete` says about an answer that is a function error, or became one.
///
/// The same word as in Invoke's `X-Amz-Function-Error`; Lambda's documentation leaves open what stands here.
const FUNCTION_ERROR: &str = "Unhandled";

/// How many events may wait for the client.
const CAPACITY: usize = 1;

/// The last event.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeComplete {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<String>,
}

/// The body for an answer; with the log's tail, it ends only when the invocation is over.
pub(super) fn body(answer: Answer, wants_log: bool) -> Body {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    // Fails when the client has left, and nobody wants to know any more.
    tokio::spawn(async move { relay(answer, wants_log, &sender).await });
    Events(receiver).map_err(|never: Infallible| match never {}).boxed()
}

async fn relay(
    answer: Answer,
    wants_log: bool,
    events: &mpsc::Sender<Bytes>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    let error = match answer.body {
        AnswerBody::Response(body) if body.is_empty() => None,
        AnswerBody::Response(body) => {
            events.send(payload_chunk(body)).await?;
            None
        }
        AnswerBody::Error(error) => Some(error),
        AnswerBody::Stream(ResponseStream {
            content_type: _,
            mut chunks,
            end,
        }) => {
            while let Some(chunk) = chunks.recv().await {
                events.send(payload_chunk(chunk)).await?;
            }
            match end.await {
                Ok(StreamEnd::Complete) => None,
                Ok(StreamEnd::Failed(error)) => Some(error),
                Err(_) => Some(crate::invocation::error_body(
                    "Runtime.TruncatedResponse",
                    "the response broke off",
                )),
            }
        }
    };
    let log_result = match wants_log {
        true => answer
            .report
            .await
            .ok()
            .map(|report| BASE64_STANDARD.encode(report.log_tail)),
        false => None,
    };
    let complete = InvokeComplete {
        error_code: error.is_some().then_some(FUNCTION_ERROR),
        error_details: error.map(|error| String::from_utf8_lossy(&error).into_owned()),
        log_result,
    };
    let complete = serde_json::to_vec(&complete).expect("strings are JSON");
    events
        .send(event("InvokeComplete", "application/json", complete.into()))
        .await
}

fn payload_chunk(payload: Bytes) -> Bytes {
    event("PayloadChunk", "application/octet-stream", payload)
}

fn event(kind: &'static str, content_type: &'static str, payload: Bytes) -> Bytes {
    let header = |name, value: &'static str| Header::new(name, HeaderValue::String(value.into()));
    let message = Message::new(payload)
        .add_header(header(":message-type", "event"))
        .add_header(header(":event-type", kind))
        .add_header(header(":content-type", content_type));
    let mut framed = BytesMut::with_capacity(message.payload().len() + 256);
    write_message_to(&message, &mut framed).expect("an answer of Lambda's is shorter than 4 GiB");
    framed.freeze()
}

/// A body that is made elsewhere, piece by piece.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(Frame::data).map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::read_message_from;
    use tokio::sync::oneshot;

    use super::*;

    /// The kinds and the payloads of the events that an answer becomes.
    fn events_of(body: AnswerBody) -> Vec<(String, Bytes)> {
        let (_, report) = oneshot::channel();
        let request_id = "id".to_owned();
        let answer = Answer {
            request_id,
            body,
            report,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut bytes = runtime
            .block_on(async { super::body(answer, false).collect().await })
            .unwrap()
            .to_bytes();
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let message = read_message_from(&mut bytes).unwrap();
            let kind = message
                .headers()
                .iter()
                .find(|header| header.name().as_str() == ":event-type");
            let kind = kind.unwrap().value().as_string().unwrap().as_str().to_owned();
            events.push((kind, message.payload().clone()));
        }
        events
    }

    fn event_of(kind: &str, payload: &'static str) -> (String, Bytes) {
        (kind.to_owned(), Bytes::from_static(payload.as_bytes()))
    }

    fn stream_of(chunks: &[&'static str], end: Option<StreamEnd>) -> AnswerBody {
        let (chunk_sender, chunk_receiver) = mpsc::channel(8);
        let (end_sender, end_receiver) = oneshot::channel();
        for chunk in chunks {
            chunk_sender.try_send(Bytes::from_static(chunk.as_bytes())).unwrap();
        }
        if let Some(end) = end {
            end_sender.send(end).unwrap();
        }
        AnswerBody::Stream(ResponseStream {
            content_type: "text/plain".to_owned(),
            chunks: chunk_receiver,
            end: end_receiver,
        })
    }

    #[test]
    fn every_piece_of_a_stream_is_an_event_and_the_last_one_says_that_it_is_complete() {
        assert_eq!(
            events_of(stream_of(&["one", "two"], Some(StreamEnd::Complete))),
            [
                event_of("PayloadChunk", "one"),
                event_of("PayloadChunk", "two"),
                event_of("InvokeComplete", "{}"),
            ]
        );
    }

    #[test]
    fn an_answer_in_one_piece_is_one_event() {
        let answer = AnswerBody::Response(Bytes::from_static(b"{}"));
        assert_eq!(
            events_of(answer),
            [event_of("PayloadChunk", "{}"), event_of("InvokeComplete", "{}")]
        );
        assert_eq!(
            events_of(AnswerBody::Response(Bytes::new())),
            [event_of("InvokeComplete", "{}")]
        );
    }

    #[test]
    fn a_stream_that_fails_ends_with_its_error_behind_what_was_sent() {
        let failed = StreamEnd::Failed(Bytes::from_static(br#"{"errorType":"E"}"#));
        let complete = r#"{"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}"}"#;
        assert_eq!(
            events_of(stream_of(&["one"], Some(failed))),
            [event_of("PayloadChunk", "one"), event_of("InvokeComplete", complete)]
        );
    }

    #[test]
    fn a_stream_whose_end_nobody_tells_is_truncated() {
        let events = events_of(stream_of(&["one"], None));
        let complete = String::from_utf8(events[1].1.to_vec()).unwrap();
        assert!(complete.contains("Runtime.TruncatedResponse"), "{complete}");
    }

    #[test]
    fn a_function_error_is_told_in_the_last_event() {
        let error = AnswerBody::Error(Bytes::from_static(b"{}"));
        let complete = r#"{"ErrorCode":"Unhandled","ErrorDetails":"{}"}"#;
        assert_eq!(events_of(error), [event_of("InvokeComplete", complete)]);
    }
}
