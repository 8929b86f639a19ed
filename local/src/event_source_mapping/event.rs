//! Messages as the event that a function gets (runtime contract §10.6).

use std::collections::BTreeMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use serde::Serialize;

use crate::invocation::MAX_PAYLOAD_BYTES;

const HEAD: &[u8] = br#"{"Records":["#;
const TAIL: &[u8] = b"]}";

/// A message as a record: the member names of SQS events, in the order in which Lambda writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: BTreeMap<&'a str, &'a str>,
    message_attributes: BTreeMap<&'a str, Attribute<'a>>,
    md5_of_body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<&'a str>,
    event_source: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: &'a [String],
    binary_list_values: Vec<String>,
    data_type: &'a str,
}

impl<'a> Attribute<'a> {
    fn new(value: &'a MessageAttributeValue) -> Self {
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        Self {
            string_value: value.string_value(),
            binary_value: value.binary_value().map(|bytes| encode(bytes.as_ref())),
            string_list_values: value.string_list_values(),
            binary_list_values: value
                .binary_list_values()
                .iter()
                .map(|bytes| encode(bytes.as_ref()))
                .collect(),
            data_type: value.data_type(),
        }
    }
}

/// One message as JSON. `arn` and `region` are its queue's.
pub(super) fn record(message: &Message, arn: &str, region: &str) -> Vec<u8> {
    let system = message.attributes().into_iter().flatten();
    let own = message.message_attributes().into_iter().flatten();
    let record = Record {
        message_id: message.message_id().unwrap_or_default(),
        receipt_handle: message.receipt_handle().unwrap_or_default(),
        body: message.body().unwrap_or_default(),
        attributes: system.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        message_attributes: own
            .map(|(name, value)| (name.as_str(), Attribute::new(value)))
            .collect(),
        md5_of_body: message.md5_of_body().unwrap_or_default(),
        md5_of_message_attributes: message.md5_of_message_attributes(),
        event_source: "aws:sqs",
        event_source_arn: arn,
        aws_region: region,
    };
    serde_json::to_vec(&record).expect("texts are JSON")
}

/// The event with these records.
pub(super) fn event<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut event = HEAD.to_vec();
    for (index, record) in records.into_iter().enumerate() {
        if index > 0 {
            event.push(b',');
        }
        event.extend_from_slice(record);
    }
    event.extend_from_slice(TAIL);
    event.into()
}

/// How many of the records, from the first on, go into one event: at least one, and no more than [`MAX_PAYLOAD_BYTES`]
/// hold.
pub(super) fn fitting(sizes: impl IntoIterator<Item = usize>) -> usize {
    let mut total = HEAD.len() + TAIL.len();
    let fits = |size: &usize| {
        total += size + b",".len();
        // The last one has no comma behind it.
        total <= MAX_PAYLOAD_BYTES + b",".len()
    };
    sizes.into_iter().take_while(fits).count().max(1)
}

/// Whether the body is the one that the queue took the checksum of. The SDK does not look.
pub(super) fn is_intact(message: &Message) -> bool {
    let actual = || format!("{:x}", Md5::digest(message.body().unwrap_or_default()));
    message
        .md5_of_body()
        .is_none_or(|expected| expected.eq_ignore_ascii_case(&actual()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;
    use aws_sdk_sqs::types::MessageSystemAttributeName as Name;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(event: &[u8]) -> Value {
        serde_json::from_slice(event).unwrap()
    }

    #[test]
    fn a_message_has_every_member_that_lambda_writes_and_all_attributes_are_strings() {
        let text = MessageAttributeValue::builder()
            .data_type("Number.cents")
            .string_value("42");
        let binary = MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(Blob::new([0, 255]));
        let message = Message::builder()
            .message_id("id-1")
            .receipt_handle("handle")
            .body("line\n\"quoted\" \u{1F600}")
            .md5_of_body("b")
            .md5_of_message_attributes("a")
            .attributes(Name::ApproximateReceiveCount, "1")
            .attributes(Name::MessageGroupId, "g")
            .attributes(Name::from("AFutureAttribute"), "kept")
            .message_attributes("price", text.build().unwrap())
            .message_attributes("raw", binary.build().unwrap())
            .build();
        let record = record(&message, "arn:aws:sqs:eu-central-1:1:q.fifo", "eu-central-1");
        let expected = json!({ "Records": [{
            "messageId": "id-1",
            "receiptHandle": "handle",
            "body": "line\n\"quoted\" \u{1F600}",
            "attributes": { "ApproximateReceiveCount": "1", "MessageGroupId": "g", "AFutureAttribute": "kept" },
            "messageAttributes": {
                "price": {
                    "stringValue": "42", "stringListValues": [], "binaryListValues": [], "dataType": "Number.cents",
                },
                "raw": { "binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary" },
            },
            "md5OfBody": "b",
            "md5OfMessageAttributes": "a",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:1:q.fifo",
            "awsRegion": "eu-central-1",
        }] });
        assert_eq!(parsed(&event([record.as_slice()])), expected);
    }

    #[test]
    fn a_message_without_attributes_has_empty_objects_and_no_checksum_of_attributes() {
        let record = parsed(&record(&Message::builder().body("b").build(), "arn", "region"));
        assert_eq!(record["attributes"], json!({}));
        assert_eq!(record["messageAttributes"], json!({}));
        assert_eq!(record.get("md5OfMessageAttributes"), None);
    }

    #[test]
    fn records_are_in_the_order_of_their_messages() {
        let event = event([b"1".as_slice(), b"2", b"3"]);
        assert_eq!(parsed(&event), json!({ "Records": [1, 2, 3] }));
        assert_eq!(parsed(&super::event([])), json!({ "Records": [] }));
    }

    #[test]
    fn an_event_is_filled_up_to_the_limit_to_the_byte_and_no_further() {
        let room = MAX_PAYLOAD_BYTES - HEAD.len() - TAIL.len() - b",".len();
        let (first, second) = (room / 2, room - room / 2);
        assert_eq!(fitting([first, second]), 2);
        assert_eq!(fitting([first, second + 1]), 1);
        let records = [vec![b'1'; first], vec![b'2'; second]];
        assert_eq!(event(records.iter().map(Vec::as_slice)).len(), MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn a_record_that_is_too_large_goes_alone() {
        assert_eq!(fitting([MAX_PAYLOAD_BYTES, 1]), 1);
    }

    #[test]
    fn a_body_that_differs_from_its_checksum_is_noticed() {
        let message = |digest| Message::builder().body("hello").md5_of_body(digest).build();
        assert!(is_intact(&message("5d41402abc4b2a76b9719d911017c592")));
        assert!(is_intact(&message("5D41402ABC4B2A76B9719D911017C592")));
        assert!(!is_intact(&message("5d41402abc4b2a76b9719d911017c593")));
        assert!(is_intact(&Message::builder().body("hello").build()));
    }
}
