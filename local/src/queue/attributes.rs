//! The attributes of a queue: their defaults, their limits, and what may be changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::MAX_BYTES;
use super::error::{Code, Error};

/// Attributes as they cross the wire.
pub(super) type AttributeMap = BTreeMap<String, String>;

/// Attributes that are kept and given back, and change nothing here: who may do what, and how it is encrypted.
const KEPT: [&str; 4] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "SqsManagedSseEnabled",
];

/// The longest visibility timeout, in seconds.
pub(super) const MAX_VISIBILITY: u32 = 43_200;
/// The longest delay, in seconds.
pub(super) const MAX_DELAY: u32 = 900;
/// The longest wait of a receive, in seconds.
pub(super) const MAX_WAIT: u32 = 20;

/// What can be said about a queue when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Seconds.
    pub(super) delay: u32,
    /// Bytes.
    pub(super) maximum_size: u32,
    /// Seconds.
    pub(super) retention: u32,
    /// Seconds.
    pub(super) wait: u32,
    /// Seconds.
    pub(super) visibility: u32,
    pub(super) redrive: Option<Redrive>,
    pub(super) redrive_allow: Option<RedriveAllow>,
    pub(super) fifo: Option<FifoAttributes>,
    kept: AttributeMap,
}

/// What a FIFO queue has in addition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FifoAttributes {
    /// Whether the digest of the body does for a deduplication id.
    pub(super) by_content: bool,
    /// Whether deduplication ids count for one group only.
    pub(super) by_group: bool,
    /// Has no effect here.
    limit_by_group: bool,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redrive {
    /// An ARN.
    pub(super) dead_letter_target_arn: String,
    #[serde(deserialize_with = "number_or_text")]
    pub(super) max_receive_count: u32,
}

/// Which queues may have this one as their dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RedriveAllow {
    redrive_permission: RedrivePermission,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    source_queue_arns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RedrivePermission {
    AllowAll,
    DenyAll,
    ByQueue,
}

impl RedriveAllow {
    pub(super) fn allows(&self, source: &str) -> bool {
        match self.redrive_permission {
            RedrivePermission::AllowAll => true,
            RedrivePermission::DenyAll => false,
            RedrivePermission::ByQueue => self.source_queue_arns.iter().any(|arn| arn == source),
        }
    }
}

