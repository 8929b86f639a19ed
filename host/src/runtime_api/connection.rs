//! One keep-alive connection to the Runtime API on an event loop, replaced when the peer has closed it. What the sequential
//! loop uses instead is in [`super::socket`].
//!
//! The address comes from the variable and from nowhere else: no proxy variable is read, no redirect is followed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the peer may take to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Lambda sends request line and headers of up to 1 MiB.
pub(super) const MAX_HEADER_BYTES: usize = 2 << 20;
/// More headers than this are refused. Hyper's own limit of 100 is too low for a tolerant reader.
pub(super) const MAX_HEADERS: usize = 1000;

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection came about; nothing was sent.
    #[error("cannot connect to the Runtime API at {address}")]
    Connect {
        /// The address tried.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke; the request may or may not have arrived.
    #[error("the connection to the Runtime API broke: {0}")]
    Broken(String),
    /// The wait for an event was ended by an [`Interrupter`](super::Interrupter).
    #[error("the wait for an event was ended from within")]
    Interrupted,
}

pub(super) struct Connection {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            sender: None,
        }
    }

    /// Sends a request and waits for the head of the response, for as long as that takes.
    ///
    /// A connection that turns out to have been closed while it was idle is replaced before anything is written, so the
    /// request is sent once.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, TransportError> {
        let mut request = request;
        loop {
            let (sender, is_fresh) = match self.idle_sender().await {
                Some(sender) => (sender, false),
                None => (self.sender.insert(connect(&self.address).await?), true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => {
                    self.sender = None;
                    match error.take_message() {
                        Some(unsent) if !is_fresh => request = unsent,
                        Some(_) | None => return Err(broken(error.error())),
                    }
                }
            }
        }
    }

    async fn idle_sender(&mut self) -> Option<&mut SendRequest<Full<Bytes>>> {
        let sender = self.sender.as_mut()?;
        sender.ready().await.ok()?;
        Some(sender)
    }

    /// Gives the connection up, for instance because a body was left unread.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }
}

pub(super) fn broken(error: &hyper::Error) -> TransportError {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    TransportError::Broken(format!("{error}{cause}"))
}

/// The address, by number where its name is known to everybody: a static binary may be without a resolver.
pub(super) fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(_) | None => address.to_owned(),
    }
}

/// A fresh connection, driven by a task of its own.
pub(super) async fn connect<B>(address: &str) -> Result<SendRequest<B>, TransportError>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    let failed = |source| TransportError::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(reachable(address)))
        .await
        .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Its end shows in the sender; there is nobody else to tell.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
