//! Greets over HTTP, with the library `wstd` and its event loop.

use orlop_bench_guests::greeting;
use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let text = greeting(request.uri().query().unwrap_or_default());
    Ok(Response::builder()
        .header("content-type", "text/plain")
        .body(text.into())?)
}
