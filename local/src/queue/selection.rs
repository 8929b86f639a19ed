//! What of a queue, a message or a task is shown to those who ask for it.

use serde_json::{Map, Value, json};

use super::attributes::AttributeMap;
use super::content;
use super::error::{Code, Error};
use super::fifo::sequence_number;
use super::moves::{Move, Status};
use super::receiving::Received;

/// The attributes that queues can have.
const OF_QUEUES: [&str; 21] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication",
    "CreatedTimestamp",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "LastModifiedTimestamp",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "QueueArn",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

/// The system attributes that messages can have.
const OF_MESSAGES: [&str; 9] = [
    "AWSTraceHeader",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
    "SequenceNumber",
];

/// Refuses a name that is not among the known ones.
fn check(names: &[String], known: &[&str]) -> Result<(), Error> {
    let mut names = names.iter().map(String::as_str);
    match names.find(|name| *name != "All" && !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("Unknown attribute {name:?}.");
            Err(Error::new(Code::InvalidAttributeName, message))
        }
    }
}

fn is_in(names: &[String], name: &str) -> bool {
    names.iter().any(|wanted| wanted == "All" || wanted == name)
}

/// Those of a queue's attributes that are asked for.
pub(super) fn queue_attributes(mut all: AttributeMap, names: &[String]) -> Result<AttributeMap, Error> {
    check(names, &OF_QUEUES)?;
    all.retain(|name, _| is_in(names, name));
    Ok(all)
}

/// Which parts of messages a receive asks for.
pub(super) struct Selection<'a> {
    system: &'a [String],
    own: &'a [String],
    sender: &'a str,
}

impl<'a> Selection<'a> {
    /// `sender` is who seems to have sent all messages.
    pub(super) fn new(system: &'a [String], own: &'a [String], sender: &'a str) -> Result<Self, Error> {
        check(system, &OF_MESSAGES)?;
        Ok(Self { system, own, sender })
    }

    /// A message as it is handed out.
    pub(super) fn of(&self, received: &Received) -> Value {
        let content = &received.content;
        let mut message = Map::new();
        let mut put = |name: &str, value: Value| message.insert(name.to_owned(), value);
        put("MessageId", content.id.as_str().into());
        put("ReceiptHandle", received.handle.as_str().into());
        put("Body", content.body.as_str().into());
        put("MD5OfBody", content::body_digest(&content.body).into());
        let system = self.system_attributes(received);
        if !system.is_empty() {
            put("Attributes", system.into());
        }
        let own = content.attributes.iter();
        let own: Vec<_> = own.filter(|(name, _)| self.has_own(name)).collect();
        if let Some(digest) = content::attributes_digest(own.iter().copied()) {
            put("MD5OfMessageAttributes", digest.into());
            let own = own
                .into_iter()
                .map(|(name, attribute)| (name.clone(), json!(attribute)));
            put("MessageAttributes", own.collect::<Map<_, _>>().into());
        }
        message.into()
    }

    fn system_attributes(&self, received: &Received) -> Map<String, Value> {
        let (content, standing) = (&received.content, &received.standing);
        let sequence_number = content.deduplication.as_ref().map(|_| sequence_number(received.number));
        let first = standing.first_received.map(|first| first.milliseconds().to_string());
        let values = [
            ("AWSTraceHeader", content.trace_header.clone()),
            ("ApproximateFirstReceiveTimestamp", first),
            ("ApproximateReceiveCount", Some(standing.receives.to_string())),
            ("DeadLetterQueueSourceArn", standing.source.clone()),
            ("MessageDeduplicationId", content.deduplication.clone()),
            ("MessageGroupId", content.group.clone()),
            ("SenderId", Some(self.sender.to_owned())),
            ("SentTimestamp", Some(standing.sent.milliseconds().to_string())),
            ("SequenceNumber", sequence_number),
        ];
        let wanted = values.into_iter().filter(|(name, _)| is_in(self.system, name));
        wanted
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect()
    }

    /// Whether one of the sender's attributes is asked for: by name, by the beginning of it, or with all others.
    fn has_own(&self, name: &str) -> bool {
        self.own.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(prefix) => prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
            None => wanted == "All" || wanted == name,
        })
    }
}

/// A task that moves messages.
pub(super) fn move_task(task: &Move) -> Value {
    let handle = (task.status == Status::Running).then_some(&task.handle);
    let values = [
        ("TaskHandle", json!(handle)),
        ("Status", json!(task.status.name())),
        ("SourceArn", json!(task.source)),
        ("DestinationArn", json!(task.destination)),
        ("MaxNumberOfMessagesPerSecond", json!(task.rate)),
        ("ApproximateNumberOfMessagesMoved", json!(task.moved)),
        ("ApproximateNumberOfMessagesToMove", json!(task.to_move)),
        ("FailureReason", json!(task.failure)),
        ("StartedTimestamp", json!(task.started.milliseconds())),
    ];
    let values = values.into_iter().filter(|(_, value)| !value.is_null());
    values.map(|(name, value)| (name.to_owned(), value)).collect()
}
