//! An event becomes a request (contract §10.8).

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, MaxSizeReached};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri};

use super::context::{LambdaContext, is_reserved};
use super::headers;
use super::json::{Object, Value};
use super::pass_through::{DEFAULT_PASS_THROUGH_PATH, with_request_context};
use super::source::{HttpEvent, Source};
use super::target;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The longest URI that the type `http::Uri` holds, in bytes.
const MAX_URI_BYTES: usize = 65_534;
/// Front doors pad; who writes events by hand may not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a deployment wants done to requests. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSettings {
    /// A prefix that is removed from the path, once, where it ends at a segment boundary (statement 94). For custom
    /// domains with a base path mapping.
    pub base_path: Option<String>,
    /// Whether the stage is removed from the path of HTTP APIs, which put it there unless it is `$default` (statement
    /// 94). Before the base path is.
    pub strip_stage: bool,
    /// Where WebSocket events are posted to.
    pub pass_through_path: String,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self {
            base_path: None,
            strip_stage: false,
            pass_through_path: DEFAULT_PASS_THROUGH_PATH.to_owned(),
        }
    }
}

/// The answer to an event of which no request can be made. It is the client's error, not the function's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A 4xx.
    pub status: StatusCode,
    /// What is wrong with the request, for the client to read.
    pub message: String,
}

/// The headers that the host adds at most.
const OUR_HEADERS: usize = 6;

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// As a response of plain text.
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.message));
        *response.status_mut() = self.status;
        let plain_text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain_text);
        response
    }
}

impl From<MaxSizeReached> for Refusal {
    fn from(_: MaxSizeReached) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the request has too many header fields",
        )
    }
}

