//! Header names and values between JSON text and HTTP, in both directions.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

/// Whether a header speaks of one connection, and means nothing beyond it (contract §10.8 rule 4, §10.9 rule 2).
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection" | "http2-settings" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    ) || name.starts_with("proxy-")
}

/// Any text as a header value: without its control characters, which no header can hold (statement 95).
pub(super) fn value(text: &str) -> HeaderValue {
    shared_value(Bytes::copy_from_slice(text.as_bytes()))
}

/// The same of a text that is a part of `event`, which is not copied then.
pub(super) fn value_in(event: &Bytes, text: Cow<'_, str>) -> HeaderValue {
    match text {
        Cow::Borrowed(text) => shared_value(event.slice_ref(text.as_bytes())),
        Cow::Owned(text) => shared_value(Bytes::from(text)),
    }
}

fn shared_value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.clone()).unwrap_or_else(|_| {
        let bytes: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_control() || *byte == b'\t')
            .collect();
        HeaderValue::from_maybe_shared(Bytes::from(bytes))
            .expect("bytes other than control characters are allowed in header values")
    })
}

/// What a header value says: UTF-8, else Latin-1 (contract §10.9 rule 4).
pub(super) fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

/// JSON, a part of `event`, as a header value: one line of ASCII that is still the same JSON.
pub(super) fn json_value_in(event: &Bytes, json: &str) -> HeaderValue {
    match is_printable(json) {
        true => shared_value(event.slice_ref(json.as_bytes())),
        false => json_value(json.to_owned()),
    }
}

/// The same of JSON that stands for itself.
pub(super) fn json_value(json: String) -> HeaderValue {
    if is_printable(&json) {
        return shared_value(Bytes::from(json));
    }
    let mut line = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        match character {
            // Outside of strings whitespace; inside of them JSON permits neither.
            '\n' | '\r' => {}
            ' '..='~' | '\t' => line.push(character),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    value(&line)
}

fn is_printable(text: &str) -> bool {
    // Without a way out in the middle, the compiler looks at many bytes at a time.
    text.bytes()
        .fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_header_is_ascii_and_means_the_same() {
        let json = "{\r\n  \"name\": \"J\u{fc}rgen \u{1f980}\u{7f}\"\n}";
        let header = json_value(json.to_owned());
        assert_eq!(header, "{  \"name\": \"J\\u00fcrgen \\ud83e\\udd80\\u007f\"}");
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(header.to_str().unwrap()), parsed(json));
    }

    #[test]
    fn a_value_loses_its_control_characters_and_nothing_else() {
        assert_eq!(value("a\r\nb\0c\u{7f}\td\u{e9}").as_bytes(), "abc\td\u{e9}".as_bytes());
    }

    #[test]
    fn a_value_that_is_no_utf_8_is_latin_1() {
        assert_eq!(text(&HeaderValue::from_bytes(b"caf\xe9").unwrap()), "caf\u{e9}");
        assert_eq!(
            text(&HeaderValue::from_bytes("caf\u{e9}".as_bytes()).unwrap()),
            "caf\u{e9}"
        );
    }
}
