//! The page in the browser: environments, a timeline, every event with its answer and log, live; and forms that send.
//!
//! ```text
//! GET  /                  the document; its scripts and styles are below /_page/
//! GET  /_page/journal     the journal as server-sent events
//! GET  /_page/text/N      all that is kept of the payload or answer in the journal's entry N
//! POST /_page/invoke      {"function", "payload", "count", "example"}
//! POST /_page/replay      {"request_id"}
//! POST /_page/send        {"queue", "body", "count"}
//! ```
//!
//! A page of another place must neither read nor start anything: `Host` and `Origin` are checked, and what changes
//! something needs a token that only the document has. What guests say is JSON here and text in the document, never
//! markup.

mod actions;
mod journal_stream;
mod queues;

use std::fmt;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use crate::journal::What;
use crate::platform::Platform;
use crate::server::{self, Request, Response};
pub use queues::{QueueDoor, QueueStatus, Sending};

/// Nothing but what this server offers, no inline scripts or styles, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const DOCUMENT: &str = include_str!("index.html");
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// What the document consists of beside itself: name, media type, content.
const FILES: [(&str, &str, &str); 9] = [
    ("page.js", SCRIPT, include_str!("page.js")),
    ("state.js", SCRIPT, include_str!("state.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("lists.js", SCRIPT, include_str!("lists.js")),
    ("details.js", SCRIPT, include_str!("details.js")),
    ("send.js", SCRIPT, include_str!("send.js")),
    ("timeline.js", SCRIPT, include_str!("timeline.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// What the page says beside the journal.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's name.
    pub title: String,
    /// Where the HTTP front is, if there is one.
    pub front_url: Option<String>,
    /// Where the Invoke API and the queues are.
    pub aws_url: String,
    /// Events that the project brings along.
    pub examples: Vec<Example>,
    /// The queues that messages can be sent to.
    pub queues: Arc<dyn QueueDoor>,
}

/// An event that can be sent by one click.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// Such as the file's name without its ending.
    pub name: String,
    /// The function it is for.
    pub function: String,
    /// The event, JSON in text.
    pub payload: String,
}

/// The page of one platform. Clones are handles to one and the same.
#[derive(Clone)]
pub struct Page(Arc<Inner>);

struct Inner {
    platform: Platform,
    settings: Settings,
    document: String,
    /// Differs from process to process, so that a page notices that it belongs to an earlier one.
    run: String,
    /// Known to the document alone.
    token: String,
    is_closed: watch::Sender<bool>,
}

impl fmt::Debug for Page {
    /// Without the token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Page").field(&self.0.settings).finish()
    }
}

impl Page {
    /// The page of `platform`.
    pub fn new(platform: Platform, settings: Settings) -> Self {
        let run = uuid::Uuid::new_v4().simple().to_string();
        let token = uuid::Uuid::new_v4().simple().to_string();
        let document = DOCUMENT
            .replace("{run}", &run)
            .replace("{token}", &token)
            .replace("{title}", &escaped(&settings.title));
        Self(Arc::new(Inner {
            platform,
            settings,
            document,
            run,
            token,
            is_closed: watch::Sender::new(false),
        }))
    }

    /// Whether a request is for the page: `/` and all below `/_page/`.
    pub fn takes(path: &str) -> bool {
        path == "/" || path.starts_with("/_page/")
    }

    /// Answers one request for which [`Self::takes`] says yes; 404 for others.
    pub async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let mut response = if !server::is_local(&parts) {
            server::forbidden()
        } else if let Some(action) = actions::Action::of(parts.uri.path()) {
            match parts.method {
                Method::POST => action.answer(&self.0, &parts, body).await,
                _ => not_allowed("POST"),
            }
        } else {
            match parts.method {
                Method::GET | Method::HEAD => self.get(&parts),
                _ => not_allowed("GET, HEAD"),
            }
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Ends the live streams, which would go on for as long as the browser is open. To be called before the server is
    /// stopped.
    pub fn close(&self) {
        self.0.is_closed.send_replace(true);
    }

    fn get(&self, request: &http::request::Parts) -> Response {
        let path = request.uri.path();
        if path == "/" {
            return server::respond(StatusCode::OK, HTML, self.0.document.clone());
        }
        let name = path.strip_prefix("/_page/").unwrap_or_default();
        if name == "journal" && request.method == Method::GET {
            return journal_stream::answer(&self.0, &request.headers);
        }
        if let Some(sequence) = name.strip_prefix("text/") {
            return self.text(sequence);
        }
        match FILES.iter().find(|(file, ..)| *file == name) {
            Some((_, media_type, content)) => server::respond(StatusCode::OK, media_type, *content),
            None => server::respond(StatusCode::NOT_FOUND, "text/plain", "there is no such file"),
        }
    }

    fn text(&self, sequence: &str) -> Response {
        let (entries, _) = self.0.platform.journal().read();
        let wanted = sequence.parse().ok();
        let entry = entries.iter().find(|entry| Some(entry.sequence) == wanted);
        match entry.and_then(|entry| text_of(&entry.what)) {
            Some((_, text)) => server::respond(StatusCode::OK, "text/plain; charset=utf-8", text.clone()),
            None => server::respond(StatusCode::NOT_FOUND, "text/plain", "this is no longer kept"),
        }
    }
}

/// The name and the bytes of what may be long in an entry.
fn text_of(what: &What) -> Option<(&'static str, &bytes::Bytes)> {
    if let What::InvocationStarted { payload, .. } = what {
        return Some(("payload", payload.as_bytes()));
    }
    if let What::InvocationAnswered { answer, .. } = what {
        return Some(("answer", answer.as_bytes()));
    }
    None
}

fn not_allowed(methods: &'static str) -> Response {
    let mut response = server::respond(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain",
        "this takes another method",
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn respond_json(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = server::respond(status, JSON, body.to_string());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// As text in an element or in an attribute with quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_text_in_the_document() {
        assert_eq!(
            escaped(r#"</title><script>"a & b""#),
            "&lt;/title&gt;&lt;script&gt;&quot;a &amp; b&quot;"
        );
    }

    #[test]
    fn the_document_loads_nothing_that_is_not_served() {
        let sources = FILES.iter().map(|(_, _, content)| *content).chain([DOCUMENT]);
        for source in sources {
            for part in source.split("\"/_page/").skip(1) {
                let name = part.split('"').next().unwrap();
                let is_file = FILES.iter().any(|(file, ..)| *file == name);
                assert!(
                    is_file || ["journal", "invoke", "replay", "send"].contains(&name),
                    "{name}"
                );
            }
            for part in source.split("from \"./").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(FILES.iter().any(|(file, ..)| *file == name), "{name}");
            }
            let outside = source.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http://") && !outside.contains("https://"));
        }
        assert!(!DOCUMENT.contains("style=") && !DOCUMENT.contains(" onclick"));
    }
}
