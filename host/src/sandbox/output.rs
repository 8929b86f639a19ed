//! The guest's stdout and stderr become log lines: whole, attributed to their event, and bounded.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::telemetry::{Log, Origin, Stream};

/// Lambda cuts log events at 256 KiB; longer lines are split here, below that.
const MAX_LINE_BYTES: usize = 240 << 10;
/// What a guest may write in one call.
const WRITE_BYTES: usize = 64 << 10;
/// How many of the last stderr lines are kept for error messages.
const LAST_LINES: usize = 12;
/// How much of each is kept, in bytes.
const LAST_LINE_BYTES: usize = 512;

/// What guests write, one guest at a time.
#[derive(Debug)]
pub struct Output {
    log: Arc<Log>,
    limit_bytes: u64,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    origin: Origin,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The end of stderr, which is where a panic says why.
    last: VecDeque<String>,
    /// The number of lines on stderr so far.
    written_lines: u64,
    written_bytes: u64,
}

impl Output {
    pub(super) fn new(log: Arc<Log>, limit_bytes: u64) -> Self {
        Self {
            log,
            limit_bytes,
            lines: Mutex::default(),
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on, lines belong to that event, and its allowance is fresh.
    pub fn begin(&self, origin: Origin) {
        let mut lines = self.lines();
        lines.origin = origin;
        lines.written_bytes = 0;
        lines.last.clear();
    }

    /// Writes out lines that lack their line feed.
    pub fn flush(&self) {
        let mut lines = self.lines();
        for stream in [Stream::Stdout, Stream::Stderr] {
            lines.flush(&self.log, stream);
        }
    }

    /// What the guest last wrote to stderr, without Rust's hint about backtraces; empty if nothing.
    pub fn last_words(&self) -> String {
        let lines = self.lines();
        let words: Vec<&str> = lines
            .last
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE=1`"))
            .collect();
        words.join(" | ")
    }

    /// How many lines the guest has written to stderr.
    pub(super) fn written_lines(&self) -> u64 {
        self.lines().written_lines
    }

    /// What it wrote to stderr after the first `written_lines`, as far as it is kept.
    pub(super) fn words_since(&self, written_lines: u64) -> String {
        let lines = self.lines();
        let count = usize::try_from(lines.written_lines.saturating_sub(written_lines)).unwrap_or(usize::MAX);
        let skipped = lines.last.len().saturating_sub(count);
        let words: Vec<&str> = lines.last.iter().skip(skipped).map(String::as_str).collect();
        words.join(" ")
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut lines = self.lines();
        let allowance = self.limit_bytes.saturating_sub(lines.written_bytes);
        let kept = &bytes[..bytes.len().min(usize::try_from(allowance).unwrap_or(usize::MAX))];
        let was_within = lines.written_bytes <= self.limit_bytes;
        lines.written_bytes = lines.written_bytes.saturating_add(bytes.len() as u64);
        lines.take(&self.log, stream, kept);
        if was_within && lines.written_bytes > self.limit_bytes {
            lines.flush(&self.log, stream);
            let notice = format!(
                "the guest's output beyond {} bytes of this event is dropped (ORLOP_LIMIT_OUTPUT)",
                self.limit_bytes
            );
            self.log.guest_line(Stream::Stderr, &lines.origin, notice.as_bytes());
        }
    }
}

impl Lines {
    fn take(&mut self, log: &Log, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, is_complete) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            for part in content.chunks(MAX_LINE_BYTES) {
                let partial = self.partial(stream);
                if partial.len() + part.len() > MAX_LINE_BYTES {
                    self.flush(log, stream);
                }
                self.partial(stream).extend_from_slice(part);
            }
            if is_complete {
                self.emit(log, stream);
            }
        }
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn flush(&mut self, log: &Log, stream: Stream) {
        if !self.partial(stream).is_empty() {
            self.emit(log, stream);
        }
    }

    fn emit(&mut self, log: &Log, stream: Stream) {
        let line = std::mem::take(self.partial(stream));
        log.guest_line(stream, &self.origin, &line);
        if stream == Stream::Stderr {
            self.written_lines += 1;
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            let kept = &line[..line.len().min(LAST_LINE_BYTES)];
            self.last.push_back(String::from_utf8_lossy(kept).into_owned());
        }
        // The next line reuses the allocation.
        let partial = self.partial(stream);
        *partial = line;
        partial.clear();
    }
}

/// One end of the guest's output, as WASI wants it.
#[derive(Clone)]
pub(super) struct OutputEnd {
    pub(super) output: Arc<Output>,
    pub(super) stream: Stream,
}

impl IsTerminal for OutputEnd {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputEnd {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // The adapter that would be made of `async_stream` lets a guest queue empty writes without end (GHSA-5m8g).
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputEnd {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputEnd {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for OutputEnd {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
