//! The site in Rust, on `wasi:http/handler` 0.3.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasip3::http::types::{self, ErrorCode, Method, Request};
use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};

wasip3::http::service::export!(Site);

struct Site;

impl wasip3::exports::http::handler::Guest for Site {
    async fn handle(request: Request) -> Result<types::Response, ErrorCode> {
        http_into_wasi_response(answer(request).await?)
    }
}

async fn answer(request: Request) -> Result<Response<Full<Bytes>>, ErrorCode> {
    let target = request.get_path_with_query().unwrap_or_else(|| "/".to_owned());
    let path = target.split('?').next().unwrap_or_default();
    if let Some(status) = path.strip_prefix("/status/") {
        let status = StatusCode::from_bytes(status.as_bytes()).expect("the caller asks for a status that exists");
        return Ok(response()
            .status(status)
            .body(Full::default())
            .expect("a status is enough"));
    }
    let (response, body) = match path {
        "/" => (response(), Bytes::from_static(b"Hello from Rust\n")),
        "/echo" => {
            let mut response = response();
            for value in request.get_headers().get("content-type") {
                response = response.header(header::CONTENT_TYPE, value);
            }
            let body = http_from_wasi_request(request)?.into_body().collect().await?.to_bytes();
            (response, body)
        }
        "/request" => (
            response().header(header::CONTENT_TYPE, "application/json"),
            describe(&request, &target),
        ),
        "/cookies" => {
            let response = response()
                .header(header::SET_COOKIE, "a=1; Path=/")
                .header(header::SET_COOKIE, "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT");
            (response, Bytes::from_static(b"cookies\n"))
        }
        "/bytes" => (
            response().header(header::CONTENT_TYPE, "application/octet-stream"),
            (0..=255).collect(),
        ),
        "/fail" => panic!("asked to"),
        _ => (
            response().status(StatusCode::NOT_FOUND),
            Bytes::from_static(b"no such page\n"),
        ),
    };
    Ok(response.body(Full::new(body)).expect("the headers are valid"))
}

fn response() -> http::response::Builder {
    Response::builder()
}

fn describe(request: &Request, target: &str) -> Bytes {
    let method = match request.get_method() {
        Method::Other(name) => name,
        named => format!("{named:?}").trim_start_matches("Method::").to_uppercase(),
    };
    let mut headers = request.get_headers().copy_all();
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    let headers = headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-test-"))
        // Latin-1, in which every byte is a character.
        .map(|(name, value)| (name, value.iter().copied().map(char::from).collect::<String>()))
        .collect::<Vec<_>>();
    serde_json::json!({ "method": method, "path": target, "headers": headers })
        .to_string()
        .into()
}
