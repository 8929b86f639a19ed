//! The parts of a request's URI: any bytes become something that is valid there (contract §10.2 to §10.4, §10.8).

use std::borrow::Cow;

use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode_byte, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters is escaped where a decoded text becomes part of a query.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What cannot stand in the query of a request line. More is no valid URI, but servers take it as it is.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
/// In addition, what would end a name or a value early.
const QUERY_VALUE: &AsciiSet = &QUERY.add(b'&');
const QUERY_NAME: &AsciiSet = &QUERY_VALUE.add(b'=');

/// The path with every byte escaped that is neither allowed in a path nor part of a valid escape; begins with `/`
/// (statement 92).
///
/// HTTP APIs decode the path before they send it, so that a decoded `?` or `#` is part of the path here.
pub(super) fn escape_path(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut escaped = String::with_capacity(bytes.len() + 1);
    if bytes.first() != Some(&b'/') {
        escaped.push('/');
    }
    for (index, &byte) in bytes.iter().enumerate() {
        let is_kept = match byte {
            b'%' => {
                let digits = bytes.get(index + 1..index + 3);
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte),
        };
        if is_kept {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(percent_encode_byte(byte));
        }
    }
    escaped
}

/// The path without that prefix if the prefix ends where a segment ends (statement 94); otherwise as it is. Begins with
/// `/`.
pub(super) fn strip_prefix<'a>(path: Cow<'a, str>, prefix: &str) -> Cow<'a, str> {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        return path;
    }
    match path.strip_prefix(escape_path(prefix).as_str()) {
        Some("") => Cow::Borrowed("/"),
        Some(rest) if rest.starts_with('/') => Cow::Owned(rest.to_owned()),
        Some(_) | None => path,
    }
}

/// A query that is percent-encoded already, as it is, except for what cannot stand in a request line.
pub(super) fn encoded_query(query: &str) -> Cow<'_, str> {
    utf8_percent_encode(query, QUERY).into()
}

/// A query in the making.
#[derive(Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// A name and a value that the front door has decoded (statement 91); without a value only the name.
    pub(super) fn push_decoded(&mut self, name: &str, value: Option<&str>) {
        self.push(name, value, COMPONENT, COMPONENT);
    }

    /// A name and a value as the client sent them (statement 90).
    pub(super) fn push_encoded(&mut self, name: &str, value: Option<&str>) {
        self.push(name, value, QUERY_NAME, QUERY_VALUE);
    }

    fn push(&mut self, name: &str, value: Option<&str>, in_name: &'static AsciiSet, in_value: &'static AsciiSet) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.extend(utf8_percent_encode(name, in_name));
        if let Some(value) = value {
            self.0.push('=');
            self.0.extend(utf8_percent_encode(value, in_value));
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// The text, if it is `HOST` or `HOST:PORT` and can be the authority of a URI.
pub(super) fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let has_only_host = authority.as_str() == authority.host();
    let has_port = authority.port_u16().is_some() && !authority.as_str().contains('@');
    (!authority.host().is_empty() && (has_only_host || has_port)).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_where_it_must_be() {
        for (path, escaped) in [
            ("", "/"),
            ("a", "/a"),
            ("//a//b/", "//a//b/"),
            ("/a%2Fb%2fc", "/a%2Fb%2fc"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/a b?c#d", "/a%20b%3Fc%23d"),
            ("/ä", "/%C3%A4"),
            ("/%C3\u{e4}", "/%C3%C3%A4"),
            ("/\"<>^`{|}\\[]", "/%22%3C%3E%5E%60%7B%7C%7D%5C%5B%5D"),
            ("*", "/*"),
        ] {
            assert_eq!(escape_path(path), escaped, "{path}");
        }
    }

    #[test]
    fn a_prefix_is_stripped_once_and_at_a_segment_boundary() {
        for (path, prefix, stripped) in [
            ("/api/users", "/api", "/users"),
            ("/api/users", "api/", "/users"),
            ("/api", "/api", "/"),
            ("/api/", "/api", "/"),
            ("/apiary", "/api", "/apiary"),
            ("/api/api/x", "/api", "/api/x"),
            ("/v1/api/x", "/api", "/v1/api/x"),
            ("/api//x", "/api", "//x"),
            ("/a%20b/c", "/a b", "/c"),
            ("/x", "/", "/x"),
        ] {
            assert_eq!(strip_prefix(path.into(), prefix), stripped, "{path} without {prefix}");
        }
    }

    #[test]
    fn only_a_host_and_perhaps_a_port_is_an_authority() {
        for valid in ["example.com", "example.com:8443", "127.0.0.1", "[::1]:80", "a_b"] {
            assert_eq!(authority(valid).unwrap().as_str(), valid);
        }
        for invalid in [
            "",
            ":80",
            "a b",
            "a/b",
            "user@example.com",
            "user@example.com:80",
            "a:b",
            "a:",
            "a:99999",
            "ä",
        ] {
            assert_eq!(authority(invalid), None, "{invalid}");
        }
    }
}
