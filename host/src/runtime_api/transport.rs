//! The two ways to the Runtime API: a socket that the calling thread waits for, and one that an event loop waits for.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper::body::Incoming;

use super::connection::{self, TransportError, broken};
use super::message::Message;
use super::read_up_to;
use super::socket;
use super::wire::Fields;

/// A keep-alive connection of either kind.
pub(super) enum Transport {
    /// Its futures are ready when they are polled for the first time, however long that takes.
    Blocking(socket::Connection),
    /// For whoever has something else to do meanwhile, or a limit of time.
    Waiting(connection::Connection),
}

/// A response whose body is still to be read.
pub(super) struct Reply<T> {
    pub(super) status: StatusCode,
    /// What was made of the headers.
    pub(super) heeded: T,
    pub(super) body: Unread,
}

/// A body that has not been read. It is read by the transport that it came by, or that is closed.
pub(super) enum Unread {
    Blocking(socket::Head),
    Waiting(Incoming),
}

impl Transport {
    /// Sends a request and waits for the head of the response, for as long as that takes.
    pub(super) async fn send<T>(
        &mut self,
        request: Message<Bytes>,
        heed: impl Fn(&mut Fields<'_>) -> T,
    ) -> Result<Reply<T>, TransportError> {
        match self {
            Self::Blocking(connection) => {
                let (head, heeded) = connection.send(&request, heed)?;
                Ok(Reply {
                    status: head.status,
                    heeded,
                    body: Unread::Blocking(head),
                })
            }
            Self::Waiting(connection) => {
                let response = connection.send(request.into_request(Full::new)).await?;
                let mut fields = response
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_bytes()));
                Ok(Reply {
                    status: response.status(),
                    heeded: heed(&mut fields),
                    body: Unread::Waiting(response.into_body()),
                })
            }
        }
    }

    /// The whole body, or `None` if it is larger than `limit` bytes. In any other case than the first, the connection is
    /// given up.
    pub(super) async fn read_up_to(&mut self, body: Unread, limit: u64) -> Result<Option<Bytes>, TransportError> {
        let read = match (&mut *self, body) {
            (Self::Blocking(connection), Unread::Blocking(head)) => connection.read_up_to(&head, limit),
            (_, Unread::Waiting(body)) => read_up_to(body, limit).await.map_err(|error| broken(&error)),
            (Self::Waiting(_), Unread::Blocking(_)) => {
                unreachable!("a body is read by the transport that it came by")
            }
        };
        if !matches!(read, Ok(Some(_))) {
            self.close();
        }
        read
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self) {
        match self {
            Self::Blocking(connection) => connection.close(),
            Self::Waiting(connection) => connection.close(),
        }
    }
}
