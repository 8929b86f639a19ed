//! A response becomes the answer that the event's source understands (contract §10.9, §3.4).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Response, StatusCode, response};
use serde::{Serialize, Serializer};

use super::headers;
use super::source::Source;
use crate::error::MAX_RESPONSE_BYTES;

/// What separates the prelude of a stream from its body.
const DELIMITER: [u8; 8] = [0; 8];
/// API Gateway looks for the delimiter in so many bytes, and answers with 500 if it is not there.
const MAX_PRELUDE_BYTES: usize = 16 * 1024;

/// An answer that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The answer's bytes.
    pub bytes: Bytes,
    /// Why it is not the guest's response but a small 502 in its place. A matter for the log.
    pub replaced: Option<Replaced>,
}

/// What makes a response undeliverable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Replaced {
    /// 1xx is no final answer, and HTTP ends at 599.
    #[error("the component answered with status {0}, and only 200 to 599 can be delivered; the client gets a 502")]
    Status(u16),
    /// Above what Lambda takes (statement 98).
    #[error(
        "the component's response, with a body of {body_bytes} bytes, is more than the {MAX_RESPONSE_BYTES} bytes that \
         Lambda takes once it is written as JSON; the client gets a 502. Answer with less, or stream"
    )]
    TooLarge {
        /// The length of the guest's response body.
        body_bytes: usize,
    },
    /// Above what API Gateway takes of a stream.
    #[error(
        "status and headers of the component's response take {bytes} bytes, more than the {MAX_PRELUDE_BYTES} bytes in \
         which API Gateway looks for them; the client gets a 502"
    )]
    PreludeTooLarge {
        /// The length of the prelude.
        bytes: usize,
    },
}

/// Whether a response to that request method with that status has a body at all. Where it has none, what the guest gave
/// as body must not be sent.
pub fn has_body(method: &str, status: StatusCode) -> bool {
    method != "HEAD" && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The buffered answer to an event of that source whose request had that method.
///
/// A response that cannot be delivered is replaced, never an error: a status outside of 200 to 599, an answer above
/// [`MAX_RESPONSE_BYTES`].
pub fn envelope(source: Source, method: &str, response: Response<Bytes>) -> Envelope {
    let (parts, body) = response.into_parts();
    match write_envelope(source, method, &parts, &body) {
        Ok(bytes) => Envelope { bytes, replaced: None },
        Err(replaced) => {
            let (parts, body) = bad_gateway().into_parts();
            Envelope {
                bytes: write_envelope(source, method, &parts, &body).expect("the replacement can be delivered"),
                replaced: Some(replaced),
            }
        }
    }
}

/// The beginning of a streamed answer: status and headers as JSON, and the delimiter. The body follows as it is, if
/// [`has_body`] (statements 62 and 63).
///
/// If the response was replaced, nothing may follow.
pub fn prelude(source: Source, parts: &response::Parts) -> Envelope {
    match write_prelude(source, parts) {
        Ok(bytes) => Envelope { bytes, replaced: None },
        Err(replaced) => {
            let (parts, body) = bad_gateway().into_parts();
            let prelude = write_prelude(source, &parts).expect("the replacement can be delivered");
            Envelope {
                bytes: [prelude, body].concat().into(),
                replaced: Some(replaced),
            }
        }
    }
}

fn bad_gateway() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"the function's response cannot be delivered"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let plain_text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain_text);
    response
}

fn write_envelope(source: Source, method: &str, parts: &response::Parts, body: &[u8]) -> Result<Bytes, Replaced> {
    let body = if has_body(method, parts.status) { body } else { &[] };
    let too_large = Replaced::TooLarge { body_bytes: body.len() };
    if body.len() > MAX_RESPONSE_BYTES {
        return Err(too_large);
    }
    let (body, is_base64_encoded) = match text_of(&parts.headers, body) {
        Some(text) => (Cow::Borrowed(text), false),
        None => (Cow::Owned(STANDARD.encode(body)), true),
    };
    let is_alb = matches!(source, Source::Alb { .. });
    let json = to_json(&Answer {
        status_code: status_code(parts)?,
        status_description: is_alb.then(|| status_description(parts.status)).flatten(),
        fields: Fields::for_envelope(source, &parts.headers),
        body: Some(body),
        is_base64_encoded: Some(is_base64_encoded),
    });
    if json.len() > MAX_RESPONSE_BYTES {
        Err(too_large)
    } else {
        Ok(json.into())
    }
}

fn write_prelude(source: Source, parts: &response::Parts) -> Result<Bytes, Replaced> {
    let mut prelude = to_json(&Answer {
        status_code: status_code(parts)?,
        status_description: None,
        fields: Fields::for_prelude(source, &parts.headers),
        body: None,
        is_base64_encoded: None,
    });
    prelude.extend(DELIMITER);
    let is_limited = matches!(source, Source::RestApi | Source::HttpApi1);
    if is_limited && prelude.len() > MAX_PRELUDE_BYTES {
        return Err(Replaced::PreludeTooLarge { bytes: prelude.len() });
    }
    Ok(prelude.into())
}

