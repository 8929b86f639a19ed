//! What a message carries, the rules for it, and the checksums that SQS makes of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::{Code, Error};

/// The largest message, and the largest sum of the messages of one batch, in bytes.
pub(super) const MAX_BYTES: usize = 1_048_576;
/// How many attributes a message may have.
const MAX_ATTRIBUTES: usize = 10;
/// The longest name and the longest type of an attribute, in characters.
const MAX_NAME: usize = 256;
/// The one system attribute that a sender may set.
const TRACE_HEADER: &str = "AWSTraceHeader";

/// The part of a message that never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// A UUID.
    pub(super) id: String,
    pub(super) body: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, Attribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace_header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    /// Given by the sender, or made of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deduplication: Option<String>,
}

/// A message attribute, in the form in which it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attribute {
    /// `String`, `Number` or `Binary`, and after a point whatever the sender likes.
    #[serde(default)]
    pub(super) data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
}

impl Attribute {
    fn check(&self, name: &str) -> Result<(), Error> {
        let refuse = |reason: &str| {
            let message = format!("Message attribute {name:?}: {reason}");
            Err(Error::new(Code::InvalidParameterValue, message))
        };
        if !is_attribute_name(name) {
            return refuse(
                "the name must be 1 to 256 letters, digits, '_', '-' and '.', without a '.' at an end or two in a row, \
                 and must not begin with \"AWS.\" or \"Amazon.\".",
            );
        }
        let Self {
            data_type,
            string_value,
            binary_value,
        } = self;
        let base = data_type.split('.').next().unwrap_or_default();
        if data_type.len() > MAX_NAME {
            return refuse("the type is longer than 256 characters.");
        }
        let bytes = match (base, string_value, binary_value) {
            ("String" | "Number", Some(text), None) => {
                check_characters(text)?;
                if base == "Number" && !is_number(text) {
                    return refuse("the value of type 'Number' is not a number of up to 38 digits.");
                }
                text.clone().into_bytes()
            }
            ("Binary", None, Some(encoded)) => match BASE64_STANDARD.decode(encoded) {
                Ok(bytes) => bytes,
                Err(_) => return refuse("the value is not base64."),
            },
            ("String" | "Number", _, _) => return refuse("a StringValue, and nothing else, must be given."),
            ("Binary", _, _) => return refuse("a BinaryValue, and nothing else, must be given."),
            _ => return refuse("the type must begin with 'String', 'Number' or 'Binary'."),
        };
        if bytes.is_empty() {
            return refuse("the value must not be empty.");
        }
        Ok(())
    }

    /// The bytes of the value; none if it is not a proper one.
    fn bytes(&self) -> Vec<u8> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => BASE64_STANDARD.decode(encoded).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

/// What counts against the limits on sizes, in bytes: the body, and names, types and values of the attributes.
pub(super) fn size(body: &str, attributes: &BTreeMap<String, Attribute>) -> usize {
    let attributes = attributes.iter();
    let sizes = attributes.map(|(name, attribute)| name.len() + attribute.data_type.len() + attribute.bytes().len());
    body.len() + sizes.sum::<usize>()
}

pub(super) fn check_body(body: &str) -> Result<(), Error> {
    if body.is_empty() {
        return Err(Error::missing("MessageBody"));
    }
    check_characters(body)
}

pub(super) fn check_attributes(attributes: &BTreeMap<String, Attribute>) -> Result<(), Error> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!(
                "A message has at most {MAX_ATTRIBUTES} attributes, not {}.",
                attributes.len()
            ),
        ));
    }
    attributes
        .iter()
        .try_for_each(|(name, attribute)| attribute.check(name))
}

/// Takes the trace header out of the system attributes; there is no other that a sender may set.
pub(super) fn trace_header(attributes: &BTreeMap<String, Attribute>) -> Result<Option<String>, Error> {
    if let Some(other) = attributes.keys().find(|name| *name != TRACE_HEADER) {
        let message = format!("Message system attribute {other:?} cannot be set; only {TRACE_HEADER} can.");
        return Err(Error::new(Code::InvalidParameterValue, message));
    }
    let Some(attribute) = attributes.get(TRACE_HEADER) else {
        return Ok(None);
    };
    // Its name is one that senders' own attributes must not have, so only the rest is checked by the rules for those.
    attribute.check("trace")?;
    match &attribute.string_value {
        Some(text) if attribute.data_type == "String" => Ok(Some(text.clone())),
        Some(_) | None => Err(Error::new(
            Code::InvalidParameterValue,
            format!("Message system attribute {TRACE_HEADER} must be of type 'String'."),
        )),
    }
}

