//! Requests are signed with AWS's Signature Version 4.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use http::request::Parts;
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::aws::Rule;
use super::credentials::Credentials;
use super::error::Error;
use super::exchange::OutgoingBody;

/// The most of a body that the host holds in memory, to hash or to measure it, in bytes.
const MAX_BUFFERED_BYTES: usize = 8 << 20;
/// What the host writes and a guest therefore does not.
const OWN_HEADERS: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-content-sha256"),
];
/// What stays as it is in a path that is signed for S3: the unreserved characters of RFC 3986, and the slash.
const ESCAPED_IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The payload as the signature covers it.
pub(super) enum Payload {
    /// Not covered. S3 takes that over TLS, which protects the payload in its stead; so it can be streamed.
    Unsigned,
    /// Covered by its hash, as every other service wants it.
    Whole(Bytes),
}

/// Makes the body one that can be signed: streamed as it is for S3 if its length is known, held in memory otherwise.
///
/// # Errors
///
/// [`Error::LengthRequired`] and [`Error::RequestBodyTooLarge`] beyond [`MAX_BUFFERED_BYTES`], [`Error::RequestBody`]
/// if the guest's own body fails.
pub(super) async fn prepare_body<B>(
    rule: &Rule,
    headers: &mut HeaderMap,
    body: B,
) -> Result<(Payload, OutgoingBody), Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_measured = headers.contains_key(CONTENT_LENGTH) || body.size_hint().exact().is_some();
    if rule.is_s3() && is_measured {
        return Ok((Payload::Unsigned, body.map_err(Into::into).boxed_unsync()));
    }
    let whole = match Limited::new(body, MAX_BUFFERED_BYTES).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) if !error.is::<LengthLimitError>() => return Err(Error::RequestBody(error)),
        Err(_) if rule.is_s3() => return Err(Error::LengthRequired),
        Err(_) => {
            return Err(Error::RequestBodyTooLarge {
                limit: MAX_BUFFERED_BYTES as u64,
            });
        }
    };
    // The client writes the length of what it sends.
    headers.remove(CONTENT_LENGTH);
    let payload = if rule.is_s3() {
        Payload::Unsigned
    } else {
        Payload::Whole(whole.clone())
    };
    Ok((payload, Full::new(whole).map_err(|never| match never {}).boxed_unsync()))
}

/// The path as S3 writes it when it checks a signature. It denotes the same object as the one given.
pub(super) fn s3_path(path: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Error::Unsignable("the path is not UTF-8".to_owned()))?;
    Ok(utf8_percent_encode(&decoded, ESCAPED_IN_PATHS).to_string())
}

/// Signs a request whose URI and headers are those that will be sent. What the guest wrote in [`OWN_HEADERS`] is
/// dropped.
///
/// Host, content type and everything of `x-amz-` are covered; other headers may change on the way without harm.
///
/// # Errors
///
/// [`Error::Unsignable`] for a header that is covered and is not text.
pub(super) fn sign_request(
    parts: &mut Parts,
    rule: &Rule,
    credentials: &Credentials,
    payload: &Payload,
    now: SystemTime,
) -> Result<(), Error> {
    for name in OWN_HEADERS {
        parts.headers.remove(name);
    }
    let unsignable = |error: &dyn std::error::Error| Error::Unsignable(error.to_string());
    let identity = credentials.aws().clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&rule.region)
        .name(rule.grant.service.as_str())
        .time(now)
        .settings(settings(rule))
        .build()
        .map_err(|error| unsignable(&error))?
        .into();
    let mut covered = Vec::new();
    for (name, value) in &parts.headers {
        if *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            let value = value
                .to_str()
                .map_err(|_| Error::Unsignable(format!("the header `{name}` is not text")))?;
            covered.push((name.as_str(), value));
        }
    }
    let body = match payload {
        Payload::Unsigned => SignableBody::UnsignedPayload,
        Payload::Whole(bytes) => SignableBody::Bytes(bytes),
    };
    let request = SignableRequest::new(parts.method.as_str(), parts.uri.to_string(), covered.into_iter(), body)
        .map_err(|error| unsignable(&error))?;
    let (instructions, _) = sign(request, &parameters)
        .map_err(|error| unsignable(&error))?
        .into_parts();
    for (name, value) in instructions
        .into_parts()
        .0
        .iter()
        .map(|header| (header.name(), header.value()))
    {
        let mut value = http::HeaderValue::from_str(value).map_err(|error| unsignable(&error))?;
        value.set_sensitive(true);
        parts.headers.insert(name, value);
    }
    Ok(())
}

fn settings(rule: &Rule) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    // S3 compares paths as they are; the other services encode and normalise them once more.
    if rule.is_s3() {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}
