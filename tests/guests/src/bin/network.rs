//! Tries the network as the event's `tcp`, `udp`, `listen` and `lookup` say, and answers with the kinds of error.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

#[orlop_sdk::handler]
fn network(attempts: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let outcomes = attempts.into_iter().map(|(what, address)| {
        let outcome = attempt(&what, &address).map_or_else(|error| format!("{:?}", error.kind()), |()| "ok".to_owned());
        (what, outcome)
    });
    outcomes.collect()
}

fn attempt(what: &str, address: &str) -> io::Result<()> {
    match what {
        "tcp" => TcpStream::connect(address).map(drop),
        "udp" => UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", address).map(drop),
        "listen" => TcpListener::bind(address).map(drop),
        "lookup" => (address, 0).to_socket_addrs().map(drop),
        other => Err(io::Error::other(format!(
            "`{other}` is neither tcp, udp, listen nor lookup"
        ))),
    }
}
