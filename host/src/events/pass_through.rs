//! Events that are no HTTP, for an HTTP guest: the raw event as the body of a POST, as the Lambda Web Adapter does it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri};

use super::context::LambdaContext;
use super::json::Value;
use super::target::escape_path;

/// Where events are posted to unless configured otherwise.
pub const DEFAULT_PASS_THROUGH_PATH: &str = "/events";

/// The longest part of a response body that an error repeats, in bytes.
const MAX_QUOTED_BYTES: usize = 1024;

/// `POST http://localhost/PATH` with the event as JSON body and the headers that describe the invocation.
pub fn pass_through(event: Bytes, path: &str, context: &LambdaContext<'_>) -> Request<Bytes> {
    with_request_context(event, path, context, None)
}

pub(super) fn with_request_context(
    event: Bytes,
    path: &str,
    context: &LambdaContext<'_>,
    request_context: Option<Value<'_>>,
) -> Request<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(event.len()));
    context
        .add_to(&mut headers, &event, request_context)
        .expect("a handful of headers fits");
    let mut request = Request::new(event);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("http://localhost{}", escape_path(path))
        .parse()
        .unwrap_or(Uri::from_static("http://localhost/events"));
    *request.headers_mut() = headers;
    request
}

/// A guest's refusal to handle an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the component answered the event with status {status}: {body}")]
pub struct PassThroughError {
    /// The status of the response.
    pub status: u16,
    /// The beginning of the response's body.
    pub body: String,
}

/// What the response to [`pass_through`] means: its body is the answer, as it is.
///
/// # Errors
///
/// The status is 400 or above, or none that a response can end with. That is a function error: the event has failed.
pub fn pass_through_answer(response: Response<Bytes>) -> Result<Bytes, PassThroughError> {
    let status = response.status().as_u16();
    let body = response.into_body();
    if (200..400).contains(&status) {
        return Ok(body);
    }
    let quoted = body.get(..MAX_QUOTED_BYTES).unwrap_or(&body);
    Err(PassThroughError {
        status,
        body: String::from_utf8_lossy(quoted).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Bytes, PassThroughError> {
        let response = Response::builder()
            .status(status)
            .body(Bytes::copy_from_slice(body.as_bytes()));
        pass_through_answer(response.unwrap())
    }

    #[test]
    fn a_status_of_400_or_above_is_a_failed_event() {
        assert_eq!(answer(200, "{}").unwrap(), "{}");
        assert_eq!(answer(204, "").unwrap(), "");
        assert_eq!(answer(302, "x").unwrap(), "x");
        for status in [101, 400, 500, 600, 999] {
            assert_eq!(answer(status, "why").unwrap_err().status, status);
        }
        assert_eq!(
            answer(503, "no stock").unwrap_err().to_string(),
            "the component answered the event with status 503: no stock"
        );
    }

    #[test]
    fn an_odd_path_is_still_a_path() {
        let uri_of = |path: &str| {
            pass_through(Bytes::new(), path, &LambdaContext::default())
                .uri()
                .to_string()
        };
        assert_eq!(uri_of("/events"), "http://localhost/events");
        assert_eq!(uri_of("my events?"), "http://localhost/my%20events%3F");
        assert_eq!(uri_of(&"x".repeat(100_000)), "http://localhost/events");
    }
}
