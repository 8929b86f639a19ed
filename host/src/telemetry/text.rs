//! The words of a log line: time stamps, escaping, and the text format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{Level, Origin};

/// Now, as RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// `text` with every control character, line separator and direction override written as an escape, so that it can break
/// neither a line, nor a terminal, nor the order in which a reader sees the characters.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if must_escape(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn must_escape(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Whether `line` is one JSON object, and so can stand in a log by itself.
pub(super) fn is_json_object(line: &[u8]) -> bool {
    let is_candidate = line.first() == Some(&b'{') && line.last() == Some(&b'}') && !line.contains(&b'\r');
    is_candidate && serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(line).is_ok()
}

/// `TIME⇥REQUEST-ID⇥LEVEL⇥MESSAGE field=value …`.
pub(super) fn host_line(level: Level, origin: &Origin, message: &str, fields: &Map<String, Value>) -> String {
    let mut line = start(origin, level.name());
    line.push_str(&escape_controls(message));
    for (name, value) in fields {
        let value = match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"', '=', '\n']) => {
                Value::String(text.clone()).to_string()
            }
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        // Writing to a string cannot fail.
        let _ = write!(line, " {name}={}", escape_controls(&value));
    }
    line
}

/// `TIME⇥REQUEST-ID⇥STREAM⇥LINE`.
pub(super) fn guest_line(stream: &str, origin: &Origin, content: &str) -> String {
    let mut line = start(origin, stream);
    line.push_str(&escape_controls(content));
    line
}

fn start(origin: &Origin, mark: &str) -> String {
    let request_id = origin.request_id.as_deref().unwrap_or("-");
    format!("{}\t{}\t{mark}\t", timestamp(), escape_controls(request_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_survives() {
        let hostile = "a\u{1b}[31mb\0c\r\nd\u{9b}e\u{202e}f\u{2028}g";
        let escaped = escape_controls(hostile);
        assert!(!escaped.chars().any(must_escape));
        assert!(escaped.contains("\\u{1b}[31m") && escaped.contains("\\r\\n"));
        assert!(matches!(escape_controls("plain\ttext ü"), Cow::Borrowed(_)));
    }

    #[test]
    fn only_whole_objects_count_as_json() {
        assert!(is_json_object(br#"{"_aws":{"Timestamp":1},"a":[1,2]}"#));
        assert!(is_json_object(b"{}"));
        for line in [
            "",
            "[1]",
            "1",
            "{",
            "{\"a\":1} END",
            "START RequestId: x",
            "{\"a\":\"\u{1b}\"}",
        ] {
            assert!(!is_json_object(line.as_bytes()), "{line:?}");
        }
        // The parser keeps its own stack, so depth costs no more than length.
        let deep = format!("{}{}{}", "{\"a\":".repeat(5000), 1, "}".repeat(5000));
        assert!(is_json_object(deep.as_bytes()));
    }

    #[test]
    fn a_field_with_spaces_is_quoted() {
        let mut fields = Map::new();
        fields.insert("error".to_owned(), "no\nsuch \"file\"".into());
        let line = host_line(Level::Warn, &Origin::default(), "cannot read", &fields);
        assert!(
            line.ends_with("\t-\tWARN\tcannot read error=\"no\\nsuch \\\"file\\\"\""),
            "{line}"
        );
    }
}
