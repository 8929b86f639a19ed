//! What a program reads and writes: the event on stdin, and the answer on stdout.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{self, OwnedPermit};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::error::{FunctionError, MAX_RESPONSE_BYTES};
use crate::runtime_api::{Answer, BrokenOff, Responder, StreamBody, StreamType};

/// What a guest may write in one call.
const WRITE_BYTES: usize = 64 << 10;
/// Writes that wait for the network before the guest has to.
const STREAM_BACKLOG: usize = 2;

/// The guest's stdin: the event, shared by all of its handles.
#[derive(Debug, Clone, Default)]
pub(super) struct Stdin(Arc<Mutex<Bytes>>);

impl Stdin {
    pub(super) fn set(&self, event: Bytes) {
        *self.lock() = event;
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, size: usize) -> Bytes {
        let mut rest = self.lock();
        let size = size.min(rest.len());
        rest.split_to(size)
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {}
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.take(size) {
            bytes if bytes.is_empty() && size > 0 => Err(StreamError::Closed),
            bytes => Ok(bytes),
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, _context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buffer.put_slice(&self.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

/// Where a program's stdout goes.
#[derive(Debug, Clone, Default)]
pub struct Stdout(Arc<Mutex<Sink>>);

#[derive(Debug, Default)]
enum Sink {
    /// Nowhere; no event is being answered.
    #[default]
    Closed,
    /// Into a buffer, which has counted `bytes` and keeps as many as Lambda takes.
    Collected { kept: Vec<u8>, bytes: usize },
    /// Into a stream that begins with the first byte.
    Unopened(Responder),
    /// Into a stream.
    Streamed(mpsc::Sender<Bytes>),
}

impl Stdout {
    /// Collects the answer.
    pub fn collect(&self) {
        *self.lock() = Sink::Collected {
            kept: Vec::new(),
            bytes: 0,
        };
    }

    /// Streams the answer.
    pub fn stream(&self, responder: Responder) {
        *self.lock() = Sink::Unopened(responder);
    }

    /// The answer, when the program has ended well.
    ///
    /// # Errors
    ///
    /// [`FunctionError::ResponseTooLarge`]; [`FunctionError::Host`] if an empty stream cannot begin.
    pub fn finish(&self) -> Result<Answer, FunctionError> {
        match std::mem::take(&mut *self.lock()) {
            Sink::Collected { kept, bytes } if bytes <= MAX_RESPONSE_BYTES => Ok(Answer::Whole(kept.into())),
            Sink::Collected { bytes, .. } => Err(FunctionError::ResponseTooLarge { bytes: Some(bytes) }),
            Sink::Unopened(responder) => {
                open(&responder)?;
                Ok(Answer::Streamed)
            }
            Sink::Closed | Sink::Streamed(_) => Ok(Answer::Streamed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut sink = self.lock();
        if let Sink::Unopened(responder) = &*sink {
            let sender = open(responder).map_err(|_| StreamError::Closed)?;
            *sink = Sink::Streamed(sender);
        }
        match &mut *sink {
            Sink::Collected { kept, bytes: counted } => {
                let room = MAX_RESPONSE_BYTES.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                *counted = counted.saturating_add(bytes.len());
                Ok(())
            }
            Sink::Streamed(sender) => sender.try_send(bytes).map_err(|error| match error {
                mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
                mpsc::error::TrySendError::Full(_) => StreamError::trap("a write without room for it"),
            }),
            Sink::Closed | Sink::Unopened(_) => Err(StreamError::Closed),
        }
    }

    fn room(&self) -> StreamResult<usize> {
        match &*self.lock() {
            Sink::Streamed(sender) if sender.is_closed() => Err(StreamError::Closed),
            Sink::Streamed(sender) if sender.capacity() == 0 => Ok(0),
            Sink::Closed | Sink::Collected { .. } | Sink::Unopened(_) | Sink::Streamed(_) => Ok(WRITE_BYTES),
        }
    }

    fn sender(&self) -> Option<mpsc::Sender<Bytes>> {
        match &*self.lock() {
            Sink::Streamed(sender) => Some(sender.clone()),
            Sink::Closed | Sink::Collected { .. } | Sink::Unopened(_) => None,
        }
    }
}

fn open(responder: &Responder) -> Result<mpsc::Sender<Bytes>, FunctionError> {
    let (sender, receiver) = mpsc::channel(STREAM_BACKLOG);
    let body: StreamBody = Received(receiver).boxed_unsync();
    responder
        .stream(StreamType::Bytes, body)
        .map_err(|error| FunctionError::Host(error.to_string()))?;
    Ok(sender)
}

/// What the guest has written, as a body.
struct Received(mpsc::Receiver<Bytes>);

impl Body for Received {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let received = ready!(self.0.poll_recv(context));
        Poll::Ready(received.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// One of the guest's handles to its stdout.
struct StdoutEnd {
    stdout: Stdout,
    /// Room that is being waited for.
    reservation: Option<Reservation>,
}

type Reservation = Pin<Box<dyn Future<Output = Option<OwnedPermit<Bytes>>> + Send + Sync>>;

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(StdoutEnd {
            stdout: self.clone(),
            reservation: None,
        })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(StdoutEnd {
            stdout: self.clone(),
            reservation: None,
        })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for StdoutEnd {
    async fn ready(&mut self) {
        if let Some(sender) = self.stdout.sender() {
            // A closed stream shows at the next write.
            let _ = sender.reserve().await;
        }
    }
}

impl OutputStream for StdoutEnd {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.stdout.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stdout.room()
    }
}

impl AsyncWrite for StdoutEnd {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        if self.reservation.is_none()
            && let Some(sender) = self.stdout.sender()
        {
            self.reservation = Some(Box::pin(async move { sender.reserve_owned().await.ok() }));
        }
        if let Some(reservation) = &mut self.reservation {
            let permit = ready!(reservation.as_mut().poll(context));
            self.reservation = None;
            permit.ok_or_else(closed)?.send(Bytes::copy_from_slice(bytes));
        } else {
            self.stdout.write(Bytes::copy_from_slice(bytes)).map_err(|_| closed())?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
