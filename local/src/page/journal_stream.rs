//! The journal as server-sent events: what is kept, then what comes.
//!
//! An entry's id is `RUN-SEQUENCE`. A browser that comes back names the last one that it has seen and gets what
//! follows. Where that cannot be, because entries in between are gone or this is another process, it is told to start
//! again by `reset`.

use std::convert::Infallible;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;

use super::{Inner, QueueStatus, text_of};
use crate::journal::{Entry, unix_ms};
use crate::server::{self, Response};

/// How much of a payload or an answer is sent along; the page asks for the whole when somebody looks at it.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// About how much is sent at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks may wait for a slow reader; after that the journal's own backlog is what it has.
const MAX_CHUNKS: usize = 4;
/// How often something is sent when there is nothing to say, so that both sides notice a broken connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the queues are looked at.
const QUEUE_PERIOD: Duration = Duration::from_secs(1);

/// The stream for one reader, as its headers ask for it.
pub(super) fn answer(page: &Arc<Inner>, headers: &HeaderMap) -> Response {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    let reader = Reader {
        page: Arc::clone(page),
        seen: last_seen(headers, &page.run),
        queues: Vec::new(),
        sender,
    };
    tokio::spawn(reader.serve());
    let mut response = server::respond(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = Chunks(receiver).map_err(|never| match never {}).boxed();
    response
}

/// The number of the last entry of this run that the reader has seen.
fn last_seen(headers: &HeaderMap, run: &str) -> Option<u64> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    id.strip_prefix(run)?.strip_prefix('-')?.parse().ok()
}

struct Reader {
    page: Arc<Inner>,
    /// The last entry that it has; `None` if it has to start again.
    seen: Option<u64>,
    /// The queues as it knows them.
    queues: Vec<QueueStatus>,
    sender: mpsc::Sender<Bytes>,
}

/// Ends the stream: the reader has left, or the page is closed.
type Flow = ControlFlow<()>;

impl Reader {
    async fn serve(mut self) {
        let mut closed = self.page.is_closed.subscribe();
        tokio::select! {
            _ = closed.wait_for(|is_closed| *is_closed) => {}
            _ = self.follow() => {}
        }
    }

    async fn follow(&mut self) -> Flow {
        loop {
            let (kept, live) = self.page.platform.journal().read();
            self.catch_up(kept).await?;
            self.stay(live).await?;
            // It fell behind by more than the journal's backlog.
            self.seen = None;
        }
    }

    async fn catch_up(&mut self, kept: Vec<Arc<Entry>>) -> Flow {
        let first = kept.first().map_or(1, |entry| entry.sequence);
        let last = kept.last().map_or(0, |entry| entry.sequence);
        let seen = self.seen.filter(|seen| (first..=last + 1).contains(&(seen + 1)));
        let mut chunk = Vec::new();
        if seen.is_none() {
            write_event(&mut chunk, "reset", &Value::Null);
        }
        for entry in kept {
            if seen.is_none_or(|seen| entry.sequence > seen) {
                self.write_entry(&mut chunk, &entry);
            }
            if chunk.len() >= CHUNK_BYTES {
                self.send(&mut chunk).await?;
            }
        }
        self.queues = self.page.settings.queues.queues();
        write_event(&mut chunk, "hello", &self.hello());
        self.send(&mut chunk).await
    }

    /// Passes on what comes. Continues if the reader has fallen behind.
    async fn stay(&mut self, mut live: broadcast::Receiver<Arc<Entry>>) -> Flow {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut queue_clock = tokio::time::interval(QUEUE_PERIOD);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        queue_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut chunk = Vec::new();
            tokio::select! {
                entry = live.recv() => match entry {
                    Ok(entry) => self.write_entry(&mut chunk, &entry),
                    Err(broadcast::error::RecvError::Lagged(_)) => return Flow::Continue(()),
                    Err(broadcast::error::RecvError::Closed) => return Flow::Break(()),
                },
                _ = heartbeat.tick() => chunk.extend_from_slice(b":\n\n"),
                _ = queue_clock.tick() => self.look_at_queues(&mut chunk),
                () = self.sender.closed() => return Flow::Break(()),
            }
            // Whatever has come meanwhile travels along. A gap shows at the next `recv`.
            while chunk.len() < CHUNK_BYTES {
                let Ok(entry) = live.try_recv() else { break };
                self.write_entry(&mut chunk, &entry);
            }
            self.send(&mut chunk).await?;
        }
    }

    fn look_at_queues(&mut self, chunk: &mut Vec<u8>) {
        let queues = self.page.settings.queues.queues();
        if queues != self.queues {
            write_event(chunk, "queues", &json!(queues));
            self.queues = queues;
        }
    }

    fn write_entry(&mut self, chunk: &mut Vec<u8>, entry: &Entry) {
        self.seen = Some(entry.sequence);
        let data = json!(entry);
        let data = match text_of(&entry.what) {
            Some((name, text)) if text.len() > MAX_TEXT_BYTES => cut(data, name, text),
            _ => data,
        };
        // Writing into memory does not fail. JSON has no line breaks of its own.
        let _ = write!(chunk, "id: {}-{}\ndata: {data}\n\n", self.page.run, entry.sequence);
    }

    /// What the page has to know beside the journal.
    fn hello(&self) -> Value {
        let Inner {
            platform,
            settings,
            run,
            ..
        } = &*self.page;
        let functions = platform.functions();
        let functions: Vec<_> = functions
            .iter()
            .map(|function| json!({ "name": function.name, "concurrency": function.concurrency }))
            .collect();
        json!({
            "run": run,
            "now_ms": unix_ms(),
            "front_url": settings.front_url,
            "aws_url": settings.aws_url,
            "functions": functions,
            "environments": platform.environments(),
            "examples": settings.examples,
            "queues": self.queues,
        })
    }

    async fn send(&self, chunk: &mut Vec<u8>) -> Flow {
        if chunk.is_empty() {
            return Flow::Continue(());
        }
        match self.sender.send(std::mem::take(chunk).into()).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(()),
        }
    }
}

/// An entry with only the beginning of its text.
fn cut(mut entry: Value, name: &str, text: &[u8]) -> Value {
    let beginning = String::from_utf8_lossy(&text[..MAX_TEXT_BYTES]);
    // The last character may have been cut through.
    entry[name] = beginning.trim_end_matches(char::REPLACEMENT_CHARACTER).into();
    entry["is_cut"] = true.into();
    entry
}

fn write_event(chunk: &mut Vec<u8>, name: &str, data: &Value) {
    // Writing into memory does not fail.
    let _ = write!(chunk, "event: {name}\ndata: {data}\n\n");
}

/// The body of the stream.
struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_of_this_run_says_where_a_reader_is() {
        let seen = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", id.parse().unwrap());
            last_seen(&headers, "run")
        };
        assert_eq!(seen("run-12"), Some(12));
        for id in ["other-12", "run12", "run-", "run-x", "12", ""] {
            assert_eq!(seen(id), None, "{id}");
        }
        assert_eq!(last_seen(&HeaderMap::new(), "run"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ä".repeat(MAX_TEXT_BYTES);
        let shifted = format!("x{text}");
        for text in [text, shifted] {
            let entry = cut(json!({ "payload": text }), "payload", text.as_bytes());
            let kept = entry["payload"].as_str().unwrap();
            assert!(text.starts_with(kept));
            assert!(kept.len() >= MAX_TEXT_BYTES - 1);
            assert_eq!(entry["is_cut"], true);
        }
    }
}
