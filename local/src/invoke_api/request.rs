//! What a caller of Invoke and InvokeWithResponseStream asks for, read from path, query and headers. Nothing here does anything.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use serde::de::IgnoredAny;

use super::error::{ApiError, Code};

/// The largest event of a caller who waits, in bytes (Lambda's quotas: 6 MB).
pub(super) const MAX_SYNCHRONOUS_BYTES: usize = 6 << 20;
/// The largest event of a caller who does not wait, in bytes (Lambda's quotas: 1 MB).
pub(super) const MAX_ASYNCHRONOUS_BYTES: usize = 1 << 20;
/// The longest client context, in bytes of base64 (the header's documentation in Invoke).
const MAX_CLIENT_CONTEXT_BYTES: usize = 3_583;
/// The longest name of a function, in characters.
const MAX_NAME: usize = 64;
/// The longest qualifier and the longest tenant id, in characters.
const MAX_QUALIFIER: usize = 128;
const MAX_TENANT_ID: usize = 256;

/// A function as a caller names it. The account and the region in an ARN are not looked at, so that one which was written for
/// AWS reaches the function of that name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) qualifier: Option<String>,
}

impl Reference {
    /// Reads `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME` and `arn:aws:lambda:REGION:ACCOUNT:function:NAME`, the latter two
    /// with a qualifier as well, percent-encoded; and the parameter `Qualifier`.
    pub(super) fn parse(segment: &str, uri: &Uri) -> Result<Self, ApiError> {
        let invalid = || {
            let message = format!(
                "Value '{segment}' at 'functionName' failed to satisfy constraint: a function is named by its name, by \
                 NAME:QUALIFIER, by ACCOUNT:function:NAME or by its ARN."
            );
            ApiError::new(Code::Validation, message)
        };
        let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| invalid())?;
        let parts: Vec<&str> = decoded.split(':').collect();
        let (name, named) = match parts.as_slice() {
            ["arn", partition, "lambda", _, _, "function", rest @ ..] if partition.starts_with("aws") => rest,
            [account, "function", rest @ ..] if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) => {
                rest
            }
            ["function", rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        }
        .split_first()
        .ok_or_else(invalid)?;
        let named = match named {
            [] => None,
            [qualifier] => Some((*qualifier).to_owned()),
            _ => return Err(invalid()),
        };
        if !is_word(name, MAX_NAME, b"-_.") {
            return Err(invalid());
        }
        let asked = parameter(uri, "Qualifier").filter(|qualifier| !qualifier.is_empty());
        let qualifier = match (named, asked) {
            (Some(named), Some(asked)) if named != asked => {
                let message = "The derived qualifier from the function name does not match the specified qualifier.";
                return Err(ApiError::new(Code::InvalidParameterValue, message));
            }
            (named, asked) => named.or(asked),
        };
        if let Some(qualifier) = &qualifier
            && !is_word(qualifier, MAX_QUALIFIER, b"-_$")
        {
            let message = format!(
                "Value '{qualifier}' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression \
                 pattern: [a-zA-Z0-9$_-]+"
            );
            return Err(ApiError::new(Code::Validation, message));
        }
        Ok(Self {
            name: (*name).to_owned(),
            qualifier,
        })
    }
}

fn is_word(text: &str, limit: usize, others: &[u8]) -> bool {
    (1..=limit).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

/// A query parameter, decoded.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri
        .query()?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// How the function is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvocationType {
    /// The caller waits for the answer.
    RequestResponse,
    /// The caller only wants the event to be kept.
    Event,
    /// Nothing happens but the checks.
    DryRun,
}

/// The headers that say how an event is to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) invocation_type: InvocationType,
    pub(super) wants_log: bool,
    /// JSON, decoded.
    pub(super) client_context: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) trace_id: Option<String>,
}

impl Options {
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let choice = |header, value: &str, choices: &str| {
            let message = format!("Value '{value}' of {header} failed to satisfy constraint: it is one of {choices}.");
            ApiError::new(Code::Validation, message)
        };
        let invocation_type = match text(headers, "x-amz-invocation-type")?.as_deref() {
            None | Some("RequestResponse") => InvocationType::RequestResponse,
            Some("Event") => InvocationType::Event,
            Some("DryRun") => InvocationType::DryRun,
            Some(other) => {
                return Err(choice("X-Amz-Invocation-Type", other, "RequestResponse, Event, DryRun"));
            }
        };
        let wants_log = match text(headers, "x-amz-log-type")?.as_deref() {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => return Err(choice("X-Amz-Log-Type", other, "None, Tail")),
        };
        let tenant_id = text(headers, "x-amz-tenant-id")?;
        if let Some(tenant_id) = &tenant_id
            && !is_word(tenant_id, MAX_TENANT_ID, b"._:/=+-@ ")
        {
            let message = format!(
                "Value '{tenant_id}' of X-Amz-Tenant-Id failed to satisfy constraint: it has 1 to {MAX_TENANT_ID} letters, \
                 digits, spaces and ._:/=+-@"
            );
            return Err(ApiError::new(Code::Validation, message));
        }
        let client_context = text(headers, "x-amz-client-context")?;
        Ok(Self {
            invocation_type,
            wants_log,
            client_context: client_context.as_deref().map(client_context_of).transpose()?,
            tenant_id,
            trace_id: text(headers, "x-amzn-trace-id")?,
        })
    }
}

