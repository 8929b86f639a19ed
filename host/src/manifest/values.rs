//! The kinds of values in the file: how each is written, and what it must be.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// The longest name of a function, in bytes: that of Lambda's handler setting.
const LONGEST_NAME: usize = 128;
/// Lambda's longest timeout: 90 minutes, for asynchronous invocations on Managed Instances.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5400);
/// The largest size, in bytes: 1 TiB, as for the variables of the same meaning.
const LARGEST_SIZE: u64 = 1 << 40;
/// The largest count, as for the variables of the same meaning.
const LARGEST_COUNT: u32 = 10_000_000;
/// Variables that the platform or the host sets for the guest, or keeps from it.
const PLATFORM_PREFIXES: &[&str] = &["AWS_LAMBDA_", "ORLOP_", "_AWS_", "_LAMBDA_", "_ORLOP_", "_X_AMZN_"];

/// A value that is one word or one number in the file.
pub(super) trait Written: Sized {
    /// What it must be, to follow "it must be".
    const ACCEPTED: &'static str;

    /// The value of a text, if it is one.
    fn read(text: &str) -> Option<Self>;

    /// The value of a number, for the kinds that may be written without quotes.
    fn read_number(_number: i64) -> Option<Self> {
        None
    }

    /// The JSON schema, without a description.
    #[cfg(feature = "schema")]
    fn json_schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// Reads a [`Written`] value. What it must be stands in the error after ", expected ".
pub(super) fn read<'de, T: Written, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);

    impl<T: Written> Visitor<'_> for Reader<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(T::ACCEPTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            T::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            T::read_number(number).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
        }
    }

    deserializer.deserialize_any(Reader(PhantomData))
}

/// Makes types deserialisable, and known to the schema, by their [`Written`].
macro_rules! written {
    ($($kind:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::manifest::values::read(deserializer)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $kind {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = <$kind as $crate::manifest::values::Written>::json_schema();
                let accepted = <$kind as $crate::manifest::values::Written>::ACCEPTED;
                schema.insert($crate::manifest::schema::ACCEPTED.to_owned(), accepted.into());
                schema
            }
        }
    )+};
}
pub(super) use written;

/// Makes structs deserialisable from tables alone: derived code would take a list, too, and its elements as members in
/// order. The derive has `remote = "Self"`, which makes it a function of the struct instead of the implementation.
macro_rules! table {
    ($($kind:ty: $accepted:literal),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl<'de> serde::de::Visitor<'de> for Reader {
                    type Value = $kind;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str($accepted)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<$kind, A::Error> {
                        <$kind>::deserialize(serde::de::value::MapAccessDeserializer::new(members))
                    }
                }

                deserializer.deserialize_any(Reader)
            }
        }
    )+};
}
pub(super) use table;

written!(Argument, Count, Name, Size, Timeout, UrlPath, VariableName);

/// The name of a function, or of a component: a path below the task root, without the extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Written for Name {
    const ACCEPTED: &'static str = "a name of at most 128 letters a-z and A-Z, digits, `.`, `_` and `-`, or several \
                                    joined by `/`; without `..` and without .wasm or .cwasm";

    fn read(text: &str) -> Option<Self> {
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let is_name =
            text.len() <= LONGEST_NAME && without_extension(text).len() == text.len() && text.split('/').all(is_part);
        is_name.then(|| Self(text.to_owned()))
    }
}

/// A handler's name without the extension of a component, which it may carry.
pub(super) fn without_extension(handler: &str) -> &str {
    let stem = handler.strip_suffix(".cwasm").or_else(|| handler.strip_suffix(".wasm"));
    stem.unwrap_or(handler)
}

/// A length of time from 1 ms to 90 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

impl Timeout {
    /// The length of time.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Written for Timeout {
    const ACCEPTED: &'static str = "a duration such as \"5s\" or \"100ms\", at least 1ms and at most 90m";

    fn read(text: &str) -> Option<Self> {
        let duration = humantime::parse_duration(text).ok()?;
        (Duration::from_millis(1)..=LONGEST_TIMEOUT)
            .contains(&duration)
            .then_some(Self(duration))
    }
}

/// A number of bytes from 1 to 1 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Written for Size {
    const ACCEPTED: &'static str = "a size such as \"64MiB\", at least 1 byte and at most 1TiB";

    fn read(text: &str) -> Option<Self> {
        let size = text.parse::<ByteSize>().ok()?.as_u64();
        (1..=LARGEST_SIZE).contains(&size).then_some(Self(size))
    }

    fn read_number(number: i64) -> Option<Self> {
        let size = u64::try_from(number).ok()?;
        (1..=LARGEST_SIZE).contains(&size).then_some(Self(size))
    }

    #[cfg(feature = "schema")]
    fn json_schema() -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"], "minimum": 1, "maximum": LARGEST_SIZE })
    }
}

/// A whole number from 1 to 10,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u32);

impl Count {
    /// The number.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl Written for Count {
    const ACCEPTED: &'static str = "a whole number from 1 to 10000000, without quotes";

    fn read(_text: &str) -> Option<Self> {
        None
    }

    fn read_number(number: i64) -> Option<Self> {
        let count = u32::try_from(number).ok()?;
        (1..=LARGEST_COUNT).contains(&count).then_some(Self(count))
    }

    #[cfg(feature = "schema")]
    fn json_schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": LARGEST_COUNT })
    }
}

/// An argument of a program: any text that can be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument(String);

impl Argument {
    /// The argument as the program sees it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for Argument {
    const ACCEPTED: &'static str = "text without a NUL character";

    fn read(text: &str) -> Option<Self> {
        (!text.contains('\0')).then(|| Self(text.to_owned()))
    }
}

/// The path of a URL: it begins with `/`, and does not end with one unless it is nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPath(String);

impl UrlPath {
    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for UrlPath {
    const ACCEPTED: &'static str =
        "a path such as \"/api\", beginning with `/` and not ending with it, of characters that may stand in a URL";

    fn read(text: &str) -> Option<Self> {
        let is_path = text.starts_with('/') && (text == "/" || !text.ends_with('/')) && text.bytes().all(is_path_byte);
        is_path.then(|| Self(text.to_owned()))
    }
}

/// Whether a byte may stand in the path of a URL (RFC 3986, `pchar` and `/`).
pub(super) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte)
}

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VariableName(String);

impl VariableName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for VariableName {
    const ACCEPTED: &'static str = "the name of an environment variable, without `=`, spaces and control characters";

    fn read(text: &str) -> Option<Self> {
        let is_name =
            !text.is_empty() && !text.contains(|letter: char| letter == '=' || letter == ' ' || letter.is_control());
        is_name.then(|| Self(text.to_owned()))
    }
}

/// Variables that are added to what a guest sees, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
        struct OwnName(#[serde(deserialize_with = "read")] OwnVariableName);

        let variables = BTreeMap::<OwnName, Argument>::deserialize(deserializer)?;
        let variables = variables.into_iter();
        Ok(Self(variables.map(|(name, value)| (name.0.0, value.0)).collect()))
    }
}

/// The name of a variable that is not the platform's.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct OwnVariableName(String);

impl Written for OwnVariableName {
    const ACCEPTED: &'static str = "the name of an environment variable, without `=`, spaces and control characters, \
                                    and none of the platform's own such as AWS_LAMBDA_* and ORLOP_*";

    fn read(text: &str) -> Option<Self> {
        let name = VariableName::read(text)?.0;
        let is_platforms = PLATFORM_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        (!is_platforms).then_some(Self(name))
    }
}
