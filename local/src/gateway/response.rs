//! The members of a function's answer, as all front doors read them.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use serde_json::{Map, Value};

/// Base64 as the front doors take it: without line breaks, the padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Headers that are the front door's own to say.
const OWN: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that come to the client as `x-amzn-remapped-…` from REST APIs and Function URLs (API Gateway guide,
/// "Important notes"; the user reports of the runtime contract §3.4).
const REMAPPED: [HeaderName; 8] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    HOST,
    SERVER,
    USER_AGENT,
    WWW_AUTHENTICATE,
];

/// Why an answer is none that the front door understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is no JSON")]
    NotJson,
    #[error("it is no JSON object with `statusCode`")]
    NotObject,
    #[error("`{member}` has to be {expected}")]
    WrongType { member: String, expected: &'static str },
    #[error("`{0}` is not one of statusCode, headers, multiValueHeaders, body and isBase64Encoded")]
    UnknownMember(String),
    #[error("`isBase64Encoded` is true, but `body` is no base64")]
    NotBase64,
    #[error("`{0}` cannot be sent as a header: its name or its value has characters that are not allowed there")]
    NotHeader(String),
    #[error("its headers have {size} bytes; the limit is {limit}")]
    HeadersTooLarge { size: usize, limit: usize },
    #[error("it has {size} bytes; the limit is {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("it is not streamed, as a REST API that streams wants it")]
    NotStreamed,
    #[error("the stream has no prelude of at most {limit} bytes, or ends within it")]
    NoPrelude { limit: usize },
}

/// The text of a header's value, `None` for no header; `None` instead if the value is none that is allowed.
pub(super) type TextOf<'a> = &'a dyn Fn(&Value) -> Option<Option<String>>;

/// The members of an answer.
#[derive(Debug)]
pub(super) struct Members(pub(super) Map<String, Value>);

impl Members {
    /// # Errors
    ///
    /// [`Malformed::NotJson`], [`Malformed::NotObject`].
    pub(super) fn read(answer: &[u8]) -> Result<Self, Malformed> {
        match serde_json::from_slice(answer) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Malformed::NotObject),
            Err(_) => Err(Malformed::NotJson),
        }
    }

    /// A number from 200 to 599, which may be written as a string.
    pub(super) fn status(&self) -> Result<StatusCode, Malformed> {
        let status = self.0.get("statusCode").and_then(|status| match status {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        });
        let status = status.filter(|status| (200..600).contains(status));
        let status = status.and_then(|status| u16::try_from(status).ok());
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        status.ok_or_else(|| wrong("statusCode", "a number from 200 to 599"))
    }

    /// The bytes of the body.
    pub(super) fn body(&self) -> Result<Bytes, Malformed> {
        let text = self.body_text()?;
        if !self.is_base64()? {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        BASE64.decode(text).map(Bytes::from).map_err(|_| Malformed::NotBase64)
    }

    /// The body as it stands there.
    pub(super) fn body_text(&self) -> Result<&str, Malformed> {
        match self.0.get("body") {
            None | Some(Value::Null) => Ok(""),
            Some(body) => body.as_str().ok_or_else(|| wrong("body", "a string")),
        }
    }

    pub(super) fn is_base64(&self) -> Result<bool, Malformed> {
        match self.0.get("isBase64Encoded") {
            None | Some(Value::Null) => Ok(false),
            Some(is_base64) => is_base64
                .as_bool()
                .ok_or_else(|| wrong("isBase64Encoded", "true or false")),
        }
    }

    /// Adds those of `headers`.
    pub(super) fn append_headers(&self, into: &mut HeaderMap, text_of: TextOf<'_>) -> Result<(), Malformed> {
        for (name, value) in self.object("headers")? {
            let text = text_of(value).ok_or_else(|| wrong(&format!("headers.{name}"), "a string"))?;
            if let Some(text) = text {
                into.append(header_name(name)?, header_value(name, &text)?);
            }
        }
        Ok(())
    }

    /// Those of `multiValueHeaders` in place of those of the same names.
    pub(super) fn replace_headers(&self, into: &mut HeaderMap, text_of: TextOf<'_>) -> Result<(), Malformed> {
        for (name, values) in self.object("multiValueHeaders")? {
            let wrong = || wrong(&format!("multiValueHeaders.{name}"), "a list of strings");
            let key = header_name(name)?;
            into.remove(&key);
            for value in values.as_array().ok_or_else(wrong)? {
                let text = text_of(value).ok_or_else(wrong)?;
                if let Some(text) = text {
                    into.append(key.clone(), header_value(name, &text)?);
                }
            }
        }
        Ok(())
    }

    fn object(&self, member: &str) -> Result<impl Iterator<Item = (&String, &Value)>, Malformed> {
        let object = match self.0.get(member) {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_object().ok_or_else(|| wrong(member, "an object"))?),
        };
        Ok(object.into_iter().flatten())
    }
}

/// Takes out what the front door says itself.
pub(super) fn strip_own(headers: &mut HeaderMap) {
    for name in OWN {
        headers.remove(name);
    }
}

/// Gives other names to headers that clients of REST APIs and Function URLs would misunderstand, and takes out what the
/// front door says itself.
pub(super) fn remap(headers: &mut HeaderMap) {
    for name in REMAPPED {
        if let Some(value) = headers.remove(&name)
            && let Ok(remapped) = format!("x-amzn-remapped-{name}").parse::<HeaderName>()
        {
            headers.insert(remapped, value);
        }
    }
    strip_own(headers);
}

/// # Errors
///
/// [`Malformed::HeadersTooLarge`]
pub(super) fn limit_headers(response: &Response<Bytes>, limit: usize) -> Result<(), Malformed> {
    let headers = response.headers().iter();
    let size = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > limit {
        return Err(Malformed::HeadersTooLarge { size, limit });
    }
    Ok(())
}

fn header_name(name: &str) -> Result<HeaderName, Malformed> {
    name.parse().map_err(|_| Malformed::NotHeader(name.to_owned()))
}

/// Text becomes UTF-8.
pub(super) fn header_value(name: &str, text: &str) -> Result<HeaderValue, Malformed> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Malformed::NotHeader(name.to_owned()))
}

fn wrong(member: &str, expected: &'static str) -> Malformed {
    Malformed::WrongType {
        member: member.to_owned(),
        expected,
    }
}