/// AWS's own examples write the number as text.
fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u32),
        Text(String),
    }
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl Attributes {
    /// SQS's defaults.
    fn defaults(is_fifo: bool) -> Self {
        Self {
            delay: 0,
            maximum_size: u32::try_from(MAX_BYTES).unwrap_or(u32::MAX),
            retention: 345_600,
            wait: 0,
            visibility: 30,
            redrive: None,
            redrive_allow: None,
            fifo: is_fifo.then(FifoAttributes::default),
            kept: AttributeMap::new(),
        }
    }

    /// The attributes of a new queue.
    pub(super) fn new(name: &str, given: &AttributeMap) -> Result<Self, Error> {
        let is_fifo = given.get("FifoQueue").map(|text| flag("FifoQueue", text)).transpose()?;
        match (is_fifo, name.ends_with(".fifo")) {
            (Some(true), false) => Err(Error::value(
                "QueueName",
                name,
                "The name of a FIFO queue must end with '.fifo'.",
            )),
            (None, true) => Err(Error::value(
                "QueueName",
                name,
                "Only the name of a FIFO queue may end with '.fifo'; set the attribute FifoQueue to true.",
            )),
            (Some(false), _) => Err(Error::new(
                Code::InvalidAttributeValue,
                "FifoQueue can only be true; leave it out for a standard queue.",
            )),
            (_, is_fifo) => Self::defaults(is_fifo).with(given),
        }
    }

    /// These with some changed.
    pub(super) fn with(&self, given: &AttributeMap) -> Result<Self, Error> {
        let mut new = self.clone();
        for (name, value) in given {
            new.set(name, value)?;
        }
        match &new.fifo {
            Some(fifo) if fifo.limit_by_group && !fifo.by_group => Err(Error::new(
                Code::InvalidAttributeValue,
                "FifoThroughputLimit can be perMessageGroupId only if DeduplicationScope is messageGroup.",
            )),
            Some(_) | None => Ok(new),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match (name, &mut self.fifo) {
            ("DelaySeconds", _) => self.delay = number(name, value, 0, MAX_DELAY)?,
            ("MaximumMessageSize", _) => self.maximum_size = number(name, value, 1_024, 1_048_576)?,
            ("MessageRetentionPeriod", _) => self.retention = number(name, value, 60, 1_209_600)?,
            ("ReceiveMessageWaitTimeSeconds", _) => self.wait = number(name, value, 0, MAX_WAIT)?,
            ("VisibilityTimeout", _) => self.visibility = number(name, value, 0, MAX_VISIBILITY)?,
            ("RedrivePolicy", _) => self.redrive = redrive(value)?,
            ("RedriveAllowPolicy", _) => self.redrive_allow = redrive_allow(value)?,
            ("FifoQueue", Some(_)) if value == "true" => {}
            ("ContentBasedDeduplication", Some(fifo)) => fifo.by_content = flag(name, value)?,
            ("DeduplicationScope", Some(fifo)) => fifo.by_group = choice(name, value, "queue", "messageGroup")?,
            ("FifoThroughputLimit", Some(fifo)) => {
                fifo.limit_by_group = choice(name, value, "perQueue", "perMessageGroupId")?;
            }
            ("FifoQueue", _) => {
                let message = "FifoQueue is decided when the queue is made.";
                return Err(Error::new(Code::InvalidAttributeValue, message));
            }
            ("ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit", None) => {
                let message = format!("The attribute {name} is for FIFO queues only.");
                return Err(Error::new(Code::InvalidAttributeName, message));
            }
            (name, _) if KEPT.contains(&name) => {
                if value.is_empty() {
                    self.kept.remove(name);
                } else {
                    self.kept.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => {
                let message = format!("Unknown attribute {name}, or one that cannot be set.");
                return Err(Error::new(Code::InvalidAttributeName, message));
            }
        }
        Ok(())
    }

    /// All of them, as [`Self::with`] takes them.
    pub(super) fn to_map(&self) -> AttributeMap {
        let mut map = self.kept.clone();
        let mut put = |name: &str, value: String| map.insert(name.to_owned(), value);
        put("DelaySeconds", self.delay.to_string());
        put("MaximumMessageSize", self.maximum_size.to_string());
        put("MessageRetentionPeriod", self.retention.to_string());
        put("ReceiveMessageWaitTimeSeconds", self.wait.to_string());
        put("VisibilityTimeout", self.visibility.to_string());
        if let Some(redrive) = &self.redrive {
            put("RedrivePolicy", json(redrive));
        }
        if let Some(allow) = &self.redrive_allow {
            put("RedriveAllowPolicy", json(allow));
        }
        if let Some(fifo) = &self.fifo {
            let either = |is_group, group: &str, queue: &str| if is_group { group } else { queue }.to_owned();
            put("FifoQueue", "true".to_owned());
            put("ContentBasedDeduplication", fifo.by_content.to_string());
            put("DeduplicationScope", either(fifo.by_group, "messageGroup", "queue"));
            put(
                "FifoThroughputLimit",
                either(fifo.limit_by_group, "perMessageGroupId", "perQueue"),
            );
        }
        map
    }

    /// The name of an attribute that is given with another value than the one it has.
    pub(super) fn difference(&self, given: &AttributeMap) -> Result<Option<String>, Error> {
        let (old, new) = (self.to_map(), self.with(given)?.to_map());
        let mut names = given.keys();
        Ok(names.find(|name| old.get(*name) != new.get(*name)).cloned())
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a plain structure has a JSON form")
}

fn refused(name: &str, value: &str, reason: &str) -> Error {
    Error::new(
        Code::InvalidAttributeValue,
        format!("Invalid value {value:?} for the attribute {name}: {reason}."),
    )
}

fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, Error> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| refused(name, value, &format!("it must be a number from {least} to {most}")))
}

fn flag(name: &str, value: &str) -> Result<bool, Error> {
    choice(name, value, "false", "true")
}

/// Whether it is the second one.
fn choice(name: &str, value: &str, first: &str, second: &str) -> Result<bool, Error> {
    match value {
        _ if value == first => Ok(false),
        _ if value == second => Ok(true),
        _ => Err(refused(name, value, &format!("it must be {first} or {second}"))),
    }
}

/// An empty policy takes the old one away.
fn redrive(value: &str) -> Result<Option<Redrive>, Error> {
    const NAME: &str = "RedrivePolicy";
    if value.is_empty() {
        return Ok(None);
    }
    let redrive: Redrive =
        serde_json::from_str(value).map_err(|error| Error::value(NAME, value, &format!("{error}.")))?;
    if (1..=1_000).contains(&redrive.max_receive_count) {
        Ok(Some(redrive))
    } else {
        Err(Error::value(NAME, value, "maxReceiveCount must be from 1 to 1000."))
    }
}

fn redrive_allow(value: &str) -> Result<Option<RedriveAllow>, Error> {
    const NAME: &str = "RedriveAllowPolicy";
    if value.is_empty() {
        return Ok(None);
    }
    let allow: RedriveAllow =
        serde_json::from_str(value).map_err(|error| Error::value(NAME, value, &format!("{error}.")))?;
    let (is_by_queue, count) = (
        allow.redrive_permission == RedrivePermission::ByQueue,
        allow.source_queue_arns.len(),
    );
    if is_by_queue == (count > 0) && count <= 10 {
        Ok(Some(allow))
    } else {
        let reason = "sourceQueueArns, 1 to 10 of them, go with the permission byQueue, and only with that.";
        Err(Error::value(NAME, value, reason))
    }
}
