//! Makes the request that the event describes through `wasi:http` 0.2, and answers with what came back or the error's name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use wstd::http::body::Bytes;
use wstd::http::body::util::Full;
use wstd::http::error::ErrorCode;
use wstd::http::{Body, BodyExt, Client, Error, Request};

#[derive(Deserialize)]
struct Wanted {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The guest's own patience for the first byte of the response.
    first_byte_timeout_ms: Option<u64>,
}

#[orlop_sdk::handler]
fn fetch(wanted: Wanted) -> Value {
    wstd::runtime::block_on(async {
        // An event for what must never arrive says where the failure was.
        let (status, headers, body) = match send(wanted).await {
            Ok(response) => response,
            Err(error) => return json!({ "error": name(&error) }),
        };
        match read(body).await {
            Ok(body) => json!({ "status": status, "headers": headers, "body": body }),
            Err(error) => json!({ "status": status, "error": name(&error) }),
        }
    })
}

async fn send(wanted: Wanted) -> Result<(u16, BTreeMap<String, String>, Body), Error> {
    let mut request = Request::builder()
        .method(wanted.method.as_deref().unwrap_or("GET"))
        .uri(wanted.url);
    for (name, value) in wanted.headers {
        request = request.header(name, value);
    }
    let mut client = Client::new();
    if let Some(milliseconds) = wanted.first_byte_timeout_ms {
        client.set_first_byte_timeout(Duration::from_millis(milliseconds));
    }
    let body = Body::from_http_body(Full::<Bytes>::from(wanted.body));
    let response = client.send(request.body(body)?).await?;
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    Ok((response.status().as_u16(), headers.collect(), response.into_body()))
}

/// Says on stderr when a part of the body has come.
async fn read(body: Body) -> Result<String, Error> {
    let mut body = body.into_boxed_body();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
            eprintln!("received {} bytes", whole.len());
        }
    }
    Ok(String::from_utf8_lossy(&whole).into_owned())
}

/// `HttpRequestDenied` and the like; for an error without a code, all of it.
fn name(error: &Error) -> String {
    match error.downcast_ref::<ErrorCode>() {
        Some(code) => format!("{code:?}"),
        None => format!("{error:#}"),
    }
}
