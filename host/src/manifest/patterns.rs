//! The conditions of routes, one type per kind.

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Unexpected, Visitor};

use super::grants::Method;
use super::values::{Written, is_path_byte, written};

/// One method or several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline, untagged))]
pub enum Methods {
    /// One.
    One(Method),
    /// Several.
    Several(Vec<Method>),
}

impl Methods {
    /// Whether the method is among them.
    pub fn contain(&self, method: &str) -> bool {
        match self {
            Self::One(known) => known.as_str() == method,
            Self::Several(known) => known.iter().any(|known| known.as_str() == method),
        }
    }

    /// The methods, in capitals.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::One(method) => vec![method.as_str()],
            Self::Several(methods) => methods.iter().map(Method::as_str).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Methods;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(
                    "a method in capitals such as \"POST\", or a list of such; for any method leave the key out",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Methods, E> {
                let method = Method::read(text);
                method
                    .map(Methods::One)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Methods, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Methods::Several)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

written!(ArnPattern, PathPattern, Source);

/// A path with places for segments. It is compared with a path as it stands in the event, nothing decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// Whether one or more segments may follow.
    has_rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

impl PathPattern {
    /// The pattern as it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path is of this form: literal segments equal, and each place filled by a segment that is not empty.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut given = path.split('/');
        let mut fits = |segment: &Segment| match (segment, given.next()) {
            (Segment::Literal(literal), Some(given)) => literal == given,
            (Segment::Any, Some(given)) => !given.is_empty(),
            (Segment::Literal(_) | Segment::Any, None) => false,
        };
        self.segments.iter().all(&mut fits)
            && match given.next() {
                None => !self.has_rest,
                Some(given) => self.has_rest && !given.is_empty(),
            }
    }
}

impl Written for PathPattern {
    const ACCEPTED: &'static str = "a path such as \"/\", \"/orders/{id}\" or \"/files/{path+}\", beginning with `/`, \
                                    with {name} as a whole segment, {name+} at the end only, without `*`";

    fn read(text: &str) -> Option<Self> {
        let mut segments: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
        let rest = segments.last().and_then(|last| place(last)?.strip_suffix('+'));
        if rest.is_some() {
            segments.pop();
        }
        let mut names: Vec<&str> = rest.into_iter().collect();
        let segments = segments.into_iter().map(|segment| match place(segment) {
            Some(name) => {
                names.push(name);
                Some(Segment::Any)
            }
            None => {
                let is_literal = segment.bytes().all(|byte| is_path_byte(byte) && byte != b'*');
                is_literal.then(|| Segment::Literal(segment.to_owned()))
            }
        });
        let segments = segments.collect::<Option<Vec<Segment>>>()?;
        let is_name = |name: &&str| {
            let mut bytes = name.bytes();
            !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let is_repeated = |(index, name)| names[..index].contains(name);
        let names_are_good = names.iter().all(is_name) && !names.iter().enumerate().any(is_repeated);
        names_are_good.then_some(Self {
            text: text.to_owned(),
            segments,
            has_rest: rest.is_some(),
        })
    }
}

/// What stands between the braces of a segment that is a place.
fn place(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// An ARN, with `*` for any characters within a part.
///
/// The sixth part is the resource, with all colons that it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArnPattern(String);

/// `arn:partition:service:region:account:resource`.
const ARN_PARTS: usize = 6;

impl ArnPattern {
    /// The pattern as it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an ARN is of this form.
    pub fn matches(&self, arn: &str) -> bool {
        let known: Vec<&str> = self.0.splitn(ARN_PARTS, ':').collect();
        let given: Vec<&str> = arn.splitn(ARN_PARTS, ':').collect();
        known.len() == given.len()
            && known
                .iter()
                .zip(given)
                .all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
    }
}

/// Whether a text has a form in which each `*` stands for any bytes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let found = (0..=rest.len()).find(|start| rest[*start..].starts_with(part));
        let Some(start) = found else {
            return false;
        };
        rest = &rest[start + part.len()..];
    }
    true
}

impl Written for ArnPattern {
    const ACCEPTED: &'static str = "an ARN such as \"arn:aws:sqs:eu-central-1:123456789012:orders\" or \
                                    \"arn:aws:sqs:*:*:orders\": six parts joined by `:`, the first `arn`, `*` for any \
                                    characters within a part";

