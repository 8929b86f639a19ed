//! The queues as the page knows them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::queue::{Outgoing, Queues};

/// What the page may do with queues.
pub trait QueueDoor: fmt::Debug + Send + Sync {
    /// The queues, in the order in which they are shown. Asked for about once a second while somebody looks.
    fn queues(&self) -> Vec<QueueStatus>;

    /// Sends one message. An error is in words for the reader of the page.
    fn send<'a>(&'a self, queue: &'a str, body: &'a str) -> Sending<'a>;
}

/// A message on its way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: String,
    /// The messages that can be received, now or after their delay.
    pub waiting: u64,
    /// The messages that somebody has received and not deleted.
    pub in_flight: u64,
}

impl QueueDoor for Queues {
    fn queues(&self) -> Vec<QueueStatus> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let queues = self.list().into_iter();
        queues
            .map(|queue| QueueStatus {
                name: queue.name,
                waiting: count(queue.counts.visible + queue.counts.delayed),
                in_flight: count(queue.counts.in_flight),
            })
            .collect()
    }

    fn send<'a>(&'a self, queue: &'a str, body: &'a str) -> Sending<'a> {
        let mut message = Outgoing::new(body);
        if self.list().iter().any(|known| known.name == queue && known.is_fifo) {
            // Messages of the page are in order among themselves, and no two of them are the same.
            let id = uuid::Uuid::new_v4().to_string();
            message = message.in_group("page").with_deduplication_id(id);
        }
        Box::pin(async move {
            let sent = self.send(queue, message).await;
            sent.map(drop).map_err(|error| error.to_string())
        })
    }
}
