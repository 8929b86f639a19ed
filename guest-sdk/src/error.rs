//! The error of a handler: what the caller gets to see.

use std::{any::type_name, fmt};

/// A failed invocation, as its caller sees it: a type to match on, a message for people, and the causes.
///
/// `?` makes one from any [`std::error::Error`]: the type's bare name, its text, and one line for each source, outermost
/// first. It is deliberately no `std::error::Error` itself, as that would collide with this conversion.
pub struct Error {
    error_type: String,
    message: String,
    stack_trace: Vec<String>,
}

impl Error {
    /// The event is not what the handler expects.
    pub(crate) const UNMARSHAL: &'static str = "Runtime.UnmarshalError";
    /// The answer cannot be written as JSON.
    pub(crate) const MARSHAL: &'static str = "Runtime.MarshalError";

    /// An error of a type that callers can match on, such as `OrderNotFound`.
    pub fn new(error_type: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.to_string(),
            stack_trace: Vec::new(),
        }
    }

    /// An error that only a person will read. Its type is `Error`.
    ///
    /// It also takes what `?` cannot: `map_err(Error::message)` works for every error that can be displayed.
    pub fn message(message: impl fmt::Display) -> Self {
        Self::new("Error", message)
    }

    /// The name a caller can match on.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.error_type
    }

    /// The causes, outermost first.
    #[must_use]
    pub fn stack_trace(&self) -> &[String] {
        &self.stack_trace
    }

    pub(crate) fn into_parts(self) -> (String, String, Vec<String>) {
        let Self {
            error_type,
            message,
            stack_trace,
        } = self;
        (error_type, message, stack_trace)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let name = short_name(type_name::<E>());
        let error_type = name.split('<').next().unwrap_or(&name);
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        Self {
            error_type: error_type.trim_start_matches(['&', ' ']).to_owned(),
            message: error.to_string(),
            stack_trace: causes.map(ToString::to_string).collect(),
        }
    }
}

/// The message alone, as with any error.
impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// The whole story, as `unwrap` in a test or a program's stderr shows it.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            error_type,
            message,
            stack_trace,
        } = self;
        write!(formatter, "{error_type}: {message}")?;
        stack_trace
            .iter()
            .try_for_each(|line| write!(formatter, "\n    {line}"))
    }
}

/// A type's name without the paths: `SqsEventObj<Order>` for `events::sqs::SqsEventObj<orders::Order>`.
pub(crate) fn short_name(type_name: &str) -> String {
    let mut short = String::new();
    let mut segment_start = 0;
    for character in type_name.chars() {
        short.push(character);
        if short.ends_with("::") {
            short.truncate(segment_start);
        } else if !(character.is_alphanumeric() || character == '_' || character == ':') {
            segment_start = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{error::Error as StdError, num::ParseIntError};

    #[derive(Debug)]
    struct OrderNotFound<S>(S);

    impl<S: StdError + 'static> StdError for OrderNotFound<S> {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    impl<S> fmt::Display for OrderNotFound<S> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("no such order")
        }
    }

    fn parse(number: &str) -> Result<u8, OrderNotFound<OrderNotFound<ParseIntError>>> {
        number.parse().map_err(|error| OrderNotFound(OrderNotFound(error)))
    }

    #[test]
    fn a_question_mark_keeps_type_message_and_causes() {
        let handle = || -> Result<u8, Error> { Ok(parse("x")?) };
        let error = handle().unwrap_err();
        assert_eq!(error.error_type(), "OrderNotFound");
        assert_eq!(error.to_string(), "no such order");
        assert_eq!(error.stack_trace(), ["no such order", "invalid digit found in string"]);
    }

    #[test]
    fn a_message_has_the_plainest_type() {
        let error = Error::message(format_args!("{} is too many", 11));
        assert_eq!(format!("{error:?}"), "Error: 11 is too many");
    }

    #[test]
    fn the_whole_story_has_a_line_per_cause() {
        let error = Error::from(parse("").unwrap_err());
        assert_eq!(
            format!("{error:?}"),
            "OrderNotFound: no such order\n    no such order\n    cannot parse integer from empty string"
        );
    }

    #[test]
    fn short_names_have_no_paths() {
        for (long, short) in [
            ("u8", "u8"),
            ("alloc::string::String", "String"),
            ("sqs::SqsEventObj<orders::v1::Order>", "SqsEventObj<Order>"),
            (
                "std::collections::HashMap<alloc::string::String, (u8, a::B)>",
                "HashMap<String, (u8, B)>",
            ),
            ("&[a::B]", "&[B]"),
        ] {
            assert_eq!(short_name(long), short);
        }
    }
}
