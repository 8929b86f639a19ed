//! Between bytes and the handler's own types: JSON, or the bytes themselves where the type is `Vec<u8>`.

use crate::{Error, error::short_name};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::{Any, type_name},
    sync::atomic::{AtomicBool, Ordering},
};

/// What a handler can take. The traits here have no other purpose than a clear message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the event of a handler",
    label = "not made from JSON",
    note = "derive `serde::Deserialize` for it; `serde_json::Value` takes any JSON, `Vec<u8>` any bytes"
)]
pub trait Event: DeserializeOwned + 'static {}

impl<E: DeserializeOwned + 'static> Event for E {}

/// What a handler can answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of a handler",
    label = "not written as JSON",
    note = "derive `serde::Serialize` for it, or answer with bytes as `Vec<u8>`"
)]
pub trait Answer: Serialize + 'static {}

impl<R: Serialize + 'static> Answer for R {}

/// What a handler can fail with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "not an error",
    note = "implement `std::error::Error` for it, or make it an `orlop_sdk::Error` with `map_err(Error::message)`"
)]
pub trait Failure: Into<Error> {}

impl<E: Into<Error>> Failure for E {}

/// The event as the handler's first argument.
///
/// # Errors
///
/// `Runtime.UnmarshalError`: the event is no JSON, or no `E`.
pub fn decode<E: Event>(event: Vec<u8>) -> Result<E, Error> {
    let event = match same_type(event) {
        Ok(event) => return Ok(event),
        Err(event) => event,
    };
    serde_json::from_slice(&event).map_err(|error| {
        let expected = short_name(type_name::<E>());
        Error::new(
            Error::UNMARSHAL,
            format_args!("failed to read the event as `{expected}`: {error}"),
        )
    })
}

fn encode<R: Answer>(answer: R) -> Result<Vec<u8>, Error> {
    let answer = match same_type(answer) {
        Ok(answer) => return Ok(answer),
        Err(answer) => answer,
    };
    serde_json::to_vec(&answer).map_err(|error| {
        let given = short_name(type_name::<R>());
        Error::new(
            Error::MARSHAL,
            format_args!("failed to write the answer `{given}` as JSON: {error}"),
        )
    })
}

/// `value` as a `To`, if that is what it is; else `value` again.
///
/// Asking the type, not the macro's tokens, lets an alias of `Vec<u8>` be bytes too. The compiler decides it.
fn same_type<From: 'static, To: 'static>(value: From) -> Result<To, From> {
    let mut value = Some(value);
    let slot: &mut dyn Any = &mut value;
    match slot.downcast_mut::<Option<To>>().and_then(Option::take) {
        Some(same) => Ok(same),
        None => Err(value.expect("only a value of another type is left in its place")),
    }
}

/// Runs the function that `init` names.
pub fn prepare<E: Failure>(prepare: impl FnOnce() -> Result<(), E>) -> Result<(), Error> {
    prepare().map_err(Into::into)
}

/// Whether `init` has succeeded. In a snapshot, the memory begins with that, and it must not run again.
#[derive(Debug, Default)]
pub struct Prepared(AtomicBool);

impl Prepared {
    /// Not yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `init`, unless it has succeeded.
    ///
    /// # Errors
    ///
    /// That of `init`.
    pub fn or(&self, init: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        if !self.0.load(Ordering::Relaxed) {
            init()?;
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What a handler returns that may fail.
///
/// This trait and [`Infallible`] have the same method. On a `&Result` the compiler finds this one first; for any other
/// type it must borrow once more and finds the other. So the type decides, under whatever name the handler writes it,
/// and only then is it asked to be serialisable, which makes for a clear message where it is not.
pub trait Fallible: Sized {
    /// The way to encode this type.
    fn encoder(&self) -> ResultEncoder {
        ResultEncoder
    }
}

impl<R, E> Fallible for Result<R, E> {}

/// What a handler returns that cannot fail: see [`Fallible`].
pub trait Infallible {
    /// The way to encode this type.
    fn encoder(&self) -> AnswerEncoder {
        AnswerEncoder
    }
}

impl<R> Infallible for &R {}

/// Encodes what a handler returns that may fail.
#[derive(Debug)]
pub struct ResultEncoder;

impl ResultEncoder {
    /// The answer's bytes, or the handler's error.
    ///
    /// # Errors
    ///
    /// The handler's own, or `Runtime.MarshalError`.
    pub fn encode<R: Answer, E: Failure>(self, answer: Result<R, E>) -> Result<Vec<u8>, Error> {
        encode(answer.map_err(Into::into)?)
    }
}

/// Encodes what a handler returns that cannot fail.
#[derive(Debug)]
pub struct AnswerEncoder;

impl AnswerEncoder {
    /// The answer's bytes.
    ///
    /// # Errors
    ///
    /// `Runtime.MarshalError`.
    pub fn encode<R: Answer>(self, answer: R) -> Result<Vec<u8>, Error> {
        encode(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, num::ParseIntError};

    #[test]
    fn json_is_read_and_written() {
        assert_eq!(
            decode::<BTreeMap<String, u8>>(br#"{"a":1}"#.to_vec()).unwrap(),
            BTreeMap::from([("a".to_owned(), 1)])
        );
        assert_eq!(encode(vec!["a", "b"]).unwrap(), br#"["a","b"]"#);
        assert_eq!(encode(()).unwrap(), b"null");
    }

    #[test]
    fn bytes_stay_bytes_under_any_name() {
        type Raw = Vec<u8>;
        assert_eq!(decode::<Raw>(b"\xFF[1".to_vec()).unwrap(), b"\xFF[1");
        assert_eq!(encode::<Raw>(b"\xFF[1".to_vec()).unwrap(), b"\xFF[1");
    }

    #[test]
    fn an_event_of_another_shape_is_located_and_named() {
        let error = decode::<Vec<std::net::Ipv4Addr>>(b"[\"127.0.0.1\",\n 7]".to_vec()).unwrap_err();
        assert_eq!(error.error_type(), "Runtime.UnmarshalError");
        assert_eq!(
            error.to_string(),
            "failed to read the event as `Vec<Ipv4Addr>`: invalid type: integer `7`, expected IPv4 address at line 2 column 2"
        );
    }

    #[test]
    fn an_answer_that_is_no_json_is_an_error() {
        let error = encode(BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(error.error_type(), "Runtime.MarshalError");
        assert_eq!(
            error.to_string(),
            "failed to write the answer `BTreeMap<(i32, i32), i32>` as JSON: key must be a string"
        );
    }

    #[test]
    fn what_has_succeeded_does_not_run_again() {
        let prepared = Prepared::new();
        prepared.or(|| Err(Error::message("not yet"))).unwrap_err();
        prepared.or(|| Ok(())).unwrap();
        prepared.or(|| panic!("it has succeeded")).unwrap();
    }

    /// As the macro writes it.
    macro_rules! encode_by_type {
        ($answer:ident) => {
            (&$answer).encoder().encode($answer)
        };
    }

    #[test]
    fn the_type_decides_whether_an_answer_may_fail() {
        type Outcome = Result<u8, ParseIntError>;
        let (success, failure, plain): (Outcome, Outcome, u8) = ("7".parse(), "x".parse(), 7);
        assert_eq!(encode_by_type!(success).unwrap(), b"7");
        assert_eq!(encode_by_type!(failure).unwrap_err().error_type(), "ParseIntError");
        assert_eq!(encode_by_type!(plain).unwrap(), b"7");
    }
}
