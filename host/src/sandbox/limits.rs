//! What one sandbox may use, summed over all of its memories and tables, and what it did use.

use std::sync::Arc;

use wasmtime::{Error, ResourceLimiter, Result};

use super::Output;

/// The limits of one sandbox. The defaults are for a guest that the host does not trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, summed over all memories, in bytes.
    pub memory_bytes: u64,
    /// The number of linear memories.
    pub memories: usize,
    /// The number of tables.
    pub tables: usize,
    /// Entries summed over all tables, of 8 bytes each.
    pub table_entries: usize,
    /// The number of core instances.
    pub instances: usize,
    /// The stack of compiled code, in bytes.
    pub stack_bytes: usize,
    /// Handles to resources that the guest holds.
    pub handles: usize,
    /// Files, streams and pollables that the host holds for the guest.
    pub resources: usize,
    /// Data that the guest may pass to the host in one call, in bytes. Answers are passed so, too.
    pub host_call_bytes: usize,
    /// Random bytes that the guest may ask for in one call.
    pub random_bytes: u64,
    /// Output to stdout and stderr per event, in bytes; the rest is cut off with a notice.
    pub output_bytes: u64,
    /// Files in the guest's own `/tmp`: the sum of their sizes, in bytes.
    pub tmp_bytes: u64,
    /// Files, directories and links in the guest's own `/tmp`.
    pub tmp_entries: usize,
}

impl Limits {
    /// What is enough for sandboxes of both kinds.
    pub fn largest(self, other: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            memories: self.memories.max(other.memories),
            tables: self.tables.max(other.tables),
            table_entries: self.table_entries.max(other.table_entries),
            instances: self.instances.max(other.instances),
            stack_bytes: self.stack_bytes.max(other.stack_bytes),
            handles: self.handles.max(other.handles),
            resources: self.resources.max(other.resources),
            host_call_bytes: self.host_call_bytes.max(other.host_call_bytes),
            random_bytes: self.random_bytes.max(other.random_bytes),
            output_bytes: self.output_bytes.max(other.output_bytes),
            tmp_bytes: self.tmp_bytes.max(other.tmp_bytes),
            tmp_entries: self.tmp_entries.max(other.tmp_entries),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            memories: 8,
            tables: 16,
            table_entries: 1_000_000,
            instances: 64,
            stack_bytes: 512 << 10,
            handles: 1000,
            resources: 256,
            // The largest answer twice over: whoever gives a larger one, or fails with many words, is to learn so.
            host_call_bytes: 12 << 20,
            random_bytes: 64 << 10,
            output_bytes: 1 << 20,
            // What Lambda gives a function that asks for nothing else.
            tmp_bytes: 512 << 20,
            // As many as can be removed before the next event without anybody noticing.
            tmp_entries: 10_000,
        }
    }
}

/// Counts what a store uses and refuses what exceeds the limits.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    output: Arc<Output>,
    memory_bytes: u64,
    peak_memory_bytes: u64,
    table_entries: usize,
    /// What was asked for by the request under way, to be given back should it fail.
    pending: Pending,
    refused_memory: Option<RefusedAt>,
    refused_table: bool,
}

/// What the guest had written when it was last refused memory.
#[derive(Debug, Clone, Copy)]
struct RefusedAt {
    written_lines: u64,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    None,
    Memory(u64),
    Table(usize),
}

impl Limiter {
    pub(super) fn new(limits: &Limits, output: &Arc<Output>) -> Self {
        Self {
            limits: limits.clone(),
            output: Arc::clone(output),
            memory_bytes: 0,
            peak_memory_bytes: 0,
            table_entries: 0,
            pending: Pending::None,
            refused_memory: None,
            refused_table: false,
        }
    }

    /// The limit that was hit, if the guest asked for more memory than it may have, and did not go on without: since then it
    /// has got none, and if it has written anything, it was about memory.
    pub(super) fn refused_memory(&self) -> Option<u64> {
        let RefusedAt { written_lines } = self.refused_memory?;
        let words = self.output.words_since(written_lines).to_lowercase();
        let is_about_memory = words.is_empty() || ["memory", "alloc", "oom"].iter().any(|word| words.contains(word));
        is_about_memory.then_some(self.limits.memory_bytes)
    }

    /// The limit that was hit, if the guest asked for more table entries than it may have.
    pub(super) fn refused_table(&self) -> Option<usize> {
        self.refused_table.then_some(self.limits.table_entries)
    }

    /// Forgets refusals of an earlier event.
    pub(super) fn begin(&mut self) {
        self.refused_memory = None;
        self.refused_table = false;
    }

    /// The most memory in use at any time, in bytes.
    pub(super) fn peak_memory_bytes(&self) -> u64 {
        self.peak_memory_bytes
    }

    fn give_back(&mut self) {
        match std::mem::replace(&mut self.pending, Pending::None) {
            Pending::None => {}
            Pending::Memory(bytes) => self.memory_bytes = self.memory_bytes.saturating_sub(bytes),
            Pending::Table(entries) => self.table_entries = self.table_entries.saturating_sub(entries),
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.pending = Pending::None;
        let growth = desired.saturating_sub(current) as u64;
        if self.memory_bytes.saturating_add(growth) > self.limits.memory_bytes {
            self.refused_memory = Some(RefusedAt {
                written_lines: self.output.written_lines(),
            });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.refused_memory = None;
        self.memory_bytes += growth;
        self.peak_memory_bytes = self.peak_memory_bytes.max(self.memory_bytes);
        self.pending = Pending::Memory(growth);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.pending = Pending::None;
        let growth = desired.saturating_sub(current);
        if self.table_entries.saturating_add(growth) > self.limits.table_entries {
            self.refused_table = true;
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_entries += growth;
        self.pending = Pending::Table(growth);
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory_bytes: u64) -> Limiter {
        let limits = Limits {
            memory_bytes,
            table_entries: 10,
            ..Limits::default()
        };
        let log = crate::telemetry::Log::new(&crate::telemetry::Config::FALLBACK);
        Limiter::new(&limits, &Arc::new(Output::new(log, 0)))
    }

    #[test]
    fn a_guest_that_got_less_after_a_refusal_has_coped() {
        let mut limiter = limiter(100);
        assert!(!limiter.memory_growing(0, 101, None).unwrap());
        assert_eq!(limiter.refused_memory(), Some(100));
        assert!(limiter.memory_growing(0, 50, None).unwrap());
        assert_eq!(limiter.refused_memory(), None);
    }

    #[test]
    fn two_memories_share_one_limit() {
        let mut limiter = limiter(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert_eq!(limiter.refused_memory(), Some(100));
        assert_eq!(limiter.peak_memory_bytes(), 100);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let mut limiter = limiter(100);
        assert!(limiter.memory_growing(0, 100, None).unwrap());
        limiter.memory_grow_failed(Error::msg("out of address space")).unwrap();
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn tables_share_one_limit_too() {
        let mut limiter = limiter(100);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert_eq!(limiter.refused_table(), Some(10));
        assert_eq!(limiter.refused_memory(), None);
    }
}