/// A header that has to be printable ASCII; an empty one counts as absent.
fn text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        let message = format!("The header {name} must be printable ASCII.");
        ApiError::new(Code::Validation, message)
    })?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The JSON object in the header `X-Amz-Client-Context`.
fn client_context_of(encoded: &str) -> Result<String, ApiError> {
    if encoded.len() > MAX_CLIENT_CONTEXT_BYTES {
        let message = format!(
            "Client context must be at most {MAX_CLIENT_CONTEXT_BYTES} bytes of base64, not {}.",
            encoded.len()
        );
        return Err(ApiError::new(Code::InvalidRequestContent, message));
    }
    let decoded = BASE64_STANDARD.decode(encoded).ok();
    decoded
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .filter(|json| json.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(json).is_ok())
        // What has to fit into one header on the way to the runtime.
        .map(|json| json.replace(['\r', '\n'], " "))
        .ok_or_else(|| {
            let message = "Client context must be a valid Base64-encoded JSON object.";
            ApiError::new(Code::InvalidRequestContent, message)
        })
}

/// The event: JSON of any kind. None at all is an empty object.
pub(super) fn check_payload(payload: Bytes, invocation_type: InvocationType) -> Result<Bytes, ApiError> {
    let size = payload.len();
    let refuse = |message| Err(ApiError::new(Code::RequestTooLarge, message));
    match invocation_type {
        InvocationType::RequestResponse | InvocationType::DryRun if size > MAX_SYNCHRONOUS_BYTES => {
            return refuse(too_large_message());
        }
        InvocationType::Event if size > MAX_ASYNCHRONOUS_BYTES => {
            return refuse(format!(
                "{size} byte payload is too large for the Event invocation type (limit {MAX_ASYNCHRONOUS_BYTES} bytes)"
            ));
        }
        InvocationType::RequestResponse | InvocationType::DryRun | InvocationType::Event => {}
    }
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let invalid = |reason: String| {
        let message = format!("Could not parse request body into json: {reason}");
        ApiError::new(Code::InvalidRequestContent, message)
    };
    // Ignored strings are not looked into, so this says that they are text.
    let text = std::str::from_utf8(&payload).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| invalid(error.to_string()))?;
    Ok(payload)
}

