//! The HTTP/1.1 server that all rooms of the local platform stand behind.
//!
//! ```text
//! socket ─► client ─► framing: is there one way only to read this? ─► hyper ─► Host? ─► the room that answers
//! ```
//!
//! Whoever can connect can be slow, or many, or lie about lengths. Every wait for a client has an end and everything that
//! it can fill has a limit, all of them in this file and in [`client`].

mod client;
mod framing;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Version, request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use client::Client;

/// What clients may make this program wait for, and keep open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at once; further clients wait to be accepted.
    pub connections: usize,
    /// How long a client may take for the head of a request, which is also how long a connection is kept without one.
    pub head: Duration,
    /// How long a client may pause within the body of a request.
    pub pause: Duration,
    /// How long a client may take for all of a body.
    pub body: Duration,
    /// How long a client may take nothing of an answer.
    pub answer: Duration,
}

impl Default for Limits {
    /// 512 connections; 10 s for a head, 2 min for a body that never pauses for 30 s, 2 min without a reader.
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(10),
            pause: Duration::from_secs(30),
            body: Duration::from_secs(120),
            answer: Duration::from_secs(120),
        }
    }
}

/// How long the rest of a body that is too large is taken. A connection closed before would be reset, and a client that is
/// still sending might not see why.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a connection is buffered, and with that the most bytes of a request's head.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// How long to wait after the system would not accept, as it does when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request as rooms get it. Its extensions hold a [`Peer`] and a [`Local`].
pub type Request = http::Request<RequestBody>;
/// The body of an answer. One that fails breaks the connection off, so that the client does not take a part for the
/// whole.
pub type Body = BoxBody<Bytes, BrokenOff>;
/// An answer.
pub type Response = http::Response<Body>;

/// The client's end of the connection, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// This end of the connection, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct Local(pub SocketAddr);

