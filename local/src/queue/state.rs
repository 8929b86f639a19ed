//! All queues, and what can be done to one as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Settings;
use super::attributes::{AttributeMap, Attributes};
use super::clock::Moment;
use super::error::{Code, Error};
use super::fifo::Fifo;
use super::messages::{Message, Messages, Number, Standing};
use super::moves::Moves;
use super::store::{Change, Kept, Place, QueueRecord};

/// One queue.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    pub(super) attributes: Attributes,
    pub(super) tags: AttributeMap,
    pub(super) created: Moment,
    pub(super) modified: Moment,
    pub(super) messages: Messages,
    pub(super) fifo: Option<Fifo>,
    /// Tells those who wait for messages to look again.
    pub(super) changed: Arc<Notify>,
}

impl Queue {
    fn new(name: &str, attributes: Attributes, now: Moment) -> Self {
        let fifo = attributes.fifo.as_ref().map(|_| Fifo::default());
        Self {
            name: name.to_owned(),
            attributes,
            tags: AttributeMap::new(),
            created: now,
            modified: now,
            messages: Messages::default(),
            fifo,
            changed: Arc::default(),
        }
    }

    fn record(&self) -> Change {
        let record = QueueRecord {
            attributes: self.attributes.to_map(),
            tags: self.tags.clone(),
            created: self.created,
            modified: self.modified,
        };
        Change::Queue(self.name.clone(), record)
    }

    fn place(&self, standing: &Standing) -> Place {
        Place {
            queue: self.name.clone(),
            standing: standing.clone(),
        }
    }

    /// Lets time pass.
    fn advance(&mut self, now: Moment, changes: &mut Vec<Change>) {
        self.messages.advance(now);
        for number in self.messages.older_than(self.attributes.retention, now) {
            self.remove(number, changes);
        }
        if let Some(fifo) = &mut self.fifo {
            let forgotten = fifo.forget(now).into_iter();
            changes.extend(forgotten.map(|key| Change::OriginalGone(self.name.clone(), key)));
        }
    }

    /// Takes a message in and tells those who wait.
    pub(super) fn insert(&mut self, number: Number, message: Message, now: Moment, changes: &mut Vec<Change>) {
        let place = self.place(&message.standing);
        changes.push(Change::Message(number, Arc::clone(&message.content), place));
        self.put(number, message, now);
        self.changed.notify_waiters();
    }

    fn put(&mut self, number: Number, message: Message, now: Moment) {
        if let (Some(fifo), Some(group)) = (&mut self.fifo, &message.content.group) {
            fifo.join(group, number);
        }
        self.messages.insert(number, message, now);
    }

    pub(super) fn remove(&mut self, number: Number, changes: &mut Vec<Change>) -> Option<Message> {
        let message = self.messages.remove(number)?;
        if let (Some(fifo), Some(group)) = (&mut self.fifo, &message.content.group) {
            fifo.leave(group, number);
        }
        changes.push(Change::MessageGone(number));
        // The next of its group may be free now.
        self.changed.notify_waiters();
        Some(message)
    }

    /// Changes where a message stands.
    pub(super) fn change(
        &mut self,
        number: Number,
        now: Moment,
        changes: &mut Vec<Change>,
        change: impl FnOnce(&mut Standing),
    ) {
        if let Some(standing) = self
            .messages
            .change(number, now, change)
            .map(|message| message.standing.clone())
        {
            changes.push(Change::Place(number, self.place(&standing)));
        }
    }
}

/// All queues.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) queues: BTreeMap<String, Queue>,
    /// The number of the next message.
    next: Number,
    pub(super) moves: Moves,
    /// What is not yet handed to the store.
    pub(super) changes: Vec<Change>,
}

impl State {
    /// What was kept; nothing in the beginning. The error is a queue's name and what is wrong with its attributes.
    pub(super) fn new(settings: Settings, kept: Kept, now: Moment) -> Result<Self, String> {
        let mut queues = BTreeMap::new();
        for (name, record) in kept.queues {
            let attributes = Attributes::new(&name, &record.attributes).map_err(|error| format!("{name}: {error}"))?;
            let queue = Queue {
                tags: record.tags,
                created: record.created,
                modified: record.modified,
                ..Queue::new(&name, attributes, now)
            };
            queues.insert(name, queue);
        }
        let mut next = kept.next;
        for (number, content, Place { queue, standing }) in kept.messages {
            next = next.max(number + 1);
            if let Some(queue) = queues.get_mut(&queue) {
                let content = Arc::new(content);
                queue.put(number, Message { content, standing }, now);
            }
        }
        let mut originals = kept.originals;
        originals.sort_by_key(|(_, _, original)| original.until);
        for (queue, key, original) in originals {
            if let Some(fifo) = queues.get_mut(&queue).and_then(|queue| queue.fifo.as_mut()) {
                fifo.remember(key, original);
            }
        }
        Ok(Self {
            settings,
            queues,
            next,
            moves: Moves::default(),
            changes: Vec::new(),
        })
    }

    /// A queue as it is now, and where changes to it are noted.
    pub(super) fn open(&mut self, name: &str, now: Moment) -> Result<(&mut Queue, &mut Vec<Change>), Error> {
        let queue = self.queues.get_mut(name).ok_or_else(|| Error::no_queue(name))?;
        queue.advance(now, &mut self.changes);
        Ok((queue, &mut self.changes))
    }

