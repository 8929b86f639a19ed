//! A server that takes batches: status 204 if the body of the first message is a number, else 422.

use serde_json::Value;
use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (_, mut body) = request.into_parts();
    let batch: Value = serde_json::from_slice(body.contents().await?)?;
    let body = batch["Records"][0]["body"].as_str().unwrap_or_default();
    eprintln!("saw {body}");
    let status = match body.parse::<u64>() {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(Response::builder().status(status).body(Body::empty())?)
}