/// XML 1.0's characters, which are SQS's.
fn check_characters(text: &str) -> Result<(), Error> {
    let is_allowed = |character| match character {
        '\t' | '\n' | '\r' => true,
        '\u{FFFE}' | '\u{FFFF}' => false,
        _ => character >= ' ',
    };
    match text.chars().find(|character| !is_allowed(*character)) {
        None => Ok(()),
        Some(character) => Err(Error::new(
            Code::InvalidMessageContents,
            format!(
                "U+{:04X} is not allowed in a message. Allowed are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | \
                 #x10000 to #x10FFFF; send anything else in base64, or as a binary attribute.",
                u32::from(character)
            ),
        )),
    }
}

fn is_attribute_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let lower = name.to_ascii_lowercase();
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.")
}

fn is_number(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() <= 38
        && text.parse::<f64>().is_ok_and(f64::is_finite)
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// The MD5 of a body, in hexadecimal.
pub(super) fn body_digest(body: &str) -> String {
    hexadecimal(&Md5::digest(body))
}

/// The MD5 of attributes as SQS's developer guide lays them out ("Calculating the MD5 message digest for message
/// attributes"); `None` if there are none.
pub(super) fn attributes_digest<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    let mut digest = Md5::new();
    let mut is_empty = true;
    // In the order of their names: the map is sorted.
    for (name, attribute) in attributes {
        is_empty = false;
        let value = attribute.bytes();
        put(&mut digest, name.as_bytes());
        put(&mut digest, attribute.data_type.as_bytes());
        digest.update([if attribute.string_value.is_some() { 1 } else { 2 }]);
        put(&mut digest, &value);
    }
    (!is_empty).then(|| hexadecimal(&digest.finalize()))
}

/// The MD5 of the system attributes that a sender set.
pub(super) fn trace_header_digest(trace_header: Option<&str>) -> Option<String> {
    let attribute = Attribute {
        data_type: "String".to_owned(),
        string_value: Some(trace_header?.to_owned()),
        binary_value: None,
    };
    attributes_digest([(&TRACE_HEADER.to_owned(), &attribute)])
}

fn put(digest: &mut Md5, bytes: &[u8]) {
    // A message is far shorter than 4 GiB.
    digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(bytes);
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(data_type: &str, text: Option<&str>, bytes: Option<&str>) -> Attribute {
        Attribute {
            data_type: data_type.to_owned(),
            string_value: text.map(str::to_owned),
            binary_value: bytes.map(str::to_owned),
        }
    }

    #[test]
    fn the_digest_of_attributes_goes_by_name_type_and_value_with_their_lengths() {
        let attributes = BTreeMap::from([
            ("b".to_owned(), attribute("Binary", None, Some("AP8="))),
            ("a".to_owned(), attribute("Number.int", Some("42"), None)),
        ]);
        let laid_out =
            b"\0\0\0\x01a\0\0\0\x0aNumber.int\x01\0\0\0\x0242\0\0\0\x01b\0\0\0\x06Binary\x02\0\0\0\x02\0\xff";
        assert_eq!(
            attributes_digest(&attributes),
            Some(hexadecimal(&Md5::digest(laid_out)))
        );
        assert_eq!(attributes_digest(&BTreeMap::new()), None);
    }

    #[test]
    fn the_size_of_a_message_counts_bytes_of_body_names_types_and_decoded_values() {
        let attributes = BTreeMap::from([("n".to_owned(), attribute("Binary", None, Some("AP8=")))]);
        assert_eq!(size("\u{e9}", &attributes), 2 + 1 + 6 + 2);
    }

    #[test]
    fn only_the_characters_of_xml_may_be_in_a_body() {
        for allowed in ["\t\n\r ", "\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}", "\u{7f}\u{85}"] {
            assert_eq!(check_body(allowed), Ok(()));
        }
        for refused in ["\0", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(check_body(refused).unwrap_err().code, Code::InvalidMessageContents);
        }
    }

    #[test]
    fn numbers_have_up_to_38_digits() {
        for number in ["0", "-1.5e-3", &"9".repeat(38)] {
            assert!(is_number(number), "{number}");
        }
        for other in ["", "x", "inf", "NaN", "1e999", "--1", "0x1", &"9".repeat(39)] {
            assert!(!is_number(other), "{other}");
        }
    }
}
