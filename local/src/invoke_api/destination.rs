//! What is written to a queue about an asynchronous event that is over.
//!
//! A destination gets an invocation record, a dead-letter queue the event itself, as in the developer guide: "Capturing records of
//! Lambda asynchronous invocations" and "Adding a dead-letter queue".

use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::VERSION;

/// How many bytes of an error's message go to the dead-letter queue.
const MAX_ERROR_BYTES: usize = 1_024;

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Condition {
    Success,
    /// It failed as often as it may.
    RetriesExhausted,
    /// It became older than it may.
    EventAgeExceeded,
}

/// An event that is over.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub(super) request_id: &'a str,
    pub(super) function_arn: &'a str,
    pub(super) payload: &'a Bytes,
    pub(super) condition: Condition,
    /// How often the function was called.
    pub(super) attempts: u32,
    /// What it said in the end; nothing, if it was never called.
    pub(super) answer: Option<&'a Bytes>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: Json<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Json<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: &'a str,
    function_arn: String,
    condition: Condition,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

/// A payload in JSON: as it is, or, if it is no JSON, as a string.
#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    AsItIs(&'a RawValue),
    Text(String),
}

impl<'a> Json<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::AsItIs(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

impl Finished<'_> {
    /// The invocation record, version 1.0, in JSON.
    pub(super) fn record(&self, now: SystemTime) -> String {
        let function_error = match self.condition {
            Condition::Success => None,
            Condition::RetriesExhausted | Condition::EventAgeExceeded => Some("Unhandled"),
        };
        let record = Record {
            version: "1.0",
            timestamp: timestamp(now),
            request_context: RequestContext {
                request_id: self.request_id,
                function_arn: self.function_arn.to_owned(),
                condition: self.condition,
                approximate_invoke_count: self.attempts,
            },
            request_payload: Json::new(self.payload),
            response_context: self.answer.map(|_| ResponseContext {
                status_code: 200,
                executed_version: VERSION,
                function_error,
            }),
            response_payload: self.answer.map(|answer| Json::new(answer)),
        };
        serde_json::to_string(&record).expect("a record has nothing that is no JSON")
    }

    /// The attributes of the event in a dead-letter queue, as in SQS's JSON protocol.
    pub(super) fn dead_letter_attributes(&self) -> Value {
        let attribute = |kind, value: &str| json!({ "DataType": kind, "StringValue": value });
        json!({
            "RequestID": attribute("String", self.request_id),
            "ErrorCode": attribute("Number", "200"),
            "ErrorMessage": attribute("String", &self.error_message()),
        })
    }

    /// What the function said about its error, cut to what fits and made of characters that SQS takes; never empty.
    fn error_message(&self) -> String {
        let answer = self.answer.map(|answer| &answer[..]).unwrap_or_default();
        let told = serde_json::from_slice::<Value>(answer).ok();
        let told = told.as_ref().and_then(|error| error.get("errorMessage")?.as_str());
        let message = told.map_or_else(|| String::from_utf8_lossy(answer).into_owned(), str::to_owned);
        let printable = |character: char| match character {
            '\u{FFFE}' | '\u{FFFF}' => '\u{FFFD}',
            character if character.is_control() => ' ',
            character => character,
        };
        let mut message: String = message.chars().map(printable).collect();
        message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
        if message.is_empty() {
            message.push_str("the event became too old before the function could be called");
        }
        message
    }
}

/// In the form `2026-11-24T03:28:58.123Z`.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_millis(milliseconds)
        .fmt(Format::DateTime)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:orders:$LATEST";

    fn finished<'a>(condition: Condition, payload: &'a Bytes, answer: Option<&'a Bytes>) -> Finished<'a> {
        Finished {
            request_id: "id",
            function_arn: ARN,
            payload,
            condition,
            attempts: 3,
            answer,
        }
    }

    #[test]
    fn a_record_says_what_was_asked_and_what_was_answered() {
        let payload = Bytes::from_static(br#"{"order": 12345678901234567890123}"#);
        let answer = Bytes::from_static(br#"{"errorMessage":"no"}"#);
        let failed = finished(Condition::RetriesExhausted, &payload, Some(&answer));
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_573_755_365_568);
        assert_eq!(
            failed.record(time),
            "{\"version\":\"1.0\",\"timestamp\":\"2019-11-14T18:16:05.568Z\",\"requestContext\":{\"requestId\":\"id\",\
             \"functionArn\":\"arn:aws:lambda:us-east-1:000000000000:function:orders:$LATEST\",\
             \"condition\":\"RetriesExhausted\",\"approximateInvokeCount\":3},\
             \"requestPayload\":{\"order\": 12345678901234567890123},\
             \"responseContext\":{\"statusCode\":200,\"executedVersion\":\"$LATEST\",\"functionError\":\"Unhandled\"},\
             \"responsePayload\":{\"errorMessage\":\"no\"}}"
        );
    }

    #[test]
    fn the_record_of_a_success_has_no_error() {
        let (payload, answer) = (Bytes::from_static(b"{}"), Bytes::from_static(b"\"done\""));
        let record = finished(Condition::Success, &payload, Some(&answer)).record(SystemTime::now());
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["requestContext"]["condition"], "Success");
        assert_eq!(
            record["responseContext"],
            json!({ "statusCode": 200, "executedVersion": "$LATEST" })
        );
        assert_eq!(record["responsePayload"], "done");
    }

    #[test]
    fn an_answer_that_is_no_json_is_a_string_in_the_record() {
        let (payload, answer) = (Bytes::from_static(b"{}"), Bytes::from_static(b"plain \"text\" \xff"));
        let record = finished(Condition::Success, &payload, Some(&answer)).record(SystemTime::now());
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["responsePayload"], "plain \"text\" \u{FFFD}");
    }

    #[test]
    fn an_event_that_never_ran_has_no_response() {
        let payload = Bytes::from_static(b"{}");
        let expired = finished(Condition::EventAgeExceeded, &payload, None);
        let record: Value = serde_json::from_str(&expired.record(SystemTime::now())).unwrap();
        assert!(record.get("responseContext").is_none() && record.get("responsePayload").is_none());
        let attributes = expired.dead_letter_attributes();
        assert!(!attributes["ErrorMessage"]["StringValue"].as_str().unwrap().is_empty());
    }

    #[test]
    fn a_dead_letter_carries_the_beginning_of_the_error_in_characters_that_a_queue_takes() {
        let payload = Bytes::from_static(b"{}");
        let message = format!("line 1\nline 2\u{FFFE}{}", "ü".repeat(1_000));
        let answer = Bytes::from(json!({ "errorMessage": message }).to_string());
        let failed = finished(Condition::RetriesExhausted, &payload, Some(&answer));
        let attributes = failed.dead_letter_attributes();
        let told = attributes["ErrorMessage"]["StringValue"].as_str().unwrap();
        assert!(told.starts_with("line 1 line 2\u{FFFD}ü"), "{told}");
        assert!((1_020..=1_024).contains(&told.len()), "{}", told.len());
        assert_eq!(
            attributes["RequestID"],
            json!({ "DataType": "String", "StringValue": "id" })
        );
        assert_eq!(
            attributes["ErrorCode"],
            json!({ "DataType": "Number", "StringValue": "200" })
        );
    }
}