    fn read(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(ARN_PARTS, ':').collect();
        let is_arn = match parts.as_slice() {
            ["arn", partition, service, _region, _account, resource] => {
                !partition.is_empty() && !service.is_empty() && !resource.is_empty()
            }
            _ => false,
        };
        (is_arn && is_plain(text, 2048)).then(|| Self(text.to_owned()))
    }
}

/// Where an event comes from: `http`, or the word that AWS writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// The source as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for Source {
    const ACCEPTED: &'static str =
        "\"http\", or the source as it stands in the event, such as \"aws:sqs\", \"aws:s3\" or \"aws.events\"";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty() && is_plain(text, 256)).then(|| Self(text.to_owned()))
    }
}

/// Whether a text has no spaces or control characters and at most so many bytes.
fn is_plain(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_matches(pattern: &str, path: &str) -> bool {
        PathPattern::read(pattern).unwrap().matches(path)
    }

    fn arn_matches(pattern: &str, arn: &str) -> bool {
        ArnPattern::read(pattern).unwrap().matches(arn)
    }

    #[test]
    fn a_place_stands_for_exactly_one_segment_that_is_not_empty() {
        assert!(path_matches("/orders/{id}", "/orders/7"));
        assert!(path_matches("/orders/{id}/lines/{line}", "/orders/a%2Fb/lines/%"));
        for other in [
            "/orders",
            "/orders/",
            "/orders/7/",
            "/orders/7/8",
            "orders/7",
            "/Orders/7",
            "",
            "//orders/7",
        ] {
            assert!(!path_matches("/orders/{id}", other), "{other}");
        }
    }

    #[test]
    fn a_place_with_a_plus_stands_for_one_segment_or_more() {
        for inside in ["/files/a", "/files/a/b", "/files/a/", "/files/a//b"] {
            assert!(path_matches("/files/{path+}", inside), "{inside}");
        }
        for outside in ["/files", "/files/", "/files//a", "/other/a"] {
            assert!(!path_matches("/files/{path+}", outside), "{outside}");
        }
        assert!(path_matches("/{all+}", "/a/b"));
        assert!(!path_matches("/{all+}", "/"));
    }

    #[test]
    fn a_literal_path_matches_itself_only() {
        assert!(path_matches("/", "/"));
        assert!(!path_matches("/", "//"));
        assert!(path_matches("/a/", "/a/"));
        assert!(!path_matches("/a/", "/a"));
        assert!(path_matches("/a%20b", "/a%20b"));
        assert!(!path_matches("/a%20b", "/a b"));
    }

    #[test]
    fn a_star_in_an_arn_stays_within_its_part() {
        let orders = "arn:aws:sqs:eu-central-1:123456789012:orders";
        assert!(arn_matches(orders, orders));
        for pattern in [
            "arn:aws:sqs:*:*:orders",
            "arn:*:*:*:*:*",
            "arn:aws:sqs:eu-*-1:1*2:o*r*s",
            "arn:aws:sqs:**:*:*orders*",
        ] {
            assert!(arn_matches(pattern, orders), "{pattern}");
        }
        for pattern in [
            "arn:aws:sns:*:*:orders",
            "arn:aws:sqs:*:*:order",
            "arn:aws:sqs:eu*x:*:orders",
            "arn:aws:sqs:::orders",
        ] {
            assert!(!arn_matches(pattern, orders), "{pattern}");
        }
        assert!(arn_matches("arn:aws:s3:::my-*", "arn:aws:s3:::my-site"));
        assert!(!arn_matches("arn:aws:sqs:*:*:orders", "arn:aws:sqs:orders"));
        assert!(arn_matches(
            "arn:aws:dynamodb:*:*:table/orders/stream/*",
            "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
        ));
        assert!(!arn_matches("arn:aws:sqs:*:*:ab*ba", "arn:aws:sqs:x:1:aba"));
    }
}
