//! What a guest may try with the network.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

/// Which of all attempts worked: with that address, and with those that are always worth a try.
pub(super) fn attempt_everything(address: &str) -> Vec<String> {
    let addresses = [
        address,
        "169.254.169.254:80",
        "127.0.0.1:9001",
        "[::1]:9001",
        "[::ffff:127.0.0.1]:9001",
        "0.0.0.0:9001",
        "10.0.0.1:80",
    ];
    let mut worked = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if result.is_ok() {
            worked.push(what.to_owned());
        }
    };
    for address in addresses {
        note(&format!("tcp {address}"), TcpStream::connect(address).map(drop));
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address));
        note(&format!("udp {address}"), sent.map(drop));
    }
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        note(&format!("listen {address}"), TcpListener::bind(address).map(drop));
    }
    for name in ["localhost", "example.com", "instance-data.ec2.internal"] {
        note(&format!("look up {name}"), (name, 80).to_socket_addrs().map(drop));
    }
    worked
}
