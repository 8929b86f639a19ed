//! Batches of records, taken apart: one event per record, in which order, and what to report of them in the end.
//!
//! SQS, Kinesis and DynamoDB streams deliver several records in one event and take an answer that names those to
//! deliver again (runtime contract §10.6). Nothing here runs anything: [`Batch`] is what arrived, [`Progress`] is how
//! far it is, and [`record_outcome`] is what a guest's answer says.

mod outcome;
mod progress;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use outcome::{Reason, record_outcome};
pub use progress::{Progress, Standing, Tally};

/// An event that is a batch, with its records byte for byte.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The event up to its first record.
    head: Bytes,
    /// The event from after its last record.
    tail: Bytes,
    records: Vec<Bytes>,
    identifiers: Arc<[String]>,
    /// For each record the next one that must wait for it.
    followers: Vec<Option<usize>>,
}

/// Why an event is passed to the guest as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undivided {
    /// It is no batch: it has no records of SQS, Kinesis or DynamoDB.
    NoBatch,
    /// It is one, but its records could not be reported one by one. The reason deserves a warning.
    Unreportable(String),
}

impl Batch {
    /// Takes an event apart.
    ///
    /// # Errors
    ///
    /// [`Undivided::NoBatch`], and [`Undivided::Unreportable`] for a batch with a record that has no identifier or is
    /// of another source, and for one of a time window: its answers carry a state from batch to batch, which records
    /// alone do not have.
    pub fn parse(event: &Bytes) -> Result<Self, Undivided> {
        let envelope: Envelope<'_> = serde_json::from_slice(event).map_err(|_| Undivided::NoBatch)?;
        let list = envelope.records.get();
        let raw_records: Vec<&RawValue> = serde_json::from_str(list).map_err(|_| Undivided::NoBatch)?;
        let first = raw_records.first().ok_or(Undivided::NoBatch)?;
        let source = Source::of(first).ok_or(Undivided::NoBatch)?;
        if envelope.window.is_some() {
            return Err(unreportable(
                "it belongs to a time window, whose state goes from batch to batch",
            ));
        }
        let mut identifiers = Vec::with_capacity(raw_records.len());
        let mut lanes = Lanes::default();
        for (index, raw) in raw_records.iter().enumerate() {
            let place = || format!("record {} of {}", index + 1, raw_records.len());
            let record = Record::parse(raw).ok_or_else(|| unreportable(format!("{} cannot be read", place())))?;
            if Source::named(&record.source) != Some(source) {
                return Err(unreportable(format!(
                    "{} comes from another source than the first",
                    place()
                )));
            }
            let identifier = record.identifier(source).filter(|identifier| !identifier.is_empty());
            let identifier = identifier.ok_or_else(|| unreportable(format!("{} has no identifier", place())))?;
            lanes.add(record.lane(source, identifier));
            identifiers.push(identifier.to_owned());
        }
        // The list is a part of the event, with a bracket at either end.
        let start = list.as_ptr() as usize - event.as_ptr() as usize;
        Ok(Self {
            head: event.slice(..start + 1),
            tail: event.slice(start + list.len() - 1..),
            records: raw_records
                .iter()
                .map(|raw| event.slice_ref(raw.get().as_bytes()))
                .collect(),
            identifiers: identifiers.into(),
            followers: lanes.followers,
        })
    }

    /// The number of records; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The event with this record alone, and everything else of it as it was.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn event(&self, index: usize) -> Bytes {
        [&self.head[..], &self.records[index], &self.tail].concat().into()
    }

    /// What the record is called in the answer.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn identifier(&self, index: usize) -> &str {
        &self.identifiers[index]
    }
}

fn unreportable(reason: impl Into<String>) -> Undivided {
    Undivided::Unreportable(reason.into())
}

/// Where the records of a batch come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Queue,
    Kinesis,
    DynamoDb,
}

impl Source {
    fn of(record: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Origin<'a> {
            #[serde(borrow, rename = "eventSource")]
            source: Cow<'a, str>,
        }
        let origin: Origin<'_> = serde_json::from_str(record.get()).ok()?;
        Self::named(&origin.source)
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "aws:sqs" => Some(Self::Queue),
            "aws:kinesis" => Some(Self::Kinesis),
            "aws:dynamodb" => Some(Self::DynamoDb),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Records")]
    records: &'a RawValue,
    #[serde(borrow)]
    window: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, rename = "eventSource")]
    source: Cow<'a, str>,
    #[serde(borrow, default, rename = "eventSourceARN")]
    source_arn: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "messageId")]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    attributes: Option<Attributes<'a>>,
    #[serde(borrow, default)]
    kinesis: Option<StreamRecord<'a>>,
    #[serde(borrow, default)]
    dynamodb: Option<StreamRecord<'a>>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow, default, rename = "MessageGroupId")]
    group: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StreamRecord<'a> {
    #[serde(borrow, default, rename = "sequenceNumber", alias = "SequenceNumber")]
    sequence_number: Option<Cow<'a, str>>,
}

impl<'a> Record<'a> {
    fn parse(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    fn identifier(&self, source: Source) -> Option<&str> {
        match source {
            Source::Queue => self.message_id.as_deref(),
            Source::Kinesis => self.kinesis.as_ref()?.sequence_number.as_deref(),
            Source::DynamoDb => self.dynamodb.as_ref()?.sequence_number.as_deref(),
        }
    }

    /// What the record shares with those it must not run beside, or overtake.
    ///
    /// A queue is FIFO by its name: messages of a standard queue may have groups, too, for fairness, and have no order.
    /// Copies of a message follow each other, so that none runs beside the other. A stream is one row.
    fn lane(&self, source: Source, identifier: &str) -> String {
        let is_fifo = self.source_arn.as_deref().is_some_and(|arn| arn.ends_with(".fifo"));
        match source {
            Source::Queue if is_fifo => {
                let group = self
                    .attributes
                    .as_ref()
                    .and_then(|attributes| attributes.group.as_deref());
                group.unwrap_or_default().to_owned()
            }
            Source::Queue => identifier.to_owned(),
            Source::Kinesis | Source::DynamoDb => String::new(),
        }
    }
}

/// Records in rows: in each, one after the other.
#[derive(Default)]
struct Lanes {
    last: HashMap<String, usize>,
    followers: Vec<Option<usize>>,
}

impl Lanes {
    fn add(&mut self, lane: String) {
        let index = self.followers.len();
        self.followers.push(None);
        if let Some(leader) = self.last.insert(lane, index) {
            self.followers[leader] = Some(index);
        }
    }
}
