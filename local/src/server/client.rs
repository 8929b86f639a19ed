//! A client's connection, as hyper reads and writes it: what could be read in two ways never gets there, and a client that
//! takes nothing is let go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::framing::Framing;

/// How long the rest of what a refused client sends is taken, so that the refusal is not lost in a reset connection.
const LINGER: Duration = Duration::from_secs(2);
/// What hyper gets in place of what was refused. It stands in no request, wherever it stands, so hyper answers 400 and
/// closes the connection.
const NO_REQUEST: &[u8] = b"\0";

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    framing: Framing,
    /// How long the client may take nothing of an answer.
    patience: Duration,
    /// hyper has been told of bytes that were refused.
    has_told: bool,
    /// When what is being written has to have moved.
    stalled: Option<Pin<Box<Sleep>>>,
    /// When a connection that is closed is given up.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Client {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            patience,
            has_told: false,
            stalled: None,
            lingers: None,
        }
    }

    /// What became of a write, unless the client has taken nothing for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.framing.has_refused() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let count = this.framing.read(&buffer.filled()[before..]);
            buffer.set_filled(before + count);
        }
        if this.framing.has_refused() && !this.has_told && buffer.remaining() >= NO_REQUEST.len() {
            buffer.put_slice(NO_REQUEST);
            this.has_told = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        if !this.framing.has_refused() {
            return Poll::Ready(Ok(()));
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if lingers.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut rest = [0; 4096];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            // An end and an error mean the same: nothing more comes.
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
