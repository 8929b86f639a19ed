//! AWS JSON 1.0, as SQS speaks it: which action a request is, and how answers and errors look.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::error::{Code, Error};
use super::{Queues, actions};

/// What the name of every action begins with in the header that has it.
const PREFIX: &str = "AmazonSQS.";
/// The header that names the action.
const TARGET: &str = "x-amz-target";
const JSON: &str = "application/x-amz-json-1.0";

/// The largest request, in bytes: a batch of a mebibyte, and what JSON and base64 add to it.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;

/// Whether a request with these headers is for SQS.
pub(super) fn concerns(headers: &HeaderMap) -> bool {
    let target = headers.get(TARGET).and_then(|value| value.to_str().ok());
    target.is_some_and(|target| target.starts_with(PREFIX))
}

pub(super) async fn answer(queues: &Queues, request: Request<Bytes>) -> Response<Bytes> {
    let (status, body, code) = match perform(queues, &request).await {
        Ok(value) => (StatusCode::OK, value, None),
        Err(error) => {
            let names = error.code.names();
            let status = StatusCode::from_u16(names.status).unwrap_or(StatusCode::BAD_REQUEST);
            let fault = if error.is_senders_fault() { "Sender" } else { "Receiver" };
            let body = json!({ "__type": names.shape, "message": error.message });
            (status, body, Some(format!("{};{fault}", names.query)))
        }
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put("x-amzn-requestid", uuid::Uuid::new_v4().to_string());
    if let Some(code) = code {
        put("x-amzn-query-error", code);
    }
    response
}

async fn perform(queues: &Queues, request: &Request<Bytes>) -> Result<Value, Error> {
    let target = request.headers().get(TARGET).and_then(|value| value.to_str().ok());
    let action = target.and_then(|target| target.strip_prefix(PREFIX));
    let Some(action) = action.filter(|_| request.method() == Method::POST) else {
        let message = format!(
            "This is not a request of SQS's JSON protocol, which is a POST with a header X-Amz-Target: {PREFIX}ACTION. \
             SDKs from before November 2023 speak the older Query protocol; take a newer one."
        );
        return Err(Error::new(Code::UnknownOperation, message));
    };
    if request.body().len() > MAX_REQUEST_BYTES {
        let message = format!("A request has at most {MAX_REQUEST_BYTES} bytes.");
        return Err(Error::new(Code::RequestEntityTooLarge, message));
    }
    actions::perform(queues, action, &authority(request), request.body()).await
}

/// Under which host and port the client has reached us, so that it will again.
fn authority(request: &Request<Bytes>) -> String {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    host.unwrap_or("localhost").to_owned()
}