    /// A number that no message has had.
    pub(super) fn next_number(&mut self) -> Number {
        let number = self.next;
        self.next += 1;
        self.changes.push(Change::Next(self.next));
        number
    }

    pub(super) fn arn(&self, name: &str) -> String {
        self.settings.arn(name)
    }

    /// The name of the queue with that ARN, if there is such a queue.
    pub(super) fn name_of(&self, arn: &str) -> Option<String> {
        let name = arn.strip_prefix(&self.arn(""))?;
        self.queues.contains_key(name).then(|| name.to_owned())
    }

    /// Makes a queue, if there is none of that name with these attributes.
    pub(super) fn create(
        &mut self,
        name: &str,
        given: &AttributeMap,
        tags: AttributeMap,
        now: Moment,
    ) -> Result<(), Error> {
        check_name(name)?;
        let attributes = Attributes::new(name, given)?;
        if let Some(queue) = self.queues.get(name) {
            return match queue.attributes.difference(given)? {
                None => Ok(()),
                Some(attribute) => Err(Error::new(
                    Code::QueueNameExists,
                    format!("There is a queue {name:?} already, with another value of the attribute {attribute}."),
                )),
            };
        }
        self.check_redrive(name, &attributes)?;
        let queue = Queue {
            tags,
            ..Queue::new(name, attributes, now)
        };
        self.changes.push(queue.record());
        self.queues.insert(name.to_owned(), queue);
        Ok(())
    }

    /// Whether the dead-letter queue is there, is of the same kind, and wants to be one.
    fn check_redrive(&self, name: &str, attributes: &Attributes) -> Result<(), Error> {
        let Some(redrive) = &attributes.redrive else {
            return Ok(());
        };
        let target = &redrive.dead_letter_target_arn;
        let refuse = |reason| Err(Error::value("RedrivePolicy", target, reason));
        let Some(queue) = self.name_of(target).and_then(|name| self.queues.get(&name)) else {
            return refuse("The dead-letter queue does not exist. Create it first.");
        };
        if queue.fifo.is_some() != attributes.fifo.is_some() {
            return refuse(
                "The dead-letter queue of a FIFO queue must be a FIFO queue, that of a standard one a standard one.",
            );
        }
        match &queue.attributes.redrive_allow {
            Some(allow) if !allow.allows(&self.arn(name)) => {
                refuse("The RedriveAllowPolicy of the dead-letter queue does not allow this queue.")
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn set_attributes(&mut self, name: &str, given: &AttributeMap, now: Moment) -> Result<(), Error> {
        let attributes = self.open(name, now)?.0.attributes.with(given)?;
        if given.contains_key("RedrivePolicy") {
            self.check_redrive(name, &attributes)?;
        }
        let (queue, changes) = self.open(name, now)?;
        queue.attributes = attributes;
        queue.modified = now;
        changes.push(queue.record());
        queue.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn change_tags(
        &mut self,
        name: &str,
        now: Moment,
        change: impl FnOnce(&mut AttributeMap),
    ) -> Result<(), Error> {
        let (queue, changes) = self.open(name, now)?;
        change(&mut queue.tags);
        changes.push(queue.record());
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Error> {
        let queue = self.queues.remove(name).ok_or_else(|| Error::no_queue(name))?;
        let changes = &mut self.changes;
        changes.push(Change::QueueGone(name.to_owned()));
        changes.extend(queue.messages.iter().map(|(number, _, _)| Change::MessageGone(number)));
        let keys = queue.fifo.iter().flat_map(Fifo::keys);
        changes.extend(keys.map(|key| Change::OriginalGone(name.to_owned(), key.clone())));
        queue.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn purge(&mut self, name: &str, now: Moment) -> Result<(), Error> {
        let (queue, changes) = self.open(name, now)?;
        let numbers: Vec<_> = queue.messages.iter().map(|(number, _, _)| number).collect();
        for number in numbers {
            queue.remove(number, changes);
        }
        Ok(())
    }

    /// All attributes of a queue, those that SQS computes as well.
    pub(super) fn attributes(&mut self, name: &str, now: Moment) -> Result<AttributeMap, Error> {
        let arn = self.arn(name);
        let queue = self.open(name, now)?.0;
        let counts = queue.messages.counts();
        let mut map = queue.attributes.to_map();
        let mut put = |name: &str, value: String| map.insert(name.to_owned(), value);
        put("ApproximateNumberOfMessages", counts.visible.to_string());
        put("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string());
        put("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string());
        put("CreatedTimestamp", queue.created.seconds().to_string());
        put("LastModifiedTimestamp", queue.modified.seconds().to_string());
        put("QueueArn", arn);
        Ok(map)
    }

    /// The names of the queues whose dead-letter queue this is.
    pub(super) fn sources_of(&mut self, name: &str, now: Moment) -> Result<Vec<String>, Error> {
        self.open(name, now)?;
        let arn = self.arn(name);
        let is_source = |queue: &&Queue| {
            let redrive = queue.attributes.redrive.as_ref();
            redrive.is_some_and(|redrive| redrive.dead_letter_target_arn == arn)
        };
        let sources = self.queues.values().filter(is_source);
        Ok(sources.map(|queue| queue.name.clone()).collect())
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=80).contains(&name.len()) && !stem.is_empty() && stem.bytes().all(is_allowed) {
        Ok(())
    } else {
        let reason = "A name is 1 to 80 letters, digits, '-' and '_'; that of a FIFO queue ends with '.fifo'.";
        Err(Error::value("QueueName", format!("{name:?}"), reason))
    }
}
