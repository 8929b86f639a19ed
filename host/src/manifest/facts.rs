//! What routes ask of an event, read from it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What routes ask of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFacts<'a> {
    /// The handler's name that the process was started with, without an extension.
    pub handler: Option<&'a str>,
    /// Method and path as they stand in the event, if it is an HTTP event.
    pub http: Option<(&'a str, &'a str)>,
    /// The ARN of what the event comes from.
    pub arn: Option<Cow<'a, str>>,
    /// What AWS calls the service the event comes from.
    pub source: Option<Cow<'a, str>>,
}

impl<'a> EventFacts<'a> {
    /// ARN and source of an event that is no HTTP event (runtime contract §10.1, §10.6 and §10.7).
    ///
    /// They are those of the first of its records; else those of an EventBridge event, with the first of its resources
    /// as ARN; else what pollers write at the top. Anything missing, or of an odd type, is absent.
    pub fn of(event: &'a [u8]) -> Self {
        let (source, arn) = match serde_json::from_slice::<Envelope<'a>>(event) {
            Ok(envelope) => envelope.origin(),
            Err(_) => (None, None),
        };
        Self {
            arn,
            source,
            ..Self::default()
        }
    }
}

type Member<'a> = Option<&'a RawValue>;
type Text<'a> = Option<Cow<'a, str>>;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Records")]
    records: Member<'a>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Member<'a>,
    #[serde(borrow)]
    source: Member<'a>,
    #[serde(borrow)]
    resources: Member<'a>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Member<'a>,
    #[serde(borrow, rename = "eventSourceArn")]
    event_source_arn: Member<'a>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, rename = "eventSource", alias = "EventSource")]
    source: Member<'a>,
    #[serde(borrow, rename = "eventSourceARN")]
    arn: Member<'a>,
    #[serde(borrow, rename = "Sns")]
    notification: Member<'a>,
    #[serde(borrow)]
    s3: Member<'a>,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow, rename = "TopicArn")]
    topic: Member<'a>,
}

#[derive(Deserialize)]
struct Storage<'a> {
    #[serde(borrow)]
    bucket: Member<'a>,
}

#[derive(Deserialize)]
struct StorageBucket<'a> {
    #[serde(borrow)]
    arn: Member<'a>,
}

impl<'a> Envelope<'a> {
    /// Source and ARN.
    fn origin(&self) -> (Text<'a>, Text<'a>) {
        if let Some(record) = first::<Record<'a>>(self.records) {
            return (text(record.source), record.origin());
        }
        if text(self.detail_type).is_some() {
            return (
                text(self.source),
                first::<&RawValue>(self.resources).and_then(|resource| text(Some(resource))),
            );
        }
        (text(self.event_source), text(self.event_source_arn))
    }
}

impl<'a> Record<'a> {
    fn origin(&self) -> Text<'a> {
        let topic = || text(read::<Notification<'a>>(self.notification)?.topic);
        let bucket = || text(read::<StorageBucket<'a>>(read::<Storage<'a>>(self.s3)?.bucket)?.arn);
        text(self.arn).or_else(topic).or_else(bucket)
    }
}

fn read<'a, T: Deserialize<'a>>(member: Member<'a>) -> Option<T> {
    serde_json::from_str(member?.get()).ok()
}

fn text<'a>(member: Member<'a>) -> Text<'a> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    read::<Borrowed<'a>>(member).map(|text| text.0)
}

/// The first element of a list, without a look at the others.
fn first<'a, T: Deserialize<'a>>(list: Member<'a>) -> Option<T> {
    let elements = list?.get().strip_prefix('[')?;
    serde_json::Deserializer::from_str(elements).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(event: &str) -> (Option<String>, Option<String>) {
        let facts = EventFacts::of(event.as_bytes());
        (facts.source.map(Cow::into_owned), facts.arn.map(Cow::into_owned))
    }

    #[track_caller]
    fn assert_facts(event: &str, source: &str, arn: Option<&str>) {
        assert_eq!(facts(event), (Some(source.to_owned()), arn.map(str::to_owned)));
    }

    #[test]
    fn source_and_arn_are_found_where_each_service_writes_them() {
        assert_facts(
            r#"{"Records": [ {"messageId": "1", "eventSource": "aws:sqs", "eventSourceARN": "arn:q"}, 5]}"#,
            "aws:sqs",
            Some("arn:q"),
        );
        assert_facts(
            r#"{"Records":[{"EventSource":"aws:sns","Sns":{"TopicArn":"arn:t","Message":"x"}}]}"#,
            "aws:sns",
            Some("arn:t"),
        );
        assert_facts(
            r#"{"Records":[{"eventSource":"aws:s3","s3":{"bucket":{"name":"b","arn":"arn:b"},"object":{}}}]}"#,
            "aws:s3",
            Some("arn:b"),
        );
        assert_facts(
            r#"{"detail-type":"Scheduled Event","source":"aws.events","resources":["arn:r","arn:s"]}"#,
            "aws.events",
            Some("arn:r"),
        );
        assert_facts(
            r#"{"detail-type":"OrderPlaced","source":"com.example.shop","resources":[]}"#,
            "com.example.shop",
            None,
        );
        assert_facts(
            r#"{"eventSource":"aws:kafka","eventSourceArn":"arn:k","records":{"t-0":[]}}"#,
            "aws:kafka",
            Some("arn:k"),
        );
        assert_facts(r#"{"Records":[{"eventSource":"aws\u003asqs"}]}"#, "aws:sqs", None);
    }

    #[test]
    fn anything_else_has_no_facts() {
        for event in [
            "",
            "null",
            "[]",
            "{}",
            "5",
            "{",
            r#"{"Records":[]}"#,
            r#"{"Records":null,"detail-type":null,"source":"x"}"#,
            r#"{"Records":[null]}"#,
            r#"{"Records":[[]]}"#,
            r#"{"Records":{"eventSource":"aws:sqs"}}"#,
            r#"{"Records":[{"eventSource":5,"eventSourceARN":{},"Sns":[],"s3":7}]}"#,
            r#"{"Records":[{"s3":{"bucket":"b"}}]}"#,
            r#"{"source":"aws.events"}"#,
            r#"{"detail-type":{},"source":"x"}"#,
        ] {
            assert_eq!(facts(event), (None, None), "{event}");
        }
        assert_eq!(EventFacts::of(b"\xff\xfe"), EventFacts::default());
    }

    #[test]
    fn an_odd_member_does_not_hide_the_others() {
        assert_facts(
            r#"{"Records":[{"eventSource":"aws:sqs","eventSourceARN":5}]}"#,
            "aws:sqs",
            None,
        );
        assert_facts(r#"{"detail-type":"x","source":"s","resources":{"a":1}}"#, "s", None);
    }
}
