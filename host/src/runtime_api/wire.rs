//! Paths, headers and bodies of the Runtime API (version 2018-06-01), to and from our types. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRAILER, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderName, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::message::Message;
use crate::error::ErrorReport;
use crate::invocation::DeadlineHeader;

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
const FUNCTION_ARN: &str = "lambda-runtime-invoked-function-arn";
const TRACE_ID: &str = "lambda-runtime-trace-id";
const CLIENT_CONTEXT: &str = "lambda-runtime-client-context";
const IDENTITY: &str = "lambda-runtime-cognito-identity";
const TENANT_ID: &str = "lambda-runtime-aws-tenant-id";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const XRAY_CAUSE: &str = "lambda-runtime-function-xray-error-cause";
const EXTENSION_NAME: &str = "lambda-extension-name";
const EXTENSION_ID: &str = "lambda-extension-identifier";

/// What an event's headers may say beside its request id.
const OPTIONAL: [&str; 7] = [
    INVOCATION_ID,
    DEADLINE,
    FUNCTION_ARN,
    TRACE_ID,
    CLIENT_CONTEXT,
    IDENTITY,
    TENANT_ID,
];

/// The name under which the host registers itself as an internal extension.
const OUR_EXTENSION: &str = "orlop";
/// Headers of an answer to an event, at most.
const MOST_HEADERS: usize = 8;
/// A request id longer than this many bytes is no request id.
const MAX_REQUEST_ID_BYTES: usize = 1024;
/// Everything but RFC 3986's unreserved characters is escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which event an answer belongs to: its request id, and the nonce of this attempt where Lambda sends one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventIdentity {
    pub(super) request_id: String,
    invocation_id: Option<HeaderValue>,
}

impl EventIdentity {
    /// That of an event which an earlier run of this process has taken.
    pub(super) fn resumed(request_id: String, invocation_id: Option<&[u8]>) -> Self {
        Self {
            request_id,
            invocation_id: invocation_id.and_then(|nonce| HeaderValue::from_bytes(nonce).ok()),
        }
    }

    pub(super) fn invocation_id(&self) -> Option<Vec<u8>> {
        self.invocation_id.as_ref().map(|nonce| nonce.as_bytes().to_vec())
    }
}

/// The headers of a `/next` response, parsed.
#[derive(Debug)]
pub(super) struct NextHeaders {
    pub(super) identity: EventIdentity,
    pub(super) deadline: DeadlineHeader,
    pub(super) invoked_function_arn: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) client_context: Option<String>,
    pub(super) cognito_identity: Option<String>,
    pub(super) tenant_id: Option<String>,
}

/// The headers of a response, from whichever parser they come.
pub(super) type Fields<'a> = dyn Iterator<Item = (&'a str, &'a [u8])> + 'a;

impl NextHeaders {
    /// Every header but the request id may be missing, empty or odd (runtime contract §2). Of several with the same name, the
    /// first one counts.
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<Self, String> {
        let mut request_id = None;
        let mut optional: [Option<&[u8]>; OPTIONAL.len()] = [None; OPTIONAL.len()];
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(REQUEST_ID) {
                if *request_id.get_or_insert(value) != value {
                    return Err(format!("the header {REQUEST_ID} appears twice with different values"));
                }
            } else if let Some(index) = OPTIONAL.iter().position(|known| name.eq_ignore_ascii_case(known)) {
                optional[index].get_or_insert(value);
            }
        }
        let request_id = request_id.map(text).unwrap_or_default();
        if request_id.is_empty() {
            return Err(format!("the header {REQUEST_ID} is missing"));
        }
        if request_id.len() > MAX_REQUEST_ID_BYTES {
            return Err(format!(
                "the header {REQUEST_ID} is longer than {MAX_REQUEST_ID_BYTES} bytes"
            ));
        }
        let [
            invocation_id,
            deadline,
            arn,
            trace_id,
            client_context,
            identity,
            tenant_id,
        ] = optional.map(|value| value.filter(|value| !value.is_empty()));
        Ok(Self {
            identity: EventIdentity {
                request_id,
                invocation_id: invocation_id.and_then(|nonce| HeaderValue::from_bytes(nonce).ok()),
            },
            deadline: match deadline.map(text) {
                None => DeadlineHeader::Absent,
                Some(value) => value
                    .trim()
                    .parse()
                    .map_or(DeadlineHeader::Malformed(value), DeadlineHeader::At),
            },
            invoked_function_arn: arn.map(text),
            trace_id: trace_id.map(text),
            client_context: client_context.map(text),
            cognito_identity: identity.map(text),
            tenant_id: tenant_id.map(text),
        })
    }
}

/// Header values may hold any byte from 0x80 up; what is no UTF-8 is replaced.
fn text(value: &[u8]) -> String {
    // Checking first is several times quicker than replacing what need not be replaced.
    match str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(value).into_owned(),
    }
}

/// Builds requests for one Runtime API address.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    address: HeaderValue,
}

