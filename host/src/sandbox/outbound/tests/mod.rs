//! Requests over real sockets, with name servers' answers given in advance.

mod exchange;
mod reach;
mod signing;
mod tls;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::resolver::Resolver;
use super::{Connection, Error, IncomingBody, Outbound, Platform, Timeouts};

/// The way out of a function `f` with the grants of a TOML text, on a platform whose Runtime API is at 127.0.0.1:9001.
fn outbound(grants: &str) -> Outbound {
    outbound_with(grants, &[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")], &[])
}

/// As [`outbound`], with the environment's variables and the answers of name servers.
fn outbound_with(grants: &str, variables: &[(&str, &str)], answers: &[(&'static str, &[&str])]) -> Outbound {
    let variable = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    };
    on_platform(grants, Platform::from_environment(variable), answers)
}

fn on_platform(grants: &str, platform: Platform, answers: &[(&'static str, &[&str])]) -> Outbound {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let answers: HashMap<_, _> = answers.iter().map(|(name, texts)| (*name, addresses(texts))).collect();
    let grants = toml::from_str(grants).unwrap();
    Outbound::with_resolver("f", &grants, &Arc::new(platform), Resolver::Fixed(answers))
}

/// An instant that no test reaches.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).body(Empty::new()).unwrap()
}

async fn send<B>(outbound: &Outbound, request: Request<B>) -> Result<(Response<IncomingBody>, Connection), Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    outbound.send(request, Timeouts::default(), later()).await
}

/// What became of a `GET`, when it is no response.
async fn refusal(outbound: &Outbound, uri: &str) -> Error {
    match send(outbound, get(uri)).await {
        Ok((response, _)) => panic!("{uri} was answered with {}", response.status()),
        Err(error) => error,
    }
}

/// The whole body of the response to a `GET`.
async fn fetch(outbound: &Outbound, uri: &str) -> Result<Bytes, Error> {
    let (response, _connection) = send(outbound, get(uri)).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// A peer on a port of its own of 127.0.0.1.
struct Peer {
    listener: TcpListener,
    address: SocketAddr,
}

impl Peer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Takes one request with its body, answers it, and returns what it was.
    async fn answer(&self, response: &str) -> String {
        let mut stream = self.accept().await;
        let request = read_request(&mut stream).await;
        stream.write_all(response.as_bytes()).await.unwrap();
        request
    }

    /// Whether nobody has tried to connect. A connection to this machine is there as soon as it was asked for.
    fn was_spared(self) -> bool {
        let waiting = self.listener.into_std().unwrap().accept();
        matches!(waiting, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// One request: the head, and the body if its length is given.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    loop {
        let head_ends = text
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|start| start + 4);
        if let Some(head) = head_ends {
            let length = header(&String::from_utf8_lossy(&text[..head]), "content-length")
                .map_or(0, |length| length.parse().unwrap());
            if text.len() >= head + length {
                return String::from_utf8(text).unwrap();
            }
        }
        let mut piece = [0; 65536];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the request broke off: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..read]);
    }
}

/// The value of a header of a request as it came over the wire.
fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}
