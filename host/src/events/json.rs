//! JSON as events have it: any member may be missing, `null`, or of another type than its documentation says.
//!
//! Only what is asked for is decoded. Members keep their order, and a member's own text can be passed on as it stands.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, in their order.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Text<'a>, Value<'a>)>);

/// One JSON value, not yet decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a>(&'a RawValue);

impl<'a> Object<'a> {
    /// `None` if the text is no JSON or no object.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The member of that name. `null` is as good as absent; of two with the same name the last one counts.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key.0 == name)?;
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
        self.0.iter().map(|(name, value)| (&*name.0, *value))
    }
}

impl<'a> Value<'a> {
    /// The JSON text as it stands in the event, without whitespace around it.
    pub(super) fn json(self) -> &'a str {
        self.0.get()
    }

    /// The same, in a form that can be written into other JSON.
    pub(super) fn raw(self) -> &'a RawValue {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.json() == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.json().starts_with('{')
    }

    /// What a string says; numbers and booleans as they are written; `None` for everything else.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let json = self.json();
        match json.as_bytes() {
            // The parser has seen that it is a string; without an escape it stands as it is.
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => json.get(1..json.len() - 1).map(Cow::Borrowed),
            [b'"', ..] => serde_json::from_str::<Text<'a>>(json).ok().map(|text| text.0),
            [b'{' | b'[', ..] => None,
            _ if self.is_null() => None,
            _ => Some(Cow::Borrowed(json)),
        }
    }

    pub(super) fn object(self) -> Option<Object<'a>> {
        // A refusal by the parser costs more than an answer.
        self.is_object().then(|| Object::parse(self.json()))?
    }

    /// The elements of a list; anything else is a list of one.
    pub(super) fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let list = match self.json().starts_with('[') {
            true => serde_json::from_str::<Vec<&RawValue>>(self.json()).ok(),
            false => None,
        };
        let alone = list.is_none().then_some(self);
        list.into_iter().flatten().map(Value).chain(alone)
    }
}

/// A string in which surrogates may stand alone, which JSON permits and Unicode does not. They are replaced.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
        }

        deserializer.deserialize_bytes(TextVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, Value(value)));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
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
}
