//! This machine: what the engine can use of its processor, its kernel and its memory.

use std::fs;

use bytesize::ByteSize;
use orlop_host::engine::{Cpu, Target};

use super::Finding;

/// The first version of Linux that can tell which pages of a memory were written to.
const PAGEMAP_SCAN_SINCE: (u32, u32) = (6, 7);
/// What a pool of sandboxes reserves of the address space, in bytes; nearly all of it is never used.
const POOL_BYTES: u64 = 16 << 30;
/// Less memory than this, and interpreters of other languages are not compiled, in bytes.
const COMFORTABLE_BYTES: u64 = 2 << 30;

pub(super) fn examine() -> Vec<Finding> {
    vec![processor(), kernel(), address_space(), memory()]
}

fn processor() -> Finding {
    match (Target::host(), Cpu::native()) {
        (Some(_), Some(cpu)) => Finding::good("processor", format!("runs code for {cpu}")),
        (Some(target), None) => Finding::problem(
            "processor",
            format!("is less than the least {} that code is compiled for", target.triple()),
            "use another machine",
        ),
        (None, _) => Finding::problem(
            "processor",
            "Lambda offers none like this machine's",
            "name the function's with `orlop build --target TRIPLE`, and run it elsewhere",
        ),
    }
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        Some(version) if version >= PAGEMAP_SCAN_SINCE => Finding::good(
            "kernel",
            format!("Linux {release}, with PAGEMAP_SCAN for fresh sandboxes"),
        ),
        Some(_) => Finding::good(
            "kernel",
            format!(
                "Linux {release}, without PAGEMAP_SCAN: a fresh sandbox of a large component takes a little longer"
            ),
        ),
        None => Finding::warning(
            "kernel",
            "its version cannot be read from /proc",
            "mount /proc; the runtime restarts through it after an overrun, and the compiler runs through it",
        ),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn address_space() -> Finding {
    match limit("Max address space") {
        Some(bytes) if bytes < POOL_BYTES => Finding::warning(
            "address space",
            format!(
                "limited to {}, too little for a pool of sandboxes; they are made one by one, which is slower",
                ByteSize(bytes).display().iec()
            ),
            "`ulimit -v unlimited`",
        ),
        Some(_) | None => Finding::good("address space", "enough"),
    }
}

/// A limit of this process in bytes, if there is one.
fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn memory() -> Finding {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes << 10)
    });
    match available {
        Some(bytes) if bytes < COMFORTABLE_BYTES => Finding::warning(
            "memory",
            format!(
                "{} available; compiling interpreters of other languages takes more",
                ByteSize(bytes).display().iec()
            ),
            "end other programs, or compile elsewhere",
        ),
        Some(bytes) => Finding::good("memory", format!("{} available", ByteSize(bytes).display().iec())),
        None => Finding::good("memory", "the system does not say how much is available"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_distributions_are_read() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.10.234-225.895.amzn2.x86_64"), Some((5, 10)));
        assert_eq!(version("6.8-rc1"), Some((6, 8)));
        assert_eq!(version("unknown"), None);
    }
}
