//! A request as the front doors see it: what all of them do with it before they write their events.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{Method, request};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::invocation::new_trace_root;
use crate::journal::unix_ms;
use crate::server::{Local, Peer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The header of X-Ray.
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Headers that belong to the connection; they go no further than the front door.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request, with what the front door adds to it.
#[derive(Debug, Clone)]
pub(super) struct RequestParts {
    pub(super) method: Method,
    /// As sent, beginning with `/`, with its escapes.
    pub(super) path: String,
    /// As sent, without the `?`.
    pub(super) query: String,
    /// Such as `HTTP/1.1`.
    pub(super) protocol: String,
    /// Without those of the connection; with `x-forwarded-*`, `x-amzn-trace-id` and the real `content-length` of a
    /// body.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The other end of the connection, whatever the client's headers say.
    pub(super) client: IpAddr,
    /// A UUID.
    pub(super) request_id: String,
    /// The id in the short form of API Gateway.
    pub(super) short_id: String,
    /// Unix time in milliseconds.
    pub(super) time_ms: u64,
}

impl RequestParts {
    /// What came in through the server, and what the front door adds. The body comes later.
    pub(super) fn new(head: request::Parts) -> Self {
        let client = head.extensions.get::<Peer>().map(|Peer(address)| *address);
        let local = head.extensions.get::<Local>().map(|Local(address)| *address);
        // Both are there for whatever came through `server`.
        let client = client.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip().to_canonical());
        let port = local.map_or(80, |address| address.port());
        let time_ms = unix_ms();
        let mut headers = head.headers;
        strip(&mut headers);
        forward(&mut headers, client, port);
        if !headers.contains_key(&TRACE_ID) {
            insert(&mut headers, TRACE_ID, &new_trace_root(time_ms));
        }
        let path = head.uri.path();
        Self {
            method: head.method,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            query: head.uri.query().unwrap_or_default().to_owned(),
            protocol: format!("{:?}", head.version),
            headers,
            body: Bytes::new(),
            client,
            request_id: Uuid::new_v4().to_string(),
            short_id: short_id(),
            time_ms,
        }
    }

    /// Gives it its body; `content-length` says what it really has.
    pub(super) fn set_body(&mut self, body: Bytes) {
        if body.is_empty() {
            self.headers.remove(CONTENT_LENGTH);
        } else {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        self.body = body;
    }

    /// The value of a header, the last one of several; empty if there is none.
    pub(super) fn header(&self, name: &HeaderName) -> Cow<'_, str> {
        let last = self.headers.get_all(name).iter().next_back();
        last.map(text).unwrap_or_default()
    }

    pub(super) fn user_agent(&self) -> Cow<'_, str> {
        self.header(&USER_AGENT)
    }

    /// The cookies of all `cookie` headers, one by one.
    pub(super) fn cookies(&self) -> Vec<String> {
        let headers = self.headers.get_all(COOKIE).iter().map(text);
        let mut cookies = Vec::new();
        for header in headers {
            let parts = header.split(';').map(str::trim).filter(|cookie| !cookie.is_empty());
            cookies.extend(parts.map(str::to_owned));
        }
        cookies
    }

    /// What the function gets as its trace header: that of the request, with a parent and the decision not to sample if
    /// it has only a root.
    pub(super) fn trace_id(&self) -> String {
        let trace = self.header(&TRACE_ID);
        if trace.contains("Parent=") {
            return trace.into_owned();
        }
        let parent = &Uuid::new_v4().simple().to_string()[..16];
        format!("{trace};Parent={parent};Sampled=0")
    }

    /// In words, for the journal.
    pub(super) fn in_words(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The body as an event carries it, and whether that is base64. API Gateway's HTTP APIs, Function URLs and load
    /// balancers take a few media types for text (runtime contract §10.3, §10.4); text that is no UTF-8 could not be
    /// carried as such.
    pub(super) fn event_body(&self) -> (String, bool) {
        if self.body.is_empty() {
            return (String::new(), false);
        }
        let is_text = is_text(&self.header(&CONTENT_TYPE)) && !self.headers.contains_key(CONTENT_ENCODING);
        match std::str::from_utf8(&self.body) {
            Ok(body) if is_text => (body.to_owned(), false),
            Ok(_) | Err(_) => (BASE64_STANDARD.encode(&self.body), true),
        }
    }
}

/// The bytes of the request line and of the headers, as API Gateway counts them.
pub(super) fn head_bytes(head: &request::Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = head.method.as_str().len() + target + " HTTP/1.1 ".len();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    line + headers.sum::<usize>()
}

/// How many addresses a client says have been before it.
pub(super) fn forwarded_addresses(headers: &HeaderMap) -> usize {
    let values = headers.get_all(&FORWARDED_FOR).iter();
    values.map(|value| text(value).split(',').count()).sum()
}

/// The names and values of a query, decoded: `+` is a space.
pub(super) fn decoded_query(query: &str, separators: &[char]) -> Vec<(String, String)> {
    let decoded = |text: &str| decode(&text.replace('+', " "));
    raw_query(query, separators)
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The names and values of a query as they stand there. A name without `=` has an empty value.
pub(super) fn raw_query<'a>(query: &'a str, separators: &'a [char]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let pairs = query.split(separators).filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Text without its escapes; what is no UTF-8 then is replaced.
pub(super) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A header's value: UTF-8, else each byte its own character, as in Latin-1.
pub(super) fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// A media type without its parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// `23/Nov/2026:10:00:00 +0000`.
pub(super) fn log_time(time_ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time_ms / 1_000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of the year 0, leap days come last in a year, and in a period of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let month = usize::try_from(month).map_or("", |month| MONTHS[month]);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Sixteen characters, as in `JKJaXmPLvHcESHA=`.
fn short_id() -> String {
    let (head, tail) = (Uuid::new_v4(), [0x20, 0x40, 0x60]);
    let bytes = [&head.as_bytes()[..8], &tail].concat();
    BASE64_STANDARD.encode(bytes).replace(['+', '/'], "o")
}

fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&essence.as_str())
}

