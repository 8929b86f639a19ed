//! Takes orders and shows them: a plain `wasi:http` component without any grant.

use orders::{Order, orders};
use serde_json::{Value, json};
use wstd::http::{Body, Error, Method, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, mut body) = request.into_parts();
    let (status, answer) = route(&head.method, head.uri.path(), body.contents().await?);
    Ok(Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(answer.to_string().into())?)
}

fn route(method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
    match (path.strip_prefix("/orders"), method) {
        (Some(""), &Method::POST) => match Order::parse(body) {
            Ok(order) => (StatusCode::ACCEPTED, describe(&order)),
            Err(message) => (StatusCode::BAD_REQUEST, json!({ "message": message })),
        },
        (Some(rest), &Method::GET) if rest.starts_with('/') => match orders().find(|(id, _)| *id == &rest[1..]) {
            Some((_, order)) => (StatusCode::OK, describe(&order)),
            None => (
                StatusCode::NOT_FOUND,
                json!({ "message": format!("there is no order {}", &rest[1..]) }),
            ),
        },
        _ => (
            StatusCode::NOT_FOUND,
            json!({ "message": format!("there is no {method} {path}") }),
        ),
    }
}

fn describe(order: &Order) -> Value {
    json!({ "item": order.item, "quantity": order.quantity, "price": order.price() })
}