/// What a caller reads whose event was too large.
pub(super) fn too_large_message() -> String {
    format!("Request must be smaller than {MAX_SYNCHRONOUS_BYTES} bytes for the InvokeFunction operation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(segment: &str, query: &str) -> Result<Reference, ApiError> {
        let uri = format!("/2015-03-31/functions/x/invocations{query}").parse().unwrap();
        Reference::parse(segment, &uri)
    }

    fn named(name: &str, qualifier: Option<&str>) -> Result<Reference, ApiError> {
        Ok(Reference {
            name: name.to_owned(),
            qualifier: qualifier.map(str::to_owned),
        })
    }

    fn options(headers: &[(&'static str, &str)]) -> Result<Options, ApiError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Options::parse(&headers.collect())
    }

    #[test]
    fn a_function_has_many_names() {
        for name in [
            "orders",
            "function:orders",
            "123456789012:function:orders",
            "123456789012%3Afunction%3Aorders",
            "arn:aws:lambda:eu-west-1:123456789012:function:orders",
            "arn%3Aaws-cn%3Alambda%3Acn-north-1%3A123456789012%3Afunction%3Aorders",
        ] {
            assert_eq!(reference(name, ""), named("orders", None), "{name}");
            let qualified = format!("{name}:live");
            assert_eq!(reference(&qualified, ""), named("orders", Some("live")), "{qualified}");
        }
        assert_eq!(reference("function", ""), named("function", None));
        assert_eq!(reference("orders:$LATEST", ""), named("orders", Some("$LATEST")));
        assert_eq!(
            reference("orders", "?Qualifier=%24LATEST"),
            named("orders", Some("$LATEST"))
        );
        assert_eq!(reference("orders:1", "?Qualifier=1"), named("orders", Some("1")));
        assert_eq!(reference("orders", "?Qualifier="), named("orders", None));
    }

    #[test]
    fn what_is_no_name_of_a_function_is_refused() {
        for name in [
            "",
            ":live",
            "or ders",
            "orders:live:1",
            "arn:aws:sqs:eu-west-1:123456789012:orders",
            "arn:aws:lambda:eu-west-1:123456789012:function",
            "%ff",
            "a%2Fb",
            &"a".repeat(65),
        ] {
            assert_eq!(reference(name, "").unwrap_err().code(), Code::Validation, "{name}");
        }
        assert_eq!(reference("orders:li.ve", "").unwrap_err().code(), Code::Validation);
        let contradiction = reference("orders:1", "?Qualifier=2").unwrap_err();
        assert_eq!(contradiction.code(), Code::InvalidParameterValue);
    }

    #[test]
    fn without_headers_the_caller_waits_and_wants_no_log() {
        let options = options(&[]).unwrap();
        assert_eq!(options.invocation_type, InvocationType::RequestResponse);
        assert!(!options.wants_log);
    }

    #[test]
    fn a_client_context_is_an_object_in_base64_of_at_most_3583_bytes() {
        let context = |json: &str| {
            let encoded = BASE64_STANDARD.encode(json);
            options(&[("x-amz-client-context", encoded.as_str())]).map(|options| options.client_context)
        };
        assert_eq!(
            context(r#"{"custom":{"a":"ü"}}"#),
            Ok(Some(r#"{"custom":{"a":"ü"}}"#.to_owned()))
        );
        assert_eq!(context("{\r\n}"), Ok(Some("{  }".to_owned())));
        let longest = format!(r#"{{"a":"{}"}}"#, "x".repeat(2_685 - 8));
        assert_eq!(BASE64_STANDARD.encode(&longest).len(), 3_580);
        assert!(context(&longest).is_ok());
        for wrong in ["", "[]", "{", "\"text\"", &format!("{longest} ")] {
            if !wrong.is_empty() {
                assert_eq!(
                    context(wrong).unwrap_err().code(),
                    Code::InvalidRequestContent,
                    "{wrong}"
                );
            }
        }
        let no_base64 = options(&[("x-amz-client-context", "{}")]).unwrap_err();
        assert_eq!(no_base64.code(), Code::InvalidRequestContent);
    }

    #[test]
    fn an_unknown_choice_is_refused() {
        for (name, value) in [
            ("x-amz-invocation-type", "event"),
            ("x-amz-log-type", "All"),
            ("x-amz-tenant-id", "a\tb"),
            ("x-amz-tenant-id", "ä"),
        ] {
            assert_eq!(
                options(&[(name, value)]).unwrap_err().code(),
                Code::Validation,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn an_event_is_any_json_and_stays_as_it_is() {
        let check =
            |text: &'static str| check_payload(Bytes::from_static(text.as_bytes()), InvocationType::RequestResponse);
        for event in [
            "null",
            "\"text\"",
            " {\"a\" : 1e999}\n",
            "123456789012345678901234567890",
            "\"\\ud800\"",
        ] {
            assert_eq!(check(event), Ok(Bytes::from_static(event.as_bytes())));
        }
        assert_eq!(check(""), Ok(Bytes::from_static(b"{}")));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(check_payload(Bytes::from(deep), InvocationType::Event).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_reason() {
        for event in [&b"text"[..], b"{} {}", b"\"\xff\"", b"{'a': 1}", b" "] {
            let error = check_payload(Bytes::from_static(event), InvocationType::Event).unwrap_err();
            assert_eq!(error.code(), Code::InvalidRequestContent);
            assert!(
                error
                    .to_string()
                    .starts_with("Could not parse request body into json: ")
            );
        }
    }

    #[test]
    fn events_have_limits() {
        let of = |size: usize, kind| check_payload(Bytes::from(vec![b'1'; size]), kind).map_err(|error| error.code());
        assert!(of(MAX_SYNCHRONOUS_BYTES, InvocationType::RequestResponse).is_ok());
        let too_large = Err(Code::RequestTooLarge);
        assert_eq!(
            of(MAX_SYNCHRONOUS_BYTES + 1, InvocationType::RequestResponse),
            too_large
        );
        assert!(of(MAX_ASYNCHRONOUS_BYTES, InvocationType::Event).is_ok());
        assert_eq!(of(MAX_ASYNCHRONOUS_BYTES + 1, InvocationType::Event), too_large);
    }
}
