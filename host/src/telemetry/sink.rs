//! Where lines go: stderr, or the descriptor that Lambda names, framed.
//!
//! A reader that has stopped reading must not stop the function. A pipe is written only while it takes bytes; when it stays
//! full, lines are dropped, counted, and the count is told once the reader is back.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_setfd};

use super::{Format, Level};

/// How long a full pipe is waited for before lines are dropped. While it stays full, no line waits again.
const PATIENCE: Duration = Duration::from_millis(200);
/// A pipe that polls as writable takes this many bytes without blocking (POSIX's `PIPE_BUF` on Linux).
const ATOMIC_WRITE_BYTES: usize = 4096;

/// The destination of log lines. One writer at a time.
#[derive(Debug)]
pub struct Sink {
    is_framed: bool,
    output: Mutex<Output>,
}

#[derive(Debug)]
struct Output {
    /// Never closed: stderr is not ours to close, and a frame descriptor lives as long as the process.
    file: ManuallyDrop<File>,
    may_block: bool,
    dropped_lines: u64,
    /// A line was cut off in the middle; the next one must start afresh.
    is_mid_line: bool,
}

impl Sink {
    /// Stderr, or the descriptor if there is one.
    pub(super) fn new(frame_descriptor: Option<i32>) -> Self {
        let is_framed = frame_descriptor.is_some();
        let descriptor = frame_descriptor.unwrap_or(2);
        #[expect(
            unsafe_code,
            reason = "the descriptor was given to this process to write to, and is never closed"
        )]
        // SAFETY: stderr, or a descriptor that Lambda opened for this purpose; `ManuallyDrop` keeps it open.
        let file = ManuallyDrop::new(unsafe { File::from(OwnedFd::from_raw_fd(descriptor)) });
        if is_framed {
            // A descriptor that is not open fails here and again at every write; lines are then lost, nothing else.
            let _ = fcntl_setfd(file.as_fd(), FdFlags::CLOEXEC);
        }
        let may_block = fstat(file.as_fd())
            .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket));
        Self {
            is_framed,
            output: Mutex::new(Output {
                file,
                may_block,
                dropped_lines: 0,
                is_mid_line: false,
            }),
        }
    }

    /// Lets the frame descriptor live on in the program that replaces this one.
    pub fn keep_across_exec(&self) {
        if let (true, Ok(output)) = (self.is_framed, self.output.try_lock()) {
            let _ = fcntl_setfd(output.file.as_fd(), FdFlags::empty());
        }
    }

    /// Writes one line, given without its line feed. An output that is closed or full loses it; the function goes on.
    pub(super) fn write_line(&self, level: Level, format: Format, line: &[u8]) {
        let mut output = match self.output.lock() {
            Ok(output) => output,
            // A writer that panicked left at worst half a line behind.
            Err(poisoned) => poisoned.into_inner(),
        };
        output.announce_loss(self.is_framed);
        let bytes = if self.is_framed {
            frame(level, format, line)
        } else {
            [line, b"\n"].concat()
        };
        output.write(&bytes, self.is_framed);
    }
}

impl Output {
    fn announce_loss(&mut self, is_framed: bool) {
        if self.dropped_lines == 0 {
            return;
        }
        let count = self.dropped_lines;
        let start = if self.is_mid_line && !is_framed { "\n" } else { "" };
        let notice = format!("{start}{count} log lines were lost because nobody read them");
        let bytes = if is_framed {
            frame(Level::Warn, Format::Text, notice.as_bytes())
        } else {
            format!("{notice}\n").into_bytes()
        };
        if self.try_write(&bytes, Duration::ZERO).is_ok() {
            self.dropped_lines = 0;
            self.is_mid_line = false;
        }
    }

    fn write(&mut self, bytes: &[u8], is_framed: bool) {
        let patience = if self.dropped_lines == 0 {
            PATIENCE
        } else {
            Duration::ZERO
        };
        if let Err(written) = self.try_write(bytes, patience) {
            self.dropped_lines += 1;
            self.is_mid_line |= written > 0 && !is_framed;
        }
    }

    /// Writes all of it, or says how much was written.
    fn try_write(&mut self, bytes: &[u8], patience: Duration) -> Result<(), usize> {
        if !self.may_block {
            return self.file.write_all(bytes).map_err(|_| 0);
        }
        let mut written = 0;
        while written < bytes.len() {
            if !self.wait_until_writable(patience) {
                return Err(written);
            }
            let end = bytes.len().min(written + ATOMIC_WRITE_BYTES);
            match self.file.write(&bytes[written..end]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }

    fn wait_until_writable(&self, patience: Duration) -> bool {
        let mut descriptors = [PollFd::new(&*self.file, PollFlags::OUT)];
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        loop {
            match poll(&mut descriptors, Some(&timeout)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// One frame of Lambda's telemetry descriptor (runtime contract §7.4), big-endian: `u32` type, `u32` length, `u64`
/// microseconds since the Unix epoch, message.
fn frame(level: Level, format: Format, line: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0xA55A_0000;
    const HAS_TIMESTAMP: u32 = 0b10;
    let level = match level {
        Level::Trace => 1,
        Level::Debug => 2,
        Level::Info => 3,
        Level::Warn => 4,
        Level::Error => 5,
        Level::Fatal => 6,
    };
    let format = match format {
        Format::Json => 0,
        Format::Text => 1,
    };
    let microseconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    let mut frame = Vec::with_capacity(16 + line.len());
    frame.extend((MAGIC | level << 2 | HAS_TIMESTAMP | format).to_be_bytes());
    frame.extend(u32::try_from(line.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(u64::try_from(microseconds).unwrap_or(u64::MAX).to_be_bytes());
    frame.extend(line);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance statement 88.
    #[test]
    fn a_frame_has_the_documented_header() {
        assert_eq!(
            frame(Level::Info, Format::Json, b"{}")[..8],
            [0xA5, 0x5A, 0, 0x0E, 0, 0, 0, 2]
        );
        assert_eq!(
            frame(Level::Error, Format::Text, b"x")[..8],
            [0xA5, 0x5A, 0, 0x17, 0, 0, 0, 1]
        );
        assert_eq!(frame(Level::Error, Format::Text, b"x")[16..], *b"x");
    }
}
