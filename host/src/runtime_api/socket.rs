//! HTTP/1.1 over a blocking socket, for the loop that serves one event at a time.
//!
//! That loop has nothing else to do while Lambda takes its time, so there is nothing for an event loop to choose from. A
//! request leaves with one system call and a response arrives with another one. What ends a wait without an answer is the
//! [`Interrupter`].

mod incoming;

use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http::Method;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

pub(super) use incoming::Head;
use incoming::Incoming;

use super::connection::{CONNECT_TIMEOUT, TransportError, reachable};
use super::message::Message;
use super::wire::Fields;

/// A body up to here is copied behind its head, so that both leave in one packet, in bytes.
const SMALL_BODY_BYTES: usize = 16 << 10;

/// One keep-alive connection, replaced when the peer has closed it.
pub(super) struct Connection {
    address: String,
    interrupter: Interrupter,
    open: Option<Open>,
    outgoing: Vec<u8>,
}

struct Open {
    socket: Arc<TcpStream>,
    incoming: Incoming,
    /// A body that has not been read yet, or a peer that will not answer again.
    is_spent: bool,
}

impl Connection {
    pub(super) fn new(address: &str, interrupter: Interrupter) -> Self {
        Self {
            address: address.to_owned(),
            interrupter,
            open: None,
            outgoing: Vec::new(),
        }
    }

