//! What a function's answer says about the messages of its batch (runtime contract §10.6).

use std::collections::HashSet;

use serde_json::Value;

const FAILURES: &str = "batchItemFailures";
const IDENTIFIER: &str = "itemIdentifier";

/// What becomes of a batch after a successful invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All messages are done but these, by their ids.
    DoneBut(HashSet<String>),
    /// None is done: the answer is no proper list of failures. The reason, in words.
    NoneDone(String),
}

impl Verdict {
    /// What Lambda makes of an answer with `ReportBatchItemFailures`. `ids` are the messages of the batch.
    ///
    /// | answer | done |
    /// |---|---|
    /// | nothing, `null`, `{}`, an empty or a `null` list, any other JSON that is no list of failures | all |
    /// | a list of ids that are in the batch, repeated or not | all others |
    /// | no JSON; a list that is none; an element whose id is missing, empty, `null` or not in the batch | none |
    /// | the list under a misspelt key | none; Lambda takes it for success, and the failed messages would be lost |
    pub(super) fn reported(answer: &[u8], ids: &HashSet<&str>) -> Self {
        match failures(answer) {
            Ok(failed) => match failed.iter().find(|id| !ids.contains(id.as_str())) {
                None => Self::DoneBut(failed),
                Some(id) => Self::NoneDone(format!("`{IDENTIFIER}` {id:?} is no message of the batch")),
            },
            Err(reason) => Self::NoneDone(reason),
        }
    }
}

/// Whether an answer reports failures, for those who have switched reports off.
pub(super) fn has_report(answer: &[u8]) -> bool {
    failures(answer).is_ok_and(|failed| !failed.is_empty())
}

fn failures(answer: &[u8]) -> Result<HashSet<String>, String> {
    if answer.trim_ascii().is_empty() {
        return Ok(HashSet::new());
    }
    let members = match serde_json::from_slice(answer) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return Ok(HashSet::new());
        }
        Err(error) => return Err(format!("it is no JSON: {error}")),
    };
    let list = match members.get(FAILURES) {
        Some(Value::Null) => return Ok(HashSet::new()),
        Some(Value::Array(list)) => list,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(format!("`{FAILURES}` is no list"));
        }
        None => {
            return match members.keys().find(|key| is_misspelt(key)) {
                Some(key) => Err(format!("the key {key:?} is not `{FAILURES}`")),
                None => Ok(HashSet::new()),
            };
        }
    };
    let identifier = |item: &Value| match item.get(IDENTIFIER).and_then(Value::as_str) {
        Some(id) => Ok(id.to_owned()),
        None => Err(format!("an element of `{FAILURES}` has no text under `{IDENTIFIER}`")),
    };
    list.iter().map(identifier).collect()
}

/// Whether the key is the right one but for capitals, `_`, `-` and the plural.
fn is_misspelt(key: &str) -> bool {
    let letters = key.chars().filter(|character| !matches!(character, '_' | '-'));
    let letters = letters.flat_map(char::to_lowercase).collect::<String>();
    letters.trim_end_matches('s') == "batchitemfailure"
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::{Index, select};

    use super::*;

    /// Elements of a list, with the messages that they name.
    const ITEMS: [(&str, Option<&str>); 9] = [
        (r#"{"itemIdentifier":"a"}"#, Some("a")),
        (r#"{"itemIdentifier":"\u0062"}"#, Some("b")),
        (r#"{"itemIdentifier":"x"}"#, None),
        (r#"{"itemIdentifier":""}"#, None),
        (r#"{"itemIdentifier":null}"#, None),
        (r#"{"id":"a"}"#, None),
        (r#""a""#, None),
        ("7", None),
        ("null", None),
    ];

    fn verdict(answer: &str) -> Verdict {
        Verdict::reported(answer.as_bytes(), &HashSet::from(["a", "b", "c"]))
    }

    fn failed(ids: &[&str]) -> Verdict {
        Verdict::DoneBut(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn an_answer_that_reports_nothing_is_success() {
        let answers = [
            "",
            "\n",
            "null",
            "{}",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
            r#"{"statusCode":500}"#,
            r#""done""#,
            "[]",
            "7",
            "true",
        ];
        for answer in answers {
            assert_eq!(verdict(answer), failed(&[]), "{answer}");
        }
    }

    #[test]
    fn the_messages_that_are_named_have_failed_and_no_others() {
        let answer = r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b","more":1}],"more":2}"#;
        assert_eq!(verdict(answer), failed(&["b"]));
        let answer = r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}"#;
        assert_eq!(verdict(answer), failed(&["a", "b", "c"]));
    }

    #[test]
    fn a_report_that_cannot_be_understood_fails_the_whole_batch() {
        let answers = [
            r#"{"batchItemFailures":[{"itemIdentifier":"x"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"x"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":123}]}"#,
            r#"{"batchItemFailures":[{"foo":"a"}]}"#,
            r#"{"batchItemFailures":["a"]}"#,
            r#"{"batchItemFailures":[null]}"#,
            r#"{"batchItemFailures":{"itemIdentifier":"a"}}"#,
            r#"{"batchItemFailures":"a"}"#,
            r#"{"BatchItemFailures":[{"ItemIdentifier":"a"}]}"#,
            r#"{"batch_item_failures":[{"itemIdentifier":"a"}]}"#,
            r#"{"batchItemFailure":[]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"a"}"#,
            "done",
            "\u{FEFF}{}",
        ];
        for answer in answers {
            assert!(matches!(verdict(answer), Verdict::NoneDone(_)), "{answer}");
        }
        let not_text = Verdict::reported(b"\xFF\xFE", &HashSet::from(["a"]));
        assert!(matches!(not_text, Verdict::NoneDone(_)));
    }

    #[test]
    fn a_list_of_failures_is_recognised_where_nobody_reads_it() {
        assert!(has_report(br#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#));
        assert!(!has_report(br#"{"batchItemFailures":[]}"#));
        assert!(!has_report(b"null"));
        assert!(!has_report(b"done"));
    }

    proptest! {
        #[test]
        fn whatever_a_report_lists_messages_of_the_batch_have_failed_or_all_of_it(
            items in vec(select(&ITEMS), 0..5),
            place in any::<Index>(),
            patch in "[a-cx:,\\[\\]{}\"]{0,2}",
        ) {
            let texts: Vec<&str> = items.iter().map(|(text, _)| *text).collect();
            let report = format!(r#"{{"batchItemFailures":[{}]}}"#, texts.join(","));
            let named: Option<Vec<&str>> = items.iter().map(|(_, id)| *id).collect();
            match named {
                Some(ids) => prop_assert_eq!(verdict(&report), failed(&ids)),
                None => prop_assert!(matches!(verdict(&report), Verdict::NoneDone(_)), "{}", report),
            }
            let place = place.index(report.len());
            let damaged = format!("{}{patch}{}", &report[..place], &report[place + 1..]);
            if let Verdict::DoneBut(ids) = verdict(&damaged) {
                prop_assert!(ids.iter().all(|id| ["a", "b", "c"].contains(&id.as_str())), "{}", damaged);
            }
        }
    }
}