impl Requests {
    pub(super) fn new(address: &str) -> Self {
        // The address was parsed as HOST:PORT by `config`; an odd host name costs the header, not the request.
        Self {
            address: HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("localhost")),
        }
    }

    fn request<B>(&self, method: Method, path: impl Into<Cow<'static, str>>, body: B) -> Message<B> {
        let mut headers = Vec::with_capacity(MOST_HEADERS);
        headers.push((HOST, self.address.clone()));
        headers.push((
            USER_AGENT,
            HeaderValue::from_static(concat!("orlop/", env!("CARGO_PKG_VERSION"))),
        ));
        Message {
            method,
            path: path.into(),
            headers,
            body,
        }
    }

    fn get(&self, path: &'static str) -> Message<Bytes> {
        self.request(Method::GET, path, Bytes::new())
    }

    /// A body has a length, an empty one too.
    fn post(&self, path: impl Into<Cow<'static, str>>, body: Bytes) -> Message<Bytes> {
        let length = HeaderValue::from(body.len());
        let mut request = self.request(Method::POST, path, body);
        request.add(CONTENT_LENGTH, length);
        request
    }

    pub(super) fn next(&self) -> Message<Bytes> {
        self.get("/2018-06-01/runtime/invocation/next")
    }

    pub(super) fn response(&self, identity: &EventIdentity, content_type: HeaderValue, body: Bytes) -> Message<Bytes> {
        let mut request = self.post(answer_path(identity, "response"), body);
        belongs_to(&mut request, identity);
        request.add(CONTENT_TYPE, content_type);
        request
    }

    /// As [`Self::response`], chunked, with the error in trailers should it come to one.
    pub(super) fn streaming_response<B>(
        &self,
        identity: &EventIdentity,
        content_type: HeaderValue,
        body: B,
    ) -> Message<B> {
        let mut request = self.request(Method::POST, answer_path(identity, "response"), body);
        belongs_to(&mut request, identity);
        request.add(CONTENT_TYPE, content_type);
        request.add(
            HeaderName::from_static(RESPONSE_MODE),
            HeaderValue::from_static("streaming"),
        );
        request.add(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        request.add(
            TRAILER,
            HeaderValue::from_static("Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"),
        );
        // The connection is not used again (runtime contract §3.2).
        request.add(CONNECTION, HeaderValue::from_static("close"));
        request
    }

    pub(super) fn error(
        &self,
        identity: &EventIdentity,
        trace_id: Option<&str>,
        report: &ErrorReport,
        body: Bytes,
    ) -> Message<Bytes> {
        let mut request = self.post(answer_path(identity, "error"), body);
        belongs_to(&mut request, identity);
        describe(&mut request, report);
        // X-Ray keeps the cause of sampled traces only.
        if trace_id.is_some_and(|trace| trace.contains("Sampled=1")) {
            request.add(HeaderName::from_static(XRAY_CAUSE), xray_cause(report));
        }
        request
    }

    pub(super) fn init_error(&self, report: &ErrorReport, body: Bytes) -> Message<Bytes> {
        let mut request = self.post("/2018-06-01/runtime/init/error", body);
        describe(&mut request, report);
        request
    }

    pub(super) fn restore_next(&self) -> Message<Bytes> {
        self.get("/2018-06-01/runtime/restore/next")
    }

    pub(super) fn restore_error(&self, report: &ErrorReport, body: Bytes) -> Message<Bytes> {
        let mut request = self.post("/2018-06-01/runtime/restore/error", body);
        describe(&mut request, report);
        request
    }

    pub(super) fn register_extension(&self) -> Message<Bytes> {
        let body = Bytes::from_static(b"{\"events\":[]}");
        let mut request = self.post("/2020-01-01/extension/register", body);
        request.add(
            HeaderName::from_static(EXTENSION_NAME),
            HeaderValue::from_static(OUR_EXTENSION),
        );
        request.add(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    pub(super) fn extension_next(&self, identifier: &str) -> Message<Bytes> {
        let mut request = self.get("/2020-01-01/extension/event/next");
        if let Ok(identifier) = HeaderValue::from_str(identifier) {
            request.add(HeaderName::from_static(EXTENSION_ID), identifier);
        }
        request
    }
}

fn answer_path(identity: &EventIdentity, kind: &str) -> String {
    [
        "/2018-06-01/runtime/invocation/",
        &segment(&identity.request_id),
        "/",
        kind,
    ]
    .concat()
}

fn belongs_to<B>(request: &mut Message<B>, identity: &EventIdentity) {
    if let Some(invocation_id) = &identity.invocation_id {
        request.add(const { HeaderName::from_static(INVOCATION_ID) }, invocation_id.clone());
    }
}

/// A media type as a header. `config` has made sure that it can be one.
pub(super) fn content_type(media_type: &str) -> HeaderValue {
    HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// The identifier that Lambda gave our extension.
pub(super) fn extension_identifier(headers: &HeaderMap) -> Option<String> {
    let identifier = headers.get(EXTENSION_ID)?;
    Some(text(identifier.as_bytes())).filter(|identifier| !identifier.is_empty())
}

/// `.` and `..` would be resolved by a server, so their dots are escaped too.
fn segment(request_id: &str) -> Cow<'_, str> {
    match request_id {
        "." | ".." => "%2E".repeat(request_id.len()).into(),
        _ => utf8_percent_encode(request_id, SEGMENT).into(),
    }
}

fn describe<B>(request: &mut Message<B>, report: &ErrorReport) {
    let error_type = HeaderValue::from_str(&report.header_type()).expect("an error type is letters and one dot");
    request.add(HeaderName::from_static(ERROR_TYPE), error_type);
    request.add(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// What ends a stream that failed (runtime contract §3.2).
pub(super) fn error_trailers(report: &ErrorReport) -> HeaderMap {
    let value = |text: String| HeaderValue::try_from(text).expect("letters, digits, `.`, `+`, `/` and `=`");
    HeaderMap::from_iter([
        (HeaderName::from_static(ERROR_TYPE), value(report.header_type())),
        (
            HeaderName::from_static(ERROR_BODY),
            value(BASE64_STANDARD.encode(report.to_json())),
        ),
    ])
}

/// One line of ASCII JSON (runtime contract §4.4). A report is capped, so the cause stays far below Lambda's 64 KiB.
fn xray_cause(report: &ErrorReport) -> HeaderValue {
    let stack: Vec<_> = report
        .stack_trace
        .iter()
        .map(|frame| serde_json::json!({ "path": "", "line": 0, "label": frame }))
        .collect();
    let cause = serde_json::json!({
        "working_directory": "/var/task",
        "exceptions": [{ "message": report.error_message, "type": report.error_type, "stack": stack }],
        "paths": [],
    });
    let mut ascii = String::new();
    for character in cause.to_string().chars() {
        if character.is_ascii() && !character.is_ascii_control() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    HeaderValue::try_from(ascii).expect("printable ASCII is a header value")
}

/// What Lambda says in the body of a refusal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) error_type: String,
    #[serde(default)]
    pub(super) error_message: String,
}

impl Refusal {
    /// `body` as Lambda means it, or as it stands.
    pub(super) fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            error_type: String::new(),
            error_message: String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &[u8])]) -> Result<NextHeaders, String> {
        NextHeaders::parse(&mut pairs.iter().copied())
    }

    // Conformance statement 40.
    #[test]
    fn a_missing_or_empty_header_is_absent() {
        let parsed = parse(&[(REQUEST_ID, b"a"), (TRACE_ID, b""), (INVOCATION_ID, b"")]).unwrap();
        assert_eq!(parsed.trace_id, None);
        assert_eq!(parsed.deadline, DeadlineHeader::Absent);
        assert_eq!(parsed.identity.invocation_id, None);
    }

    #[test]
    fn a_header_may_hold_bytes_that_are_no_ascii() {
        let parsed = parse(&[
            (REQUEST_ID, b"a"),
            (CLIENT_CONTEXT, "{\"ü\":1}".as_bytes()),
            (IDENTITY, b"\xff"),
        ])
        .unwrap();
        assert_eq!(parsed.client_context.as_deref(), Some("{\"ü\":1}"));
        assert_eq!(parsed.cognito_identity.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn a_request_id_that_is_missing_or_contradicts_itself_is_refused() {
        for odd in [
            &[][..],
            &[(REQUEST_ID, &b""[..])],
            &[(REQUEST_ID, b"a"), (REQUEST_ID, b"b")],
        ] {
            parse(odd).unwrap_err();
        }
        parse(&[(REQUEST_ID, b"a"), ("Lambda-Runtime-Aws-Request-Id", b"a")]).unwrap();
    }

    // Conformance statement 46.
    #[test]
    fn a_request_id_cannot_leave_its_path_segment() {
        assert_eq!(segment("8f5c-1"), "8f5c-1");
        assert_eq!(segment("a/../b?c#d%20 ü"), "a%2F..%2Fb%3Fc%23d%2520%20%C3%BC");
        assert_eq!(segment(".."), "%2E%2E");
    }

    // Conformance statement 55.
    #[test]
    fn the_xray_cause_is_one_line_of_ascii_json_with_integer_lines() {
        let report = ErrorReport::new("Runtime.GuestTrap", "Grüße 🦀\r\n\u{7f}", vec!["frame ü".into(); 1000]);
        let cause = xray_cause(&report);
        assert!(cause.as_bytes().iter().all(|byte| (b' '..0x7f).contains(byte)));
        assert!(cause.len() <= 64 << 10);
        let cause: serde_json::Value = serde_json::from_slice(cause.as_bytes()).unwrap();
        assert!(cause["exceptions"][0]["stack"][0]["line"].is_u64());
        assert!(
            cause["exceptions"][0]["message"]
                .as_str()
                .unwrap()
                .starts_with("Grüße 🦀")
        );
    }
}
