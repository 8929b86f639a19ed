//! What the kernel says that a process holds.

use std::fs;
use std::io;

/// What must not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Memory that is there, in KiB.
    pub memory_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Held {
    /// What the process with that id holds now.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn by(pid: i32) -> io::Result<Self> {
        Ok(Self {
            memory_kib: status(pid, "VmRSS")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: status(pid, "Threads")?,
        })
    }
}

/// The number with that name in the status of a process. Those of memory are in KiB.
///
/// # Errors
///
/// If there is no such process, or no such number.
pub fn status(pid: i32, name: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = status.lines().find_map(|line| {
        let text = line.strip_prefix(name)?.strip_prefix(':')?;
        text.trim_end_matches("kB").trim().parse().ok()
    });
    number.ok_or_else(|| io::Error::other(format!("no {name} in {status}")))
}