/// The answer cannot be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokenOff;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is larger than it may be.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// How large it may be.
        limit: usize,
    },
    /// It was cut short, is malformed, or took longer than the limits say.
    #[error("the body broke off")]
    BrokenOff,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers every request that comes in through `listener`.
    ///
    /// # Errors
    ///
    /// If the listener does not know its address.
    pub fn start<A, F>(listener: TcpListener, answer: A) -> std::io::Result<Self>
    where
        A: Fn(Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        Self::with_limits(listener, Limits::default(), answer)
    }

    /// The same, within these limits.
    ///
    /// # Errors
    ///
    /// If the listener does not know its address.
    pub fn with_limits<A, F>(listener: TcpListener, limits: Limits, answer: A) -> std::io::Result<Self>
    where
        A: Fn(Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let (stopping, is_stopping) = watch::channel(Duration::ZERO);
        let task = tokio::spawn(accept(listener, limits, answer, is_stopping));
        Ok(Self {
            address,
            stopping,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, closes what is idle, and gives the requests under way this long.
    pub async fn stop(mut self, grace: Duration) {
        // The task ends when told so, unless it has panicked.
        let _ = self.stopping.send(grace);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<A, F>(listener: TcpListener, limits: Limits, answer: A, mut stopping: watch::Receiver<Duration>)
where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned();
        let accepted = async { (permit.await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            _ = stopping.changed() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve(stream, peer, limits, answer.clone(), stopping.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let grace = *stopping.borrow();
    // What is left then is aborted with the set.
    let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve<A, F>(
    stream: TcpStream,
    peer: SocketAddr,
    limits: Limits,
    answer: A,
    mut stopping: watch::Receiver<Duration>,
) where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let Ok(local) = stream.local_addr() else { return };
    // Only costs speed if it fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answer = answer.clone();
        async move {
            if let Some(refusal) = refuse_host(&request) {
                return Ok::<_, BrokenOff>(refusal);
            }
            let mut request = request.map(|body| RequestBody { body, limits });
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(Local(local));
            Ok(answer(request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(Client::new(stream, limits.answer)), service);
    let mut connection = pin!(connection);
    // How a connection ends is the client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// HTTP/1.1 wants exactly one `Host` (RFC 9112 §3.2).
fn refuse_host<B>(request: &http::Request<B>) -> Option<Response> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11) {
        return None;
    }
    let mut refusal = respond(
        StatusCode::BAD_REQUEST,
        "text/plain",
        "a request needs exactly one Host header",
    );
    refusal
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Some(refusal)
}

/// The body of a request, which its client may still be sending.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    limits: Limits,
}

/// The whole body of a request.
///
/// # Errors
///
/// [`ReadError`]. Answers to these should close the connection.
pub async fn read(body: RequestBody, limit: usize) -> Result<Bytes, ReadError> {
    let RequestBody { body, limits } = body;
    let whole = tokio::time::timeout(limits.body, read_whole(body, limit, limits.pause)).await;
    whole.unwrap_or(Err(ReadError::BrokenOff))
}

async fn read_whole(mut body: Incoming, limit: usize, pause: Duration) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        discard(body).await;
        return Err(ReadError::TooLarge { limit });
    }
    let mut whole = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(pause, body.frame()).await {
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => return Err(ReadError::BrokenOff),
        };
        // Trailers of a request have no meaning here.
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > limit {
            discard(body).await;
            return Err(ReadError::TooLarge { limit });
        }
        whole.extend_from_slice(&piece);
    }
}

async fn discard(mut body: Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // What is left then is left to the connection's end.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

/// A body that is there already.
pub fn full<B: Into<Bytes>>(bytes: B) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer of a status, a media type and a body.
pub fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether a request comes from this machine's own programs and pages, as far as it says so: `Host` is a name of the
/// loopback interface or the address connected to, which is not so after DNS rebinding, and no browser says that a page
/// of another place has sent it. Requests of others should be answered with [`forbidden`].
pub fn is_local(request: &request::Parts) -> bool {
    let own = request.extensions.get::<Local>().map(|Local(address)| *address);
    names_this_machine(&request.headers, own) && is_of_own_origin(&request.headers)
}

/// What a request of another place gets.
pub fn forbidden() -> Response {
    respond(
        StatusCode::FORBIDDEN,
        "text/plain",
        "only programs on this machine and this server's own pages may do that; call it by 127.0.0.1 or localhost",
    )
}

fn names_this_machine(headers: &HeaderMap, own: Option<SocketAddr>) -> bool {
    let Some(host) = authority(headers) else { return false };
    let name = host.host().trim_matches(['[', ']']).to_ascii_lowercase();
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback() || own.is_some_and(|own| own.ip() == address),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn is_of_own_origin(headers: &HeaderMap) -> bool {
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"))
    {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = authority(headers);
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    origin
        .zip(host)
        .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
}

fn authority(headers: &HeaderMap) -> Option<Authority> {
    headers.get(HOST)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local_with(headers: &[(&str, &str)]) -> bool {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap().into_parts().0;
        request.extensions.insert(Local("192.0.2.7:9000".parse().unwrap()));
        is_local(&request)
    }

    #[test]
    fn names_of_the_loopback_interface_and_the_address_connected_to_are_local() {
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "orders.localhost:9000",
            "127.0.0.1:9000",
            "127.1.2.3",
            "[::1]:9000",
            "192.0.2.7:9000",
        ] {
            assert!(is_local_with(&[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_name_that_was_bound_to_this_machine_is_not_local() {
        for host in [
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "192.0.2.8",
            "",
            "a b",
        ] {
            assert!(!is_local_with(&[("host", host)]), "{host}");
        }
        assert!(!is_local_with(&[]));
    }

    #[test]
    fn pages_of_other_places_are_not_local() {
        let host = ("host", "127.0.0.1:9000");
        assert!(is_local_with(&[host, ("origin", "http://127.0.0.1:9000")]));
        assert!(is_local_with(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(is_local_with(&[host, ("sec-fetch-site", "none")]));
        for origin in [
            "null",
            "http://127.0.0.1:8000",
            "https://127.0.0.1:9000",
            "http://example.com",
        ] {
            assert!(!is_local_with(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!is_local_with(&[host, ("sec-fetch-site", "cross-site")]));
    }
}
