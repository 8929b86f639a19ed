//! As `drip`, on `wasi:http` 0.3: a server that writes `one`, does what the path says, and writes `two`.

use std::time::Duration;

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// How much is written at a time by `/bytes/COUNT`.
const PIECE_BYTES: usize = 64 << 10;

wasip3::http::service::export!(Drip);

struct Drip;

impl wasip3::exports::http::handler::Guest for Drip {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (mut body, reader) = wit_stream::new();
        let (end, end_reader) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(reader), end_reader);
        wit_bindgen::spawn_local(async move {
            assert!(body.write_all(b"one".to_vec()).await.is_empty(), "nobody reads");
            match path.as_str() {
                "/panic" => panic!("told to panic"),
                "/sleep" => monotonic_clock::wait_for(60 * Duration::from_secs(1).as_nanos() as u64).await,
                "/spin" => loop {
                    std::hint::spin_loop();
                },
                "/error" => {
                    drop(body);
                    let told = end.write(Err(ErrorCode::InternalError(Some("told to fail".to_owned()))));
                    // The body is given up either way.
                    let _ = told.await;
                    return;
                }
                other => {
                    let count = other.strip_prefix("/bytes/").and_then(|count| count.parse().ok());
                    let mut left: usize = count.unwrap_or_default();
                    while left > 0 {
                        let length = left.min(PIECE_BYTES);
                        if !body.write_all(vec![b'x'; length]).await.is_empty() {
                            eprintln!("stopped with {left} left");
                            return;
                        }
                        left -= length;
                    }
                }
            }
            body.write_all(b"two".to_vec()).await;
        });
        Ok(response)
    }
}

fn main() {}
