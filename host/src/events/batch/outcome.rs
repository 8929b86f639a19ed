//! What a guest's answer says about its record.

use std::fmt;

use serde_json::Value;

/// The key of an answer that names failed records.
const FAILURES: &str = "batchItemFailures";
/// The key of one record's identifier there.
const IDENTIFIER: &str = "itemIdentifier";
/// How many letters of [`FAILURES`] may be wrong, missing or too many for a key to count as a misspelling of it.
const MISSPELT_LETTERS: usize = 3;

/// Why a call that returned counts as a failure of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The guest reported the record.
    Reported,
    /// The guest's answer reports something, but not what Lambda would understand.
    Malformed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => formatter.write_str("the guest reported it as failed"),
            Self::Malformed(what) => write!(
                formatter,
                "the guest's answer is no list of failures, {what}; it must be like \
                 {{\"{FAILURES}\":[{{\"{IDENTIFIER}\":\"…\"}}]}}"
            ),
        }
    }
}

/// What a guest's answer to the event of one record says about it.
///
/// A guest that knows of batches answers as for a whole one, and Lambda's table holds: no failures if the list is empty
/// or null, or if there is none; a failure for the record's own identifier, and for one that is unknown, empty, null or
/// under a misspelt key. A guest that knows nothing of batches may answer anything, text or no bytes at all: its call
/// succeeded, and the host can tell that where Lambda, which has the answer alone, cannot. So only an answer that seems
/// meant as a report, and is none, fails the record: acknowledging it could lose it.
///
/// # Errors
///
/// Why the record has failed.
pub fn record_outcome(answer: &[u8], identifier: &str) -> Result<(), Reason> {
    let malformed = |what: String| Err(Reason::Malformed(what));
    let members = match serde_json::from_slice(answer) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => return Ok(()),
        Err(error) => {
            let is_meant_as_report = answer.windows(FAILURES.len()).any(|part| part == FAILURES.as_bytes());
            return if is_meant_as_report {
                malformed(format!("it is no JSON: {error}"))
            } else {
                Ok(())
            };
        }
    };
    let Some(failures) = members.get(FAILURES) else {
        return match members.keys().find(|key| is_misspelt(key)) {
            None => Ok(()),
            Some(key) => malformed(format!("its key is {key:?}")),
        };
    };
    let failures = match failures {
        Value::Null => return Ok(()),
        Value::Array(failures) => failures,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return malformed(format!("`{FAILURES}` is no list"));
        }
    };
    let named = |failure: &Value| failure.get(IDENTIFIER).and_then(Value::as_str).map(str::to_owned);
    match failures.first() {
        None => Ok(()),
        Some(_)
            if failures
                .iter()
                .any(|failure| named(failure).as_deref() == Some(identifier)) =>
        {
            Err(Reason::Reported)
        }
        Some(failure) => malformed(match named(failure) {
            Some(other) => format!("the identifier {other:?} is not that of the record"),
            None => format!("an element has no text under `{IDENTIFIER}`"),
        }),
    }
}

/// Whether a key is [`FAILURES`] but for its case and a few letters.
fn is_misspelt(key: &str) -> bool {
    key.len().abs_diff(FAILURES.len()) <= MISSPELT_LETTERS
        && strsim::damerau_levenshtein(&key.to_lowercase(), &FAILURES.to_lowercase()) <= MISSPELT_LETTERS
}
