//! Streams as many bytes as the event's query asks for, as a native function does with AWS's crate.

#[path = "native/event_loop.rs"]
mod event_loop;

use std::convert::Infallible;

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;

/// As the guests write.
const PIECE: &[u8] = &[b'.'; 64 << 10];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_query_string: String,
}

fn main() -> Result<(), lambda_runtime::Error> {
    let handler = async |event: LambdaEvent<Event>| Ok::<_, Infallible>(answer(&event.payload.raw_query_string));
    event_loop::new()?.block_on(lambda_runtime::run(service_fn(handler)))
}

fn answer(query: &str) -> Response<Body> {
    let mut left = query
        .strip_prefix("bytes=")
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0);
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        while left > 0 {
            let size = PIECE.len().min(left);
            if sender.send_data(PIECE[..size].to_vec().into()).await.is_err() {
                return;
            }
            left -= size;
        }
    });
    Response::from(body)
}
