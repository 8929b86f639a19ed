//! Lambda's Function URLs (runtime contract §10.3). Streams are in [`streamed`](super::streamed).

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::payload_2::{self, Door};
use super::request::RequestParts;
use super::response::{Malformed, remap};
use crate::function::REGION;

/// The first part of the URL's host name.
const URL_ID: &str = "orlop000000000000000000000000000";

/// The event. The path keeps its escapes.
pub(super) fn event(request: &RequestParts) -> Value {
    let door = Door {
        account: "anonymous",
        api: URL_ID,
        domain: format!("{URL_ID}.lambda-url.{REGION}.on.aws"),
        request_id: &request.request_id,
        route_key: "$default".to_owned(),
        path: request.path.clone(),
        path_parameters: &[],
        keeps_cookie_header: true,
    };
    payload_2::event(request, &door)
}

/// The response that a buffered answer stands for. What is no JSON is given as it is: that is how clients of a buffered
/// URL see a function that streams.
///
/// # Errors
///
/// [`Malformed`].
pub(super) fn response(answer: &Bytes) -> Result<Response<Bytes>, Malformed> {
    let mut response = match payload_2::response(answer, "application/json") {
        Err(Malformed::NotJson) => payload_2::plain(answer.clone(), "application/json"),
        other => other?,
    };
    remap(response.headers_mut());
    Ok(response)
}

/// The response of a URL that streams, to a function that does not: nothing of the answer is looked at.
pub(super) fn unstreamed(answer: Bytes) -> Response<Bytes> {
    payload_2::plain(answer, "application/json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn an_event_is_that_of_a_function_url() {
        let request = request("GET", "/a%20b?x=1", &[("cookie", "a=1"), ("host", "h")], "");
        let event = event(&request);
        assert_eq!(event["rawPath"], "/a%20b");
        assert_eq!(event["requestContext"]["accountId"], "anonymous");
        let domain = event["requestContext"]["domainName"].as_str().unwrap();
        assert!(domain.contains(".lambda-url."), "{domain}");
        assert_eq!(event["cookies"], json!(["a=1"]));
        assert_eq!(event["headers"]["cookie"], "a=1");
        assert_eq!(event["requestContext"]["requestId"], request.request_id.as_str());
    }

    #[test]
    fn headers_that_clients_would_misunderstand_get_other_names() {
        let answer =
            r#"{"statusCode":401,"headers":{"WWW-Authenticate":"Basic","content-length":"3","connection":"close"}}"#;
        let response = response(&Bytes::from(answer)).unwrap();
        let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let expected = [
            "content-type",
            "x-amzn-remapped-connection",
            "x-amzn-remapped-content-length",
            "x-amzn-remapped-www-authenticate",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn clients_of_a_buffered_url_see_a_stream_with_its_prelude() {
        let answer = Bytes::from_static(b"{\"statusCode\":200}\0\0\0\0\0\0\0\0hello");
        let response = response(&answer).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.body(), &answer);
    }
}
