//! JSON as events have it: any member may be missing, `null`, or of another type than its documentation says.
//!
//! Only what is asked for is decoded. Members keep their order, and a member's own text can be passed on as it stands.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::scanner::Scanner;

/// The members of a JSON object, in their order.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// One JSON value, not yet decoded, without whitespace around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a>(&'a str);

/// As many members as an event of most sources has. More of them cost an allocation.
const USUAL_MEMBERS: usize = 16;

impl<'a> Object<'a> {
    /// `None` if the text is no JSON or no object.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        let mut scanner = Scanner::new(text);
        scanner.object(|name, value| members.push((decoded(name), Value(value))))?;
        scanner.end()?;
        Some(Self(members))
    }

    /// The member of that name. `null` is as good as absent; of two with the same name the last one counts.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key == name)?;
        Some(*value).filter(|value| !value.is_null())
    }

    /// As [`Self::get`], as text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// As [`Self::get`], as an object.
    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        self.get(name)?.object()
    }

    /// Whether the member is there and true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "true")
    }

    /// How many members there are, those that are `null` included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All members, including those that are `null`.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<'a> Value<'a> {
    /// The JSON text as it stands in the event.
    pub(super) fn json(self) -> &'a str {
        self.0
    }

    /// The same, in a form that can be written into other JSON.
    pub(super) fn raw(self) -> &'a RawValue {
        serde_json::from_str(self.0).expect("the scanner has seen that it is JSON")
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// What a string says; numbers and booleans as they are written; `None` for everything else.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes() {
            [b'"', ..] => Some(decoded(self.0)),
            [b'{' | b'[', ..] => None,
            _ if self.is_null() => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    pub(super) fn object(self) -> Option<Object<'a>> {
        self.is_object().then(|| Object::parse(self.0))?
    }

    /// The elements of a list; anything else is a list of one.
    pub(super) fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let mut alone = Some(self);
        let mut elements = Vec::new();
        if self.0.starts_with('[') {
            alone = None;
            // The scanner has been here before, and found no fault.
            let _ = Scanner::new(self.0).list(|element| elements.push(Value(element)));
        }
        elements.into_iter().chain(alone)
    }
}

/// What a string in quotes says. Surrogates that stand alone, which JSON permits and Unicode does not, are replaced.
fn decoded(quoted: &str) -> Cow<'_, str> {
    match quoted.get(1..quoted.len() - 1) {
        Some(text) if !text.contains('\\') => Cow::Borrowed(text),
        Some(_) | None => {
            let Text(text) = serde_json::from_str(quoted).expect("the scanner has seen that it is a string");
            Cow::Owned(text)
        }
    }
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        deserializer.deserialize_bytes(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_text() {
        let object = Object::parse(r#" {"b": {"x" : 1e2}, "a": [ 1, null ]} "#).unwrap();
        let members: Vec<_> = object.members().map(|(name, value)| (name, value.json())).collect();
        assert_eq!(members, [("b", r#"{"x" : 1e2}"#), ("a", "[ 1, null ]")]);
    }

    #[test]
    fn null_is_absent_and_the_last_of_two_members_counts() {
        let object = Object::parse(r#"{"a": 1, "a": "x", "b": null}"#).unwrap();
        assert_eq!(object.text("a").unwrap(), "x");
        assert!(object.get("b").is_none());
    }

    #[test]
    fn a_lone_surrogate_does_not_hide_the_rest() {
        let object = Object::parse(r#"{"\ud800": 1, "a": "x\udc00y"}"#).unwrap();
        assert_eq!(object.text("a").unwrap(), "x\u{fffd}\u{fffd}\u{fffd}y");
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in ["", "{", "[]", "1", "{} x", "{1: 2}"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_has_its_elements_and_anything_else_is_a_list_of_one() {
        let object = Object::parse(r#"{"list": [ "a" , [1], {} ], "empty": [], "text": "b"}"#).unwrap();
        let elements = |name| {
            let elements = object.get(name).unwrap().elements();
            elements.map(Value::json).collect::<Vec<_>>()
        };
        assert_eq!(elements("list"), [r#""a""#, "[1]", "{}"]);
        assert!(elements("empty").is_empty());
        assert_eq!(elements("text"), [r#""b""#]);
    }
}
