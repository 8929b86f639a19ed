//! As `fetch`, on `wasi:http` 0.3: a server that finds the description in a request's body.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::http_compat::{
    IncomingResponseBody, http_from_wasi_request, http_from_wasi_response, http_into_wasi_request,
    http_into_wasi_response,
};

wasip3::http::service::export!(Fetch);

struct Fetch;

#[derive(Deserialize)]
struct Wanted {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

impl wasip3::exports::http::handler::Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let body = http_from_wasi_request(request)?.into_body().collect().await?.to_bytes();
        let answer = match serde_json::from_slice(&body) {
            Ok(wanted) => fetch(wanted).await,
            Err(error) => json!({ "error": error.to_string() }),
        };
        http_into_wasi_response(http::Response::new(answer.to_string()))
    }
}

async fn fetch(wanted: Wanted) -> Value {
    let (status, headers, body) = match send(wanted).await {
        Ok(response) => response,
        Err(error) => return json!({ "error": format!("{error:?}") }),
    };
    match read(body).await {
        Ok(body) => json!({ "status": status, "headers": texts(&headers), "body": body }),
        Err(error) => json!({ "status": status, "error": format!("{error:?}") }),
    }
}

async fn send(wanted: Wanted) -> Result<(u16, HeaderMap, IncomingResponseBody), ErrorCode> {
    let method = wanted.method.map_or(Ok(Method::GET), |method| method.parse());
    let mut request = http::Request::builder()
        .method(method.map_err(|_| ErrorCode::HttpRequestMethodInvalid)?)
        .uri(wanted.url);
    for (name, value) in wanted.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(wanted.body)
        .map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    let response = client::send(http_into_wasi_request(request)?).await?;
    let (head, body) = http_from_wasi_response(response)?.into_parts();
    Ok((head.status.as_u16(), head.headers, body))
}

/// Says on stderr when a part of the body has come.
async fn read(mut body: IncomingResponseBody) -> Result<String, ErrorCode> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
            eprintln!("received {} bytes", whole.len());
        }
    }
    Ok(String::from_utf8_lossy(&whole).into_owned())
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

fn main() {}
