//! Fetches the URL in the variable `URL` while it prepares itself, and answers with what came or the error.

use std::sync::OnceLock;

use orlop_sdk::Error;
use wstd::http::body::Bytes;
use wstd::http::body::util::Full;
use wstd::http::{Body, Client, Request};

static FETCHED: OnceLock<String> = OnceLock::new();

#[orlop_sdk::handler(init = prepare)]
fn fetch_in_init(_event: Vec<u8>) -> Option<&'static String> {
    FETCHED.get()
}

#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn prepare() -> Result<(), Error> {
    let url = std::env::var("URL").unwrap_or_default();
    let fetched = wstd::runtime::block_on(async {
        let request = Request::get(url).body(Body::from_http_body(Full::<Bytes>::default()))?;
        let mut body = Client::new().send(request).await?.into_body();
        body.str_contents().await.map(str::to_owned)
    });
    FETCHED.get_or_init(|| fetched.unwrap_or_else(|error| format!("{error:?}")));
    Ok(())
}
