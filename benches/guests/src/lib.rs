//! What the guests of the benchmark have in common, so that they differ in their world only.

use std::iter;

use serde::{Deserialize, Serialize};

/// The size of the pieces in which a guest writes its stream.
pub const PIECE_BYTES: usize = 64 << 10;

/// What a guest that gets the event as JSON reads of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Such as `name=Ada`.
    pub raw_query_string: String,
}

/// What such a guest answers, in the form that API Gateway takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: Headers,
    body: String,
    is_base64_encoded: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Headers {
    content_type: &'static str,
}

impl Answer {
    /// A greeting.
    pub fn new(event: &Event) -> Self {
        Self {
            status_code: 200,
            headers: Headers {
                content_type: "text/plain",
            },
            body: greeting(&event.raw_query_string),
            is_base64_encoded: false,
        }
    }
}

/// Greets whom the query names.
pub fn greeting(query: &str) -> String {
    format!("Hello, {}!", query.strip_prefix("name=").unwrap_or("World"))
}

/// As many bytes as the query asks for, in pieces.
pub fn pieces(query: &str) -> impl Iterator<Item = &'static [u8]> + use<> {
    static PIECE: [u8; PIECE_BYTES] = [b'.'; PIECE_BYTES];
    let mut left: usize = query
        .strip_prefix("bytes=")
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0);
    iter::from_fn(move || {
        let size = left.min(PIECE_BYTES);
        left -= size;
        (size > 0).then_some(&PIECE[..size])
    })
}
