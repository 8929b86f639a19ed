//! Responses that are sent while the function writes them (runtime contract §3.4).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::payload_2::{append_cookies, set_default_type, text_of_scalar};
use super::request::essence;
use super::response::{Malformed, Members, remap};
use crate::invocation::{ResponseStream, StreamEnd};
use crate::server::{Body, BrokenOff};

/// The media type of a stream that begins with a prelude.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
/// What stands between the prelude and the body.
const DELIMITER: [u8; 8] = [0; 8];

/// Who sends the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Takes a stream without a prelude for the body of a successful response.
    FunctionUrl,
    /// Wants a prelude.
    RestApi,
}

/// Why a stream does not begin.
#[derive(Debug)]
pub(super) enum NoStream {
    /// The function failed within the prelude.
    Failed,
    Malformed(Malformed),
}

/// The head of a streamed response as soon as it is there, and the body as it comes.
///
/// # Errors
///
/// [`NoStream`]
pub(super) async fn response(door: Door, stream: ResponseStream) -> Result<Response<Body>, NoStream> {
    let ResponseStream {
        content_type,
        mut chunks,
        end,
    } = stream;
    let limit = door.max_prelude_bytes();
    let (mut head, mut begun) = (Response::new(()), BytesMut::new());
    if essence(&content_type) == WITH_PRELUDE {
        let rest = loop {
            if let Some(at) = begun.windows(DELIMITER.len()).position(|window| window == DELIMITER) {
                let rest = begun.split_off(at + DELIMITER.len());
                begun.truncate(at);
                break rest;
            }
            match chunks.recv().await {
                Some(chunk) if begun.len() <= limit => begun.extend_from_slice(&chunk),
                Some(_) => return Err(NoStream::Malformed(Malformed::NoPrelude { limit })),
                None => {
                    return Err(match end.await {
                        Ok(StreamEnd::Complete) => NoStream::Malformed(Malformed::NoPrelude { limit }),
                        Ok(StreamEnd::Failed(_)) | Err(_) => NoStream::Failed,
                    });
                }
            }
        };
        head = door.head(&begun).map_err(NoStream::Malformed)?;
        begun = rest;
    } else if door == Door::RestApi {
        return Err(NoStream::Malformed(Malformed::NoPrelude { limit }));
    } else if let Ok(content_type) = HeaderValue::from_str(&content_type) {
        head.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    let body = Flow {
        begun: begun.freeze(),
        chunks,
        end,
        is_flushed: false,
    };
    Ok(head.map(|()| body.boxed()))
}

impl Door {
    /// Lambda names no limit.
    fn max_prelude_bytes(self) -> usize {
        match self {
            Self::FunctionUrl => 64 << 10,
            Self::RestApi => 16 << 10,
        }
    }

    /// Status and headers, as a prelude has them; without `statusCode` the status is 200.
    fn head(self, prelude: &[u8]) -> Result<Response<()>, Malformed> {
        let mut members = Members::read(prelude)?;
        members.0.entry("statusCode").or_insert(json!(200));
        let mut head = Response::new(());
        *head.status_mut() = members.status()?;
        members.append_headers(head.headers_mut(), &text_of_scalar)?;
        match self {
            Self::FunctionUrl => append_cookies(&members, head.headers_mut())?,
            Self::RestApi => members.replace_headers(head.headers_mut(), &text_of_scalar)?,
        }
        set_default_type(head.headers_mut(), "application/octet-stream");
        remap(head.headers_mut());
        Ok(head)
    }
}

/// The body of a streamed response, piece by piece as the function writes it. It breaks off where the function fails.
struct Flow {
    begun: Bytes,
    chunks: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<StreamEnd>,
    is_flushed: bool,
}

impl hyper::body::Body for Flow {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        if let Some(chunk) = ready!(self.chunks.poll_recv(context)) {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if !self.is_flushed {
            // The pieces that hyper holds go out while this waits; an error would take them along.
            self.is_flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.end).poll(context)) {
            Ok(StreamEnd::Complete) => Poll::Ready(None),
            Ok(StreamEnd::Failed(_)) | Err(_) => Poll::Ready(Some(Err(BrokenOff))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client gets of these pieces and this end.
    async fn get(
        door: Door,
        content_type: &str,
        pieces: &[&'static [u8]],
        end: StreamEnd,
    ) -> Result<(Response<()>, Vec<u8>, bool), NoStream> {
        let (sender, chunks) = mpsc::channel(pieces.len() + 1);
        for piece in pieces {
            sender.send(Bytes::from_static(piece)).await.unwrap();
        }
        drop(sender);
        let (end_sender, end_receiver) = oneshot::channel();
        end_sender.send(end).unwrap();
        let stream = ResponseStream {
            content_type: content_type.to_owned(),
            chunks,
            end: end_receiver,
        };
        let (head, mut body) = response(door, stream).await?.into_parts();
        let mut whole = Vec::new();
        loop {
            match body.frame().await {
                None => return Ok((Response::from_parts(head, ()), whole, true)),
                Some(Ok(frame)) => whole.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(BrokenOff)) => return Ok((Response::from_parts(head, ()), whole, false)),
            }
        }
    }

    #[tokio::test]
    async fn a_prelude_is_found_however_it_is_cut() {
        let pieces: [&[u8]; 4] = [
            b"{\"statusCode\":418,\"headers\":{\"x-a\":\"1\"},",
            b"\"cookies\":[\"a=1\",\"b=2\"]}\0\0\0",
            b"\0\0\0\0",
            b"\0hello\0\0\0\0\0\0\0\0there",
        ];
        let (head, body, is_whole) = get(Door::FunctionUrl, WITH_PRELUDE, &pieces, StreamEnd::Complete)
            .await
            .unwrap();
        assert_eq!(head.status(), 418);
        assert_eq!(head.headers()["x-a"], "1");
        assert_eq!(head.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(body, b"hello\0\0\0\0\0\0\0\0there");
        assert!(is_whole);
    }

    #[tokio::test]
    async fn a_stream_without_a_prelude_has_its_own_type() {
        let (head, body, is_whole) = get(
            Door::FunctionUrl,
            "text/event-stream",
            &[b"a", b"b"],
            StreamEnd::Complete,
        )
        .await
        .unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(head.headers()["content-type"], "text/event-stream");
        assert_eq!(body, b"ab");
        assert!(is_whole);
    }

    #[tokio::test]
    async fn a_stream_that_fails_breaks_off() {
        let failed = StreamEnd::Failed(Bytes::from_static(b"{}"));
        let (_, body, is_whole) = get(Door::FunctionUrl, "text/plain", &[b"half"], failed.clone())
            .await
            .unwrap();
        assert_eq!(body, b"half");
        assert!(!is_whole);
        let within_prelude = get(Door::FunctionUrl, WITH_PRELUDE, &[b"{\"statusCode\""], failed).await;
        assert!(matches!(within_prelude, Err(NoStream::Failed)));
        let without_delimiter = get(Door::FunctionUrl, WITH_PRELUDE, &[b"{}"], StreamEnd::Complete).await;
        assert!(matches!(
            without_delimiter,
            Err(NoStream::Malformed(Malformed::NoPrelude { .. }))
        ));
    }

    #[tokio::test]
    async fn a_rest_api_wants_a_prelude_and_takes_several_values_from_it() {
        let values =
            b"{\"headers\":{\"a\":\"1\"},\"multiValueHeaders\":{\"set-cookie\":[\"a=1\",\"b=2\"]}}\0\0\0\0\0\0\0\0";
        let (head, body, _) = get(Door::RestApi, WITH_PRELUDE, &[values, b"c"], StreamEnd::Complete)
            .await
            .unwrap();
        assert_eq!(head.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(head.headers()["a"], "1");
        assert_eq!(body, b"c");
        let without = get(Door::RestApi, "text/plain", &[b"c"], StreamEnd::Complete).await;
        assert!(matches!(without, Err(NoStream::Malformed(Malformed::NoPrelude { .. }))));
    }
}
