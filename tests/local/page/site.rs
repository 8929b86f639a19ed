//! A platform with its page, and requests to it as a browser or somebody else sends them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use orlop_local::page::{self, Example, Page};
use orlop_local::queue::{self, Queues};
use orlop_local::server::Server;
use orlop_local::{Function, Platform};
use orlop_tests::Browser;
use orlop_tests::browser::Look;
use serde_json::{Value, json};

use crate::support::platform;

/// A platform with its page.
pub(super) struct Site {
    pub(super) platform: Platform,
    pub(super) page: Page,
    pub(super) queues: Queues,
    pub(super) server: Server,
}

impl Site {
    pub(super) async fn start(functions: impl IntoIterator<Item = Function>) -> Self {
        let queues = Queues::new(queue::Settings::default());
        queues.create("orders", &[]).await.unwrap();
        queues.create("letters.fifo", &[("FifoQueue", "true")]).await.unwrap();
        let settings = page::Settings {
            title: "a <b>&amp; \"project\"".to_owned(),
            front_url: Some("http://127.0.0.1:3000".to_owned()),
            aws_url: "http://127.0.0.1:9000".to_owned(),
            examples: vec![
                example(
                    "greet",
                    "one",
                    json!({"raw": "{\"statusCode\":201}", "print": "hello"}).to_string(),
                ),
                example("fail", "one", json!({"error": "Runtime.Unlucky"}).to_string()),
            ],
            queues: Arc::new(queues.clone()),
        };
        Self::with(settings, queues, functions).await
    }

    pub(super) async fn with(
        settings: page::Settings,
        queues: Queues,
        functions: impl IntoIterator<Item = Function>,
    ) -> Self {
        let platform = platform(functions);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page::new(platform.clone(), settings);
        let answering = page.clone();
        let server = Server::start(listener, move |request| {
            let page = answering.clone();
            async move { page.answer(request).await }
        });
        Self {
            platform,
            page,
            queues,
            server: server.unwrap(),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.server.address())
    }

    pub(super) fn open(&self) -> Browser {
        let mut browser = Browser::open(&self.url(), Look::default());
        browser.wait_for("document.querySelector('#link').dataset.state === 'live'");
        browser
    }

    /// The token in the document.
    pub(super) fn token(&self) -> String {
        let document = get(self.server.address(), "/", &[]).1;
        let (_, rest) = document.split_once("name=\"orlop-token\" content=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// A request as the document sends it, but for the headers that are given; one without a value is left out.
    pub(super) fn post(&self, path: &str, body: &Value, changed: &[(&str, &str)]) -> (u16, String) {
        let address = self.server.address();
        let own = [
            ("host", address.to_string()),
            ("origin", format!("http://{address}")),
            ("content-type", "application/json".to_owned()),
            ("x-orlop-token", self.token()),
        ];
        let mut headers: Vec<(&str, String)> = own.into();
        for (name, value) in changed {
            headers.retain(|(own, _)| own != name);
            if !value.is_empty() {
                headers.push((name, (*value).to_owned()));
            }
        }
        request(address, "POST", path, &headers, &body.to_string())
    }
}

pub(super) fn example(name: &str, function: &str, payload: String) -> Example {
    Example {
        name: name.to_owned(),
        function: function.to_owned(),
        payload,
    }
}

pub(super) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut all = vec![("host", address.to_string())];
    for (name, value) in headers {
        all.retain(|(own, _)| own != name);
        all.push((name, (*value).to_owned()));
    }
    request(address, "GET", path, &all, "")
}

/// The status, and the head and body of the answer in one text.
pub(super) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
) -> (u16, String) {
    let mut stream = send(address, method, path, headers, body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

pub(super) fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// What the journal's stream says: the names of events, and the numbers of entries, until `hello`.
pub(super) fn journal(site: &Site, last_event_id: Option<&str>) -> Vec<String> {
    let mut headers = vec![("host", site.server.address().to_string())];
    headers.extend(last_event_id.map(|id| ("last-event-id", id.to_owned())));
    let stream = send(site.server.address(), "GET", "/_page/journal", &headers, "");
    let mut seen = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("event: ") {
            seen.push(name.to_owned());
        } else if let Some(id) = line.strip_prefix("id: ") {
            seen.push(id.to_owned());
        } else if seen.last().is_some_and(|last| last == "hello") {
            return seen;
        }
    }
    panic!("the stream ended after {seen:?}");
}
