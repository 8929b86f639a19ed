//! Sending: what a message has to fulfil, and what its sender is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::attributes::{Attributes, MAX_DELAY};
use super::clock::Moment;
use super::content::{self, Attribute, Content};
use super::error::{Code, Error};
use super::fifo::{Original, deduplication_key, sequence_number};
use super::messages::{Message, Number, Standing};
use super::state::State;
use super::store::Change;

/// The longest group id and the longest deduplication id, in characters.
const MAX_ID: usize = 128;

/// A message on its way into a queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Outgoing {
    #[serde(default)]
    message_body: Option<String>,
    #[serde(default)]
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: Option<BTreeMap<String, Attribute>>,
    #[serde(default)]
    message_system_attributes: Option<BTreeMap<String, Attribute>>,
    #[serde(default)]
    message_deduplication_id: Option<String>,
    #[serde(default)]
    message_group_id: Option<String>,
}

impl Outgoing {
    /// A message with this body.
    #[must_use]
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            message_body: Some(body.into()),
            ..Self::default()
        }
    }

    /// The same in a group; FIFO queues want one.
    #[must_use]
    pub fn in_group(self, group: impl Into<String>) -> Self {
        Self {
            message_group_id: Some(group.into()),
            ..self
        }
    }

    /// The same with a deduplication id; FIFO queues that do not make one of the body want one.
    #[must_use]
    pub fn with_deduplication_id(self, id: impl Into<String>) -> Self {
        Self {
            message_deduplication_id: Some(id.into()),
            ..self
        }
    }

    /// The same with a delay, in seconds, 0 to 900; for standard queues.
    #[must_use]
    pub fn delayed(self, seconds: u32) -> Self {
        Self {
            delay_seconds: Some(i64::from(seconds)),
            ..self
        }
    }

    /// What counts against the limit on a batch, in bytes.
    pub(super) fn size(&self) -> usize {
        let none = BTreeMap::new();
        let body = self.message_body.as_deref().unwrap_or_default();
        content::size(body, self.message_attributes.as_ref().unwrap_or(&none))
    }

    /// Checks it by the rules of a queue. The other values are its delay in seconds, if it has one of its own, and the key of
    /// its deduplication id, if the queue looks at such.
    fn check(self, queue: &Attributes) -> Result<(Content, Option<u32>, Option<String>), Error> {
        let body = self.message_body.ok_or_else(|| Error::missing("MessageBody"))?;
        content::check_body(&body)?;
        let attributes = self.message_attributes.unwrap_or_default();
        content::check_attributes(&attributes)?;
        let trace_header = content::trace_header(&self.message_system_attributes.unwrap_or_default())?;
        let (size, limit) = (content::size(&body, &attributes), queue.maximum_size);
        if u32::try_from(size).map_or(true, |size| size > limit) {
            let message = format!(
                "One or more parameters are invalid. Reason: the message has {size} bytes, of {limit} that may be."
            );
            return Err(Error::new(Code::InvalidParameterValue, message));
        }
        let group = self.message_group_id;
        check_id("MessageGroupId", group.as_deref())?;
        let given = self.message_deduplication_id;
        check_id("MessageDeduplicationId", given.as_deref())?;
        let delay = self.delay_seconds.map(delay).transpose()?;
        let (deduplication, key) = match &queue.fifo {
            None if given.is_some() => {
                let reason = "Only FIFO queues know it.";
                return Err(Error::value(
                    "MessageDeduplicationId",
                    given.unwrap_or_default(),
                    reason,
                ));
            }
            None => (None, None),
            Some(_) if delay.is_some_and(|delay| delay > 0) => {
                let reason =
                    "The delay of a FIFO queue is an attribute of the queue; its messages have none of their own.";
                return Err(Error::value("DelaySeconds", delay.unwrap_or_default(), reason));
            }
            Some(fifo) => {
                let group = group.as_deref().ok_or_else(|| Error::missing("MessageGroupId"))?;
                let by_content = || fifo.by_content.then(|| content::hexadecimal(&Sha256::digest(&body)));
                let id = given.or_else(by_content).ok_or_else(|| {
                    let message =
                        "The queue needs a MessageDeduplicationId, or the attribute ContentBasedDeduplication.";
                    Error::new(Code::InvalidParameterValue, message)
                })?;
                let key = deduplication_key(fifo.by_group.then_some(group), &id);
                (Some(id), Some(key))
            }
        };
        let content = Content {
            id: uuid::Uuid::new_v4().to_string(),
            body,
            attributes,
            trace_header,
            group,
            deduplication,
        };
        let delay = if queue.fifo.is_some() { None } else { delay };
        Ok((content, delay, key))
    }
}

fn delay(seconds: i64) -> Result<u32, Error> {
    let delay = u32::try_from(seconds).ok().filter(|delay| *delay <= MAX_DELAY);
    delay.ok_or_else(|| Error::value("DelaySeconds", seconds, "It must be from 0 to 900."))
}

fn check_id(name: &str, id: Option<&str>) -> Result<(), Error> {
    // Letters, digits and ASCII's punctuation.
    let is_allowed = |id: &str| (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    match id {
        Some(id) if !is_allowed(id) => {
            let reason = "It must be 1 to 128 letters, digits and punctuation characters of ASCII.";
            Err(Error::value(name, format!("{id:?}"), reason))
        }
        Some(_) | None => Ok(()),
    }
}

/// What the sender of a message is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// A UUID; that of the first message if this was the same again.
    pub message_id: String,
    /// Twenty digits; of FIFO queues.
    pub sequence_number: Option<String>,
    pub(super) body_digest: String,
    pub(super) attributes_digest: Option<String>,
    pub(super) system_attributes_digest: Option<String>,
}

impl Sent {
    fn new(content: &Content, number: Option<Number>) -> Self {
        Self {
            message_id: content.id.clone(),
            sequence_number: number.map(sequence_number),
            body_digest: content::body_digest(&content.body),
            attributes_digest: content::attributes_digest(&content.attributes),
            system_attributes_digest: content::trace_header_digest(content.trace_header.as_deref()),
        }
    }
}

impl State {
    pub(super) fn send(&mut self, name: &str, outgoing: Outgoing, now: Moment) -> Result<Sent, Error> {
        let (queue, _) = self.open(name, now)?;
        let delay_of_queue = queue.attributes.delay;
        let (content, delay, key) = outgoing.check(&queue.attributes)?;
        let original = |key| queue.fifo.as_ref()?.original(key);
        if let Some(original) = key.as_deref().and_then(original) {
            let sent = Sent::new(&content, Some(original.number));
            let message_id = original.id.clone();
            return Ok(Sent { message_id, ..sent });
        }
        let number = self.next_number();
        let (queue, changes) = self.open(name, now)?;
        let sent = Sent::new(&content, queue.fifo.as_ref().map(|_| number));
        if let (Some(fifo), Some(key)) = (&mut queue.fifo, key) {
            let original = Original::new(&content.id, number, now);
            changes.push(Change::Original(name.to_owned(), key.clone(), original.clone()));
            fifo.remember(key, original);
        }
        let message = Message {
            content: Arc::new(content),
            standing: Standing::new(now, delay.unwrap_or(delay_of_queue)),
        };
        queue.insert(number, message, now, changes);
        Ok(sent)
    }
}