/// Contract §10.9 rule 1.
fn status_code(parts: &response::Parts) -> Result<u16, Replaced> {
    match parts.status.as_u16() {
        status @ 200..=599 => Ok(status),
        status => Err(Replaced::Status(status)),
    }
}

fn status_description(status: StatusCode) -> Option<String> {
    Some(format!("{} {}", status.as_u16(), status.canonical_reason()?))
}

/// The body as text, if it can be sent as such (statement 96); otherwise it is to be base64.
fn text_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    let is_encoded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| !encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    let is_textual = headers.get(CONTENT_TYPE).is_none_or(is_textual);
    if body.is_empty() {
        Some("")
    } else if is_encoded || !is_textual {
        None
    } else {
        std::str::from_utf8(body).ok()
    }
}

/// Contract §10.9 rule 3.
fn is_textual(content_type: &HeaderValue) -> bool {
    let content_type = String::from_utf8_lossy(content_type.as_bytes()).to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let is_named = matches!(
        media_type,
        "application/json"
            | "application/javascript"
            | "application/xml"
            | "application/yaml"
            | "application/x-www-form-urlencoded"
            | "image/svg+xml"
    );
    let has_suffix = ["+json", "+xml", "+yaml"]
        .iter()
        .any(|suffix| media_type.ends_with(suffix));
    is_named
        || has_suffix
        || media_type.starts_with("text/")
        || parts.any(|parameter| parameter.starts_with("charset="))
}

fn to_json(answer: &Answer<'_>) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts, numbers and lists of them can be written as JSON")
}

/// Every member that any source knows; those that the source at hand does not know are left out (statement 97).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(flatten)]
    fields: Fields,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_base64_encoded: Option<bool>,
}

/// The header fields in one of the forms in which sources take them.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Map<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<Map<Vec<String>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
}

impl Fields {
    fn for_envelope(source: Source, headers: &HeaderMap) -> Self {
        match source {
            Source::RestApi | Source::HttpApi1 | Source::Alb { multi_value: true } => Self {
                multi_value_headers: Some(Map(end_to_end(headers)
                    .map(|name| (name.to_string(), values(headers, name)))
                    .collect())),
                ..Self::default()
            },
            Source::HttpApi2 | Source::FunctionUrl => Self::with_cookies(headers),
            Source::Alb { multi_value: false } | Source::WebSocket | Source::VpcLattice1 | Source::VpcLattice2 => {
                Self::with_cookies(headers).without_list_of_cookies()
            }
        }
    }

    /// Single values throughout. Only API Gateway's REST APIs take a list beside them, for what is better not joined.
    fn for_prelude(source: Source, headers: &HeaderMap) -> Self {
        let mut fields = Self::with_cookies(headers);
        if matches!(source, Source::RestApi | Source::HttpApi1)
            && let Some(Map(single)) = &mut fields.headers
        {
            let repeated: Vec<_> = end_to_end(headers)
                .filter(|name| *name != SET_COOKIE)
                .map(|name| (name.to_string(), values(headers, name)))
                .filter(|(_, values)| values.len() > 1)
                .collect();
            single.retain(|(name, _)| repeated.iter().all(|(other, _)| other != name));
            fields.multi_value_headers = (!repeated.is_empty()).then_some(Map(repeated));
        }
        fields
    }

    fn with_cookies(headers: &HeaderMap) -> Self {
        let single = end_to_end(headers).filter(|name| *name != SET_COOKIE);
        Self {
            headers: Some(Map(single
                .map(|name| (name.to_string(), values(headers, name).join(", ")))
                .collect())),
            multi_value_headers: None,
            cookies: values(headers, &SET_COOKIE),
        }
    }

    /// Where there is one value per name and no list of cookies, each cookie gets a name that differs in case only:
    /// JSON tells such names apart and HTTP does not (statement 93).
    fn without_list_of_cookies(mut self) -> Self {
        let cookies = std::mem::take(&mut self.cookies).into_iter().enumerate();
        let named = cookies.filter_map(|(index, cookie)| Some((cased_set_cookie(index)?, cookie)));
        if let Some(Map(headers)) = &mut self.headers {
            headers.extend(named);
        }
        self
    }
}

/// The `index`th way to write `set-cookie` in upper and lower case; there are 512.
fn cased_set_cookie(index: usize) -> Option<String> {
    let mut bits = index;
    let name = SET_COOKIE
        .as_str()
        .chars()
        .map(|letter| {
            if !letter.is_ascii_alphabetic() {
                return letter;
            }
            let is_upper = bits % 2 == 1;
            bits /= 2;
            if is_upper { letter.to_ascii_uppercase() } else { letter }
        })
        .collect();
    (bits == 0).then_some(name)
}

/// The names of the headers that are for the client and that the front door does not set itself.
fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
    headers
        .keys()
        .filter(|name| !headers::is_hop_by_hop(name) && *name != CONTENT_LENGTH)
}

fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(headers::text).collect()
}

/// Written as a JSON object, in order.
struct Map<T>(Vec<(String, T)>);

impl<T: Serialize> Serialize for Map<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