impl HttpEvent<'_> {
    /// The request that the client made, as far as the front door kept it, and the headers that describe the
    /// invocation.
    ///
    /// The URI is absolute: `SCHEME://AUTHORITY/PATH?QUERY`. Without a usable host in the event the authority is
    /// `localhost`. A WebSocket event becomes what [`super::pass_through`] makes.
    ///
    /// # Errors
    ///
    /// The method is no method, the body not the base64 it claims to be, the URI or the headers beyond all bounds.
    pub fn to_request(
        &self,
        settings: &RequestSettings,
        context: &LambdaContext<'_>,
    ) -> Result<Request<Bytes>, Refusal> {
        if self.source == Source::WebSocket {
            let path = &settings.pass_through_path;
            return Ok(with_request_context(
                self.bytes.clone(),
                path,
                context,
                self.context_value,
            ));
        }
        let method = Method::from_bytes(self.method().as_bytes())
            .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the request's method is not a valid one"))?;
        let body = self.body()?;
        let mut headers = self.headers(body.len())?;
        let uri = self.uri(settings, &headers)?;
        context.add_to(&mut headers, self.bytes, self.context_value)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn uri(&self, settings: &RequestSettings, headers: &HeaderMap) -> Result<Uri, Refusal> {
        let mut uri = format!(
            "{}://{}{}",
            scheme(headers),
            self.authority(headers),
            self.stripped_path(settings)
        );
        let query = self.query();
        if !query.is_empty() {
            uri.push('?');
            uri.push_str(&query);
        }
        if uri.len() > MAX_URI_BYTES {
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, "the request's URI is too long"));
        }
        Uri::from_maybe_shared(Bytes::from(uri))
            .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the request's URI is not a valid one"))
    }

    fn authority(&self, headers: &HeaderMap) -> Authority {
        let host = headers
            .get(HOST)
            .and_then(|host| target::authority(host.to_str().ok()?));
        host.or_else(|| target::authority(&self.context_text("domainName")?))
            .unwrap_or(Authority::from_static("localhost"))
    }

    fn stripped_path(&self, settings: &RequestSettings) -> Cow<'_, str> {
        let mut path = Cow::Borrowed(self.path());
        if settings.strip_stage
            && matches!(self.source, Source::HttpApi1 | Source::HttpApi2)
            && let Some(stage) = self.context_text("stage").filter(|stage| stage != "$default")
        {
            path = target::strip_prefix(path, &stage);
        }
        match &settings.base_path {
            Some(base_path) => target::strip_prefix(path, base_path),
            None => path,
        }
    }

    /// The query, percent-encoded, without a question mark; empty if there is none.
    fn query(&self) -> String {
        let query_of_path = |name| {
            let path = self.event.text(name)?;
            path.split_once('?')
                .map(|(_, query)| target::encoded_query(query).into_owned())
        };
        match self.source {
            Source::HttpApi2 | Source::FunctionUrl => {
                let query = self.event.text("rawQueryString").unwrap_or_default();
                target::encoded_query(&query).into_owned()
            }
            Source::RestApi | Source::HttpApi1 => {
                let parameters = self.first_map(["multiValueQueryStringParameters", "queryStringParameters"]);
                query_of(parameters, target::Query::push_decoded)
            }
            Source::Alb { .. } => {
                let parameters = self.first_map(["multiValueQueryStringParameters", "queryStringParameters"]);
                query_of(parameters, target::Query::push_encoded)
            }
            Source::VpcLattice1 => query_of_path("raw_path").unwrap_or_else(|| {
                query_of(
                    self.event.object("query_string_parameters"),
                    target::Query::push_encoded,
                )
            }),
            Source::VpcLattice2 => query_of_path("path")
                .unwrap_or_else(|| query_of(self.event.object("queryStringParameters"), target::Query::push_encoded)),
            Source::WebSocket => String::new(),
        }
    }

    /// The client's headers, in order, without those that it cannot send to us.
    fn headers(&self, body_bytes: usize) -> Result<HeaderMap, Refusal> {
        let map = self.first_map(["multiValueHeaders", "headers"]);
        let cookies = self.cookies();
        let fields = map.as_ref().map_or(0, Object::len);
        let mut headers = HeaderMap::try_with_capacity(fields + OUR_HEADERS)?;
        let mut has_length = false;
        for (name, value) in map.iter().flat_map(Object::members) {
            // A name that is none is left out.
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            let is_length = name == CONTENT_LENGTH;
            has_length |= is_length;
            let is_replaced = cookies.is_some() && name == COOKIE;
            if is_length || is_replaced || is_reserved(&name) || headers::is_hop_by_hop(&name) {
                continue;
            }
            for text in value.elements().filter_map(Value::text) {
                headers.try_append(&name, headers::value_in(self.bytes, text))?;
            }
        }
        if let Some(cookies) = cookies {
            headers.try_insert(COOKIE, headers::value(&cookies))?;
        }
        // Of several lengths, or none, the one that is true.
        if has_length || body_bytes > 0 {
            headers.try_insert(CONTENT_LENGTH, HeaderValue::from(body_bytes))?;
        }
        Ok(headers)
    }

    /// Of the maps with one value per name and with lists of them the one that is there.
    fn first_map(&self, names: [&str; 2]) -> Option<Object<'_>> {
        let mut maps = names.into_iter().filter_map(|name| self.event.object(name));
        maps.find(|map| !map.is_empty())
    }

    /// The cookies that payload format 2.0 keeps apart from the headers, as one header value (statement 93).
    fn cookies(&self) -> Option<String> {
        if !matches!(self.source, Source::HttpApi2 | Source::FunctionUrl) {
            return None;
        }
        let cookies: Vec<_> = self.event.get("cookies")?.elements().filter_map(Value::text).collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    fn body(&self) -> Result<Bytes, Refusal> {
        let Some(body) = self.event.get("body") else {
            return Ok(Bytes::new());
        };
        let flag = if self.source == Source::VpcLattice1 {
            "is_base64_encoded"
        } else {
            "isBase64Encoded"
        };
        // Only who writes an event by hand puts JSON there that is no string.
        let body = body.text().unwrap_or(Cow::Borrowed(body.json()));
        if !self.event.is_true(flag) {
            return Ok(match body {
                Cow::Borrowed(body) => self.bytes.slice_ref(body.as_bytes()),
                Cow::Owned(body) => Bytes::from(body),
            });
        }
        BASE64.decode(body.as_bytes()).map(Bytes::from).map_err(|error| {
            let message = format!("the request's body is announced as base64 and is not: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })
    }
}

fn query_of(parameters: Option<Object<'_>>, push: fn(&mut target::Query, &str, Option<&str>)) -> String {
    let mut query = target::Query::default();
    for (name, value) in parameters.iter().flat_map(Object::members) {
        for value in value.elements() {
            push(&mut query, name, value.text().as_deref());
        }
    }
    query.into_string()
}

/// What the client spoke to the front door; of a list what it spoke to the first one.
fn scheme(headers: &HeaderMap) -> &'static str {
    let protocol = headers
        .get(X_FORWARDED_PROTO)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let first = protocol.split(',').next().unwrap_or_default().trim();
    if first.eq_ignore_ascii_case("http") {
        "http"
    } else {
        "https"
    }
}