/// Takes out what belongs to the connection, with what `connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != HOST)
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// The client's address is appended to what the client says about those before it; the rest is the front door's to say.
fn forward(headers: &mut HeaderMap, client: IpAddr, port: u16) {
    let before: Vec<_> = headers.get_all(&FORWARDED_FOR).iter().map(text).collect();
    let before = before.join(", ");
    let chain = if before.is_empty() {
        client.to_string()
    } else {
        format!("{before}, {client}")
    };
    insert(headers, FORWARDED_FOR, &chain);
    insert(headers, FORWARDED_PORT, &port.to_string());
    insert(headers, FORWARDED_PROTO, "http");
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request from 203.0.113.7 to port 3000.
    pub(in crate::gateway) fn request(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> RequestParts {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        head.extensions.insert(Peer("203.0.113.7:4711".parse().unwrap()));
        head.extensions.insert(Local("127.0.0.1:3000".parse().unwrap()));
        let mut request = RequestParts::new(head);
        request.set_body(Bytes::copy_from_slice(body.as_bytes()));
        request
    }

    #[test]
    fn the_clients_address_is_appended_to_what_it_claims() {
        let claimed = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
        ];
        let request = request("GET", "/", &claimed, "");
        assert_eq!(request.client.to_string(), "203.0.113.7");
        assert_eq!(
            request.header(&FORWARDED_FOR),
            "198.51.100.1, 198.51.100.2, 203.0.113.7"
        );
        assert_eq!(request.header(&FORWARDED_PROTO), "http");
        assert_eq!(request.header(&FORWARDED_PORT), "3000");
    }

    #[test]
    fn what_belongs_to_the_connection_goes_no_further() {
        let sent = [
            ("connection", "keep-alive, X-Mine, host"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("host", "a"),
        ];
        let request = request("POST", "/", &sent, "four");
        assert_eq!(request.header(&HOST), "a");
        assert_eq!(request.header(&CONTENT_LENGTH), "4");
        for name in ["connection", "x-mine", "te", "transfer-encoding"] {
            assert!(!request.headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_trace_of_the_client_is_continued() {
        let sent = "Root=1-65f00000-0123456789abcdef01234567";
        let own = request("GET", "/", &[("x-amzn-trace-id", sent)], "");
        assert!(own.trace_id().starts_with(&format!("{sent};Parent=")));
        let new = request("GET", "/", &[], "");
        assert!(new.header(&TRACE_ID).starts_with("Root=1-"));
        assert!(new.trace_id().starts_with(&*new.header(&TRACE_ID)));
    }

    #[test]
    fn only_a_few_media_types_are_text() {
        let body = |content_type: &str| {
            let headers = [("content-type", content_type)];
            request("POST", "/", &headers, "a=1").event_body()
        };
        let base64 = ("YT0x".to_owned(), true);
        for content_type in ["text/csv", "Application/JSON; charset=utf-8", "application/xml"] {
            assert_eq!(body(content_type), ("a=1".to_owned(), false), "{content_type}");
        }
        for content_type in ["application/x-www-form-urlencoded", "application/ld+json", ""] {
            assert_eq!(body(content_type), base64, "{content_type}");
        }
        assert_eq!(request("POST", "/", &[], "a=1").event_body(), base64);
        assert_eq!(request("POST", "/", &[], "").event_body(), (String::new(), false));
        let compressed = [("content-type", "text/plain"), ("content-encoding", "gzip")];
        assert_eq!(request("POST", "/", &compressed, "a=1").event_body(), base64);
    }

    #[test]
    fn cookies_of_several_headers_come_one_by_one() {
        let request = request("GET", "/", &[("cookie", "a=1; b=2;"), ("cookie", "c=\"3;4\"")], "");
        assert_eq!(request.cookies(), ["a=1", "b=2", "c=\"3", "4\""]);
    }

    #[test]
    fn queries_are_decoded_where_the_front_door_does_so() {
        let pairs = decoded_query("a=1%262&b+c=%E2%82%AC&d&=e&&f=1=2", &['&']);
        let expected = [("a", "1&2"), ("b c", "€"), ("d", ""), ("", "e"), ("f", "1=2")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
    }

    #[test]
    fn times_are_those_of_logs() {
        assert_eq!(log_time(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(log_time(951_782_400_000), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(log_time(1_795_428_001_999), "23/Nov/2026:10:00:01 +0000");
        assert_eq!(log_time(1_798_761_599_000), "31/Dec/2026:23:59:59 +0000");
    }

    #[test]
    fn a_header_that_is_no_utf_8_is_read_as_latin_1() {
        let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(text(&value), "café");
        let value = HeaderValue::from_bytes("café".as_bytes()).unwrap();
        assert_eq!(text(&value), "café");
    }

    #[test]
    fn short_ids_look_like_those_of_api_gateway() {
        let (one, other) = (short_id(), short_id());
        assert_eq!(one.len(), 16);
        assert!(one.ends_with('='));
        assert_ne!(one, other);
    }
}
