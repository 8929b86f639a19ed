//! The messages that are being handled: none twice at a time, and of a group no two batches at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who is at work on what. Clones are handles to one and the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Mutex<Claims>>);

#[derive(Debug, Default)]
struct Claims {
    ids: HashSet<String>,
    /// The batch that a group's messages are in, and how many they are.
    groups: HashMap<String, (u64, usize)>,
    last_batch: u64,
}

/// The right to handle one message; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    running: Running,
    id: String,
    group: Option<String>,
    holds_group: bool,
}

impl Running {
    /// The number of a new batch.
    pub(super) fn batch(&self) -> u64 {
        let mut claims = self.lock();
        claims.last_batch += 1;
        claims.last_batch
    }

    /// The right to handle the message in that batch. `None` if it is being handled, or if another batch has messages
    /// of its group.
    pub(super) fn claim(&self, batch: u64, id: &str, group: Option<&str>) -> Option<Claim> {
        let mut claims = self.lock();
        let is_others = |group| claims.groups.get(group).is_some_and(|(owner, _)| *owner != batch);
        if claims.ids.contains(id) || group.is_some_and(is_others) {
            return None;
        }
        claims.ids.insert(id.to_owned());
        if let Some(group) = group {
            claims.groups.entry(group.to_owned()).or_insert((batch, 0)).1 += 1;
        }
        Some(Claim {
            running: self.clone(),
            id: id.to_owned(),
            group: group.map(str::to_owned),
            holds_group: group.is_some(),
        })
    }

    /// How many messages are being handled.
    pub(super) fn count(&self) -> usize {
        self.lock().ids.len()
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Lets other batches have messages of the group. To be called before a message is deleted: the queue gives the
    /// next one away at once.
    pub(super) fn leave_group(&mut self) {
        let Some(group) = self.group.as_ref().filter(|_| self.holds_group) else {
            return;
        };
        self.holds_group = false;
        let groups = &mut self.running.lock().groups;
        if let Some((_, count)) = groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                groups.remove(group);
            }
        }
    }

    /// The message's group, if groups have an order.
    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leave_group();
        self.running.lock().ids.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_being_handled_is_not_handled_again_until_it_is_over() {
        let running = Running::default();
        let (one, other) = (running.batch(), running.batch());
        let claim = running.claim(one, "a", None).unwrap();
        assert!(running.claim(other, "a", None).is_none());
        assert!(running.claim(one, "a", None).is_none(), "not in the same batch either");
        assert!(running.claim(other, "b", None).is_some());
        drop(claim);
        assert_eq!(running.count(), 0);
        assert!(running.claim(other, "a", None).is_some());
    }

    #[test]
    fn a_group_is_in_one_batch_until_all_its_messages_are_over() {
        let running = Running::default();
        let (one, other) = (running.batch(), running.batch());
        let mut first = running.claim(one, "a", Some("g")).unwrap();
        let second = running.claim(one, "b", Some("g")).unwrap();
        first.leave_group();
        drop(first);
        assert!(running.claim(other, "c", Some("g")).is_none());
        assert!(running.claim(other, "d", Some("h")).is_some());
        drop(second);
        assert!(running.claim(other, "c", Some("g")).is_some());
    }
}