    /// Sends a request and waits for the head of the response, for as long as that takes. What `heed` makes of the headers
    /// comes with it.
    ///
    /// An answer is not written to a connection that has been closed meanwhile, so it is sent once. Asking for an event does
    /// no harm twice, and is spared that look.
    pub(super) fn send<T>(
        &mut self,
        request: &Message<Bytes>,
        heed: impl Fn(&mut Fields<'_>) -> T,
    ) -> Result<(Head, T), TransportError> {
        let is_question = request.method == Method::GET;
        if !self.open.as_ref().is_some_and(|open| open.is_usable(is_question)) {
            self.close();
        }
        loop {
            let is_fresh = self.open.is_none();
            let open = match &mut self.open {
                Some(open) => open,
                empty @ None => empty.insert(Open::new(&self.address, &self.interrupter)?),
            };
            if is_question && !self.interrupter.begin_wait() {
                return Err(TransportError::Interrupted);
            }
            let exchanged = open.exchange(&mut self.outgoing, request, &heed);
            if is_question {
                self.interrupter.end_wait();
            }
            let failure = match exchanged {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            let is_unheard = open.incoming.is_empty();
            self.close();
            if is_question && self.interrupter.is_interrupted() {
                return Err(TransportError::Interrupted);
            }
            if is_fresh || !is_unheard || !is_question {
                return Err(TransportError::Broken(failure.to_string()));
            }
        }
    }

    /// The whole body of a response, or `None` if it is larger than `limit` bytes; the connection is given up then.
    pub(super) fn read_up_to(&mut self, head: &Head, limit: u64) -> Result<Option<Bytes>, TransportError> {
        let Some(open) = &mut self.open else {
            return Err(TransportError::Broken("the connection is closed".to_owned()));
        };
        let body = open.incoming.body(&open.socket, head.framing, limit);
        match &body {
            Ok(Some(_)) if !head.is_last => open.is_spent = false,
            Ok(_) | Err(_) => self.close(),
        }
        body.map_err(|failure| TransportError::Broken(failure.to_string()))
    }

    /// Gives the connection up, for instance because a body was left unread.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl Open {
    fn new(address: &str, interrupter: &Interrupter) -> Result<Self, TransportError> {
        let socket = connect(address).map_err(|source| TransportError::Connect {
            address: address.to_owned(),
            source,
        })?;
        let socket = Arc::new(socket);
        interrupter.watch(&socket);
        Ok(Self {
            socket,
            incoming: Incoming::default(),
            is_spent: false,
        })
    }

    /// Whether a request may be written: nothing is left to read, and, unless it does not matter, the peer is still there.
    fn is_usable(&self, is_question: bool) -> bool {
        if self.is_spent || !self.incoming.is_empty() {
            return false;
        }
        is_question || {
            let mut byte = [0];
            let seen = recv(&*self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
            matches!(seen, Err(Errno::AGAIN))
        }
    }

    fn exchange<T>(
        &mut self,
        outgoing: &mut Vec<u8>,
        request: &Message<Bytes>,
        heed: impl Fn(&mut Fields<'_>) -> T,
    ) -> io::Result<(Head, T)> {
        self.is_spent = true;
        let written = write(&self.socket, outgoing, request);
        // A server that refuses a long body may say so and hang up before it has read all of it.
        match (self.incoming.head(&self.socket, heed), written) {
            (Ok((mut head, heeded)), written) => {
                head.is_last |= !matches!(written, Ok(Written::Wholly));
                Ok((head, heeded))
            }
            (Err(_), Err(failure)) | (Err(failure), Ok(_)) => Err(failure),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in reachable(address).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

enum Written {
    Wholly,
    /// The peer has answered before it has read everything.
    InPart,
}

fn write(socket: &TcpStream, outgoing: &mut Vec<u8>, request: &Message<Bytes>) -> io::Result<Written> {
    outgoing.clear();
    outgoing.extend_from_slice(request.method.as_str().as_bytes());
    outgoing.push(b' ');
    outgoing.extend_from_slice(request.path.as_bytes());
    outgoing.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        outgoing.extend_from_slice(name.as_str().as_bytes());
        outgoing.extend_from_slice(b": ");
        outgoing.extend_from_slice(value.as_bytes());
        outgoing.extend_from_slice(b"\r\n");
    }
    outgoing.extend_from_slice(b"\r\n");
    let mut body: &[u8] = &request.body;
    if body.len() <= SMALL_BODY_BYTES {
        outgoing.extend_from_slice(body);
        body = &[];
    }
    for (mut rest, more) in [(outgoing.as_slice(), !body.is_empty()), (body, false)] {
        let flags = if more { SendFlags::MORE } else { SendFlags::empty() };
        while !rest.is_empty() {
            match send(socket, rest, flags | SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut descriptors = [PollFd::new(socket, PollFlags::IN | PollFlags::OUT)];
                    match poll(&mut descriptors, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                    if descriptors[0].revents().contains(PollFlags::IN) {
                        return Ok(Written::InPart);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Written::Wholly)
}

/// Ends the wait for an event, from another thread and for good.
#[derive(Debug, Clone, Default)]
pub struct Interrupter {
    shared: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_interrupted: AtomicBool,
    /// An event is being waited for.
    is_waiting: AtomicBool,
    /// The connection, for as long as it is one.
    socket: Mutex<Weak<TcpStream>>,
}

impl Interrupter {
    /// Ends the wait for an event, now or as soon as it begins. Does nothing to an answer that is being posted.
    pub fn interrupt(&self) {
        self.shared.is_interrupted.store(true, Ordering::SeqCst);
        if self.shared.is_waiting.load(Ordering::SeqCst) {
            let socket = self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(socket) = socket.upgrade() {
                // It fails where the peer has closed the connection, which ends the wait as well.
                let _ = socket.shutdown(Shutdown::Read);
            }
        }
    }

    fn watch(&self, socket: &Arc<TcpStream>) {
        let mut watched = self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner);
        *watched = Arc::downgrade(socket);
    }

    fn is_interrupted(&self) -> bool {
        self.shared.is_interrupted.load(Ordering::SeqCst)
    }

    /// Whether a wait may begin.
    fn begin_wait(&self) -> bool {
        self.shared.is_waiting.store(true, Ordering::SeqCst);
        !self.is_interrupted()
    }

    fn end_wait(&self) {
        self.shared.is_waiting.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
