//! The words of a log line: time stamps, escaping, and the text format.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::SystemTime;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Level, Origin};

/// Now, as RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// `text` with every control character, line separator and direction override written as an escape, so that it can break
/// neither a line, nor a terminal, nor the order in which a reader sees the characters.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if is_harmless(text) {
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

/// JSON with the same characters written as JSON's escapes; outside of its strings there are none of them.
pub(super) fn escape_json(json: String) -> String {
    if is_harmless(&json) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if must_escape(character) {
            // All of them are of the basic plane. Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Whether nothing in it must be escaped. Most lines are printable ASCII, and that is seen without decoding them.
fn is_harmless(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    text.bytes().all(is_plain) || !text.contains(must_escape)
}

fn must_escape(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Who writes the host's own lines in JSON, under [`LOGGER`]. A guest's object that says so of itself does not pass.
pub(super) const HOST: &str = "orlop";
/// The member of a JSON line that names who wrote it.
pub(super) const LOGGER: &str = "logger";
/// The member that names the event.
pub(super) const REQUEST_ID: &str = "requestId";
/// The member that names the tenant.
pub(super) const TENANT_ID: &str = "tenantId";

/// Whether a guest's `line` is one JSON object that can stand in a log by itself: one that says of itself neither that it is
/// the host's, nor that it belongs to another event or another tenant than it does.
pub(super) fn is_honest_json_object(line: &[u8], origin: &Origin) -> bool {
    let is_plain = |text: &str| !text.contains(|character: char| character.is_control() && character != '\t');
    let is_candidate =
        line.first() == Some(&b'{') && line.last() == Some(&b'}') && str::from_utf8(line).is_ok_and(is_plain);
    let mut parser = serde_json::Deserializer::from_slice(line);
    is_candidate && Members { origin }.deserialize(&mut parser).is_ok() && parser.end().is_ok()
}

/// Reads an object, each of its members, also those of one name; fails at one that is not true.
struct Members<'a> {
    origin: &'a Origin,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Origin { request_id, tenant_id } = self.origin;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let is_true = match &*name {
                LOGGER => members.next_value::<Value>()? != HOST,
                REQUEST_ID => Some(members.next_value::<Value>()?) == request_id.as_deref().map(Value::from),
                TENANT_ID => Some(members.next_value::<Value>()?) == tenant_id.as_deref().map(Value::from),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    true
                }
            };
            if !is_true {
                return Err(serde::de::Error::custom("a member that is not true"));
            }
        }
        Ok(())
    }
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
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;

    use super::*;

    #[test]
    fn no_control_character_survives() {
        let hostile = "a\u{1b}[31mb\0c\r\nd\u{9b}e\u{202e}f\u{2028}g";
        let escaped = escape_controls(hostile);
        assert!(!escaped.contains(is_raw));
        assert!(escaped.contains("\\u{1b}[31m") && escaped.contains("\\r\\n"));
        assert!(matches!(escape_controls("plain\ttext ü"), Cow::Borrowed(_)));
    }

    fn is_json_object(line: &[u8]) -> bool {
        is_honest_json_object(line, &Origin::default())
    }

    #[test]
    fn an_object_that_says_it_is_the_hosts_or_another_events_does_not_pass() {
        let origin = Origin {
            request_id: Some("a".to_owned()),
            tenant_id: None,
        };
        for honest in [
            r#"{"requestId":"a"}"#,
            r#"{"logger":"mine","level":"FATAL"}"#,
            r#"{"details":{"requestId":"b","logger":"orlop"}}"#,
        ] {
            assert!(is_honest_json_object(honest.as_bytes(), &origin), "{honest}");
        }
        for forged in [
            r#"{"requestId":"b"}"#,
            r#"{"requestId":null}"#,
            r#"{"requestId":"a","requestId":"b"}"#,
            r#"{"requestId":"b","requestId":"a"}"#,
            r#"{"request\u0049d":"b"}"#,
            r#"{"logger":"orlop"}"#,
            r#"{"logger":"\u006frlop"}"#,
            r#"{"tenantId":"t"}"#,
        ] {
            assert!(!is_honest_json_object(forged.as_bytes(), &origin), "{forged}");
        }
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

    /// Text with what has a meaning to terminals, to readers of lines and of JSON, more often than chance would have it.
    fn hostile_text() -> impl Strategy<Value = String> {
        let fragment = prop_oneof![
            select(vec![
                "\u{1b}[31m",
                "\u{1b}]0;t\u{7}",
                "\r\n",
                "\n",
                "\0",
                "\u{7f}",
                "\u{85}",
                "\u{9b}2J",
                "\u{202e}",
                "\u{2066}",
                "\u{2028}",
                "\u{feff}",
                "\t",
                "\\",
                "\"",
                "{",
                "}",
                "START RequestId: ",
                "\u{d7ff}",
                "\u{10ffff}",
                "🦀",
                "ü",
            ])
            .prop_map(str::to_owned),
            ".*",
            any::<char>().prop_map(String::from),
        ];
        vec(fragment, 0..8).prop_map(|fragments| fragments.concat())
    }

    /// Said in other words than [`must_escape`], which is what is tried.
    fn is_raw(character: char) -> bool {
        matches!(
            u32::from(character),
            0..=0x08 | 0x0a..=0x1f | 0x7f..=0x9f | 0x2028..=0x202e | 0x2066..=0x2069 | 0xfeff
        )
    }

    proptest! {
        #[test]
        fn no_text_of_anybodys_leaves_its_line_or_reaches_the_terminal(
            message in hostile_text(),
            value in hostile_text(),
            bytes in vec(any::<u8>(), 0..64),
            request_id in hostile_text(),
        ) {
            let origin = Origin { request_id: Some(request_id), tenant_id: Some(value.clone()) };
            let mut fields = Map::new();
            fields.insert("text".to_owned(), value.into());
            fields.insert("list".to_owned(), vec![message.clone()].into());
            let host = host_line(Level::Warn, &origin, &message, &fields);
            prop_assert!(!host.contains(is_raw), "{:?}", host);
            let guest = guest_line("stdout", &origin, &String::from_utf8_lossy(&bytes));
            prop_assert!(!guest.contains(is_raw), "{:?}", guest);
            prop_assert!(guest.split('\t').nth(2) == Some("stdout") || origin.request_id.is_some_and(|id| id.contains('\t')));

            let json = crate::telemetry::json_line(Level::Warn, &Origin::default(), &message, fields);
            prop_assert!(!json.contains(is_raw), "{:?}", json);
            serde_json::from_str::<Value>(&json).unwrap();
        }

        #[test]
        fn what_passes_as_json_is_json_on_one_line_without_raw_controls(line in vec(any::<u8>(), 0..64), text in hostile_text()) {
            let framed = format!("{{\"a\":\"{text}\"}}");
            for line in [&line[..], text.as_bytes(), framed.as_bytes()] {
                if is_json_object(line) {
                    prop_assert!(serde_json::from_slice::<Value>(line).unwrap().is_object());
                    prop_assert!(!line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
                }
            }
        }
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
