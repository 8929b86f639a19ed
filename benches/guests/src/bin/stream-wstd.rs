//! Streams over HTTP as many bytes as the query asks for, with the library `wstd` and its event loop.

use futures_lite::stream;
use orlop_bench_guests::pieces;
use wstd::http::body::Bytes;
use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let pieces = pieces(request.uri().query().unwrap_or_default());
    Ok(Response::new(Body::from_stream(stream::iter(
        pieces.map(Bytes::from_static),
    ))))
}
