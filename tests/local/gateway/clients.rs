//! curl, and sockets for what curl would never send.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use orlop_tests::tools::require;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A response.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    /// Status line and headers.
    pub(super) head: String,
    pub(super) bytes: Vec<u8>,
    /// The bytes as text.
    pub(super) body: String,
    /// How curl ended.
    pub(super) exit_code: i32,
}

impl Got {
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value).collect()
    }

    /// The one header of this name.
    pub(super) fn header(&self, name: &str) -> &str {
        let headers = self.headers(name);
        let [header] = headers.as_slice() else {
            panic!("{name}: {headers:?} in {}", self.head)
        };
        header
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// curl with its response and these arguments.
pub(super) fn curl_command(url: &str, arguments: &[&str]) -> Command {
    require(&["curl"], "the HTTP front is tested with curl");
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--include", "--max-time", "20", "--path-as-is", "--globoff"])
        .args(["--noproxy", "*", "--header", "expect:"])
        .args(arguments)
        .arg(url);
    command
}

pub(super) async fn curl(url: &str, arguments: &[&str]) -> Got {
    let mut command = curl_command(url, arguments);
    let output = tokio::task::spawn_blocking(move || command.output());
    got(&output.await.unwrap().unwrap())
}

pub(super) async fn get(url: &str) -> Got {
    curl(url, &[]).await
}

/// What the function is to do goes into `x-todo`.
pub(super) async fn get_with(url: &str, todo: &Value) -> Got {
    curl(url, &["--header", &format!("x-todo: {todo}")]).await
}

pub(super) fn got(output: &Output) -> Got {
    let mut rest = output.stdout.as_slice();
    loop {
        let (head, body) = split_head(rest).unwrap_or_else(|| panic!("no response: {output:?}"));
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 {
            return Got {
                status,
                head,
                bytes: body.to_vec(),
                body: String::from_utf8_lossy(body).into_owned(),
                exit_code: output.status.code().unwrap(),
            };
        }
        rest = body;
    }
}

fn split_head(bytes: &[u8]) -> Option<(String, &[u8])> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    Some((head, &bytes[at + 4..]))
}

/// Sends these bytes and returns all that comes until the server closes the connection.
pub(super) async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has seen enough may close while the rest is on its way.
    let _ = stream.write_all(sent).await;
    read_to_end(&mut stream).await
}

pub(super) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = stream.read_to_end(&mut received);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    // A reset after the answer is an end as well.
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&received).into_owned()
}
