//! A small web server: an ordinary `wasi:http` component, which `wasmtime serve` runs as well.

use wstd::http::{Body, Error, Method, Request, Response, StatusCode};

const PAGE: &str = include_str!("page.html");

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, mut body) = request.into_parts();
    let response = route(&head.method, head.uri.path(), body.contents().await?)?;
    Ok(response.map(Body::from))
}

fn route(method: &Method, path: &str, body: &[u8]) -> Result<Response<String>, Error> {
    let (status, content_type, content) = match (path, method) {
        ("/", &Method::GET | &Method::HEAD) => (StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned()),
        ("/shout", &Method::POST) => {
            let words = String::from_utf8_lossy(body).to_uppercase();
            (StatusCode::OK, "text/plain; charset=utf-8", words)
        }
        ("/" | "/shout", _) => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "not like this\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "there is no such page\n".to_owned()),
    };
    Ok(Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_html() {
        let response = route(&Method::GET, "/", b"").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body().starts_with("<!doctype html>"));
    }

    #[test]
    fn what_is_posted_comes_back_louder() {
        let response = route(&Method::POST, "/shout", "land ahoy, Zoë".as_bytes()).unwrap();
        assert_eq!(response.body(), "LAND AHOY, ZOË");
    }

    #[test]
    fn other_pages_and_methods_are_refused() {
        for (method, path, status) in [
            (Method::GET, "/nowhere", StatusCode::NOT_FOUND),
            (Method::GET, "/shout", StatusCode::METHOD_NOT_ALLOWED),
            (Method::DELETE, "/", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            assert_eq!(route(&method, path, b"").unwrap().status(), status, "{method} {path}");
        }
    }
}
