//! A small HTTP server that plays whatever a guest asks over the network.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::fake_runtime_api::{Headers, Source, header_line, request_framing, value};
use crate::process::PATIENCE;

/// A server on a free port of 127.0.0.1, one thread for each connection; it serves until the process ends.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    changed: Condvar,
}

/// A request that has arrived whole.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method, such as `GET`.
    pub method: String,
    /// The target as it was sent: path and query, still encoded.
    pub target: String,
    /// Order, case and repetitions as sent.
    pub headers: Headers,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Received {
    /// The text of the first header of that name, in any case.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name).map(|value| std::str::from_utf8(value).expect("headers in tests are text"))
    }
}

impl HttpServer {
    /// Starts it. `respond` writes to the connection whatever it likes, usually with [`respond`]; then the connection is
    /// closed.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub fn start(respond: impl Fn(&Received, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Shared>::default();
        let (respond, kept) = (Arc::new(respond), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (respond, shared) = (Arc::clone(&respond), Arc::clone(&kept));
                thread::spawn(move || {
                    // A guest that goes away in the middle is what some tests are about; they look at what it reports.
                    let _ = serve(stream, &shared, &*respond);
                });
            }
        });
        Self { address, shared }
    }

    /// One that answers with status 201 and what it was asked: method and target in the first line, then the body.
    pub fn echo() -> Self {
        Self::start(|request, stream| {
            let line = format!("{} {}\n", request.method, request.target);
            let body = [line.as_bytes(), &request.body].concat();
            respond(stream, 201, &[("x-answer", "yes")], &body)
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests that have arrived, in their order.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.lock().clone()
    }

    /// Waits until so many requests have arrived, and returns them.
    ///
    /// # Panics
    ///
    /// If they have not within [`PATIENCE`].
    pub fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        let expiry = Instant::now() + PATIENCE;
        let mut received = self.shared.lock();
        while received.len() < count {
            let left = expiry.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} of {count} requests came: {received:?}",
                received.len()
            );
            let waited = self.shared.changed.wait_timeout(received, left);
            received = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        received.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(
    stream: TcpStream,
    shared: &Shared,
    respond: &dyn Fn(&Received, &mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut source = Source::new(stream);
    let Some(head) = source.request_head()? else {
        return Ok(());
    };
    let mut body = Vec::new();
    source.body(request_framing(&head.headers)?, |piece| body.extend_from_slice(piece))?;
    let request = Received {
        method: head.method,
        target: head.path,
        headers: head.headers,
        body,
    };
    shared.lock().push(request.clone());
    shared.changed.notify_all();
    respond(&request, &mut writer)
}

/// Writes a whole response, after which the connection is closed.
///
/// # Errors
///
/// If the peer is gone.
pub fn respond(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    let length = body.len().to_string();
    let own = [("connection", "close"), ("content-length", &length)];
    let mut response = format!("HTTP/1.1 {status} -\r\n").into_bytes();
    for (name, value) in own.iter().chain(headers) {
        response.extend(header_line(name, value.as_bytes()));
    }
    response.extend(b"\r\n");
    response.extend(body);
    stream.write_all(&response)
}

/// Writes nothing until the peer gives up.
///
/// # Errors
///
/// If the connection breaks instead of being closed.
pub fn hang(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::new(
            ErrorKind::InvalidData,
            "the peer sends more than it announced",
        )),
        Err(error) => Err(error),
    }
}
