//! A small order service behind an API Gateway HTTP API or a Function URL.

use orlop_sdk::{
    events::{apigw::ApiGatewayV2httpRequest, encodings::Base64Data},
    handler,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The orders that are there already. An instance lives for one request, so new ones belong into a database.
const ORDERS: [(&str, &str, u32); 3] = [("1001", "rope", 12), ("1002", "tar", 3), ("1003", "lantern", 1)];

#[derive(Serialize)]
struct Order {
    id: String,
    item: String,
    quantity: u32,
}

#[derive(Deserialize)]
struct NewOrder {
    item: String,
    quantity: u32,
}

/// The answer in API Gateway's payload format 2.0.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
}

/// Every request has a response, so the answer is no `Result`: a function error would reach the client as a bare 500.
#[handler]
fn route(request: ApiGatewayV2httpRequest) -> Response {
    let path = request.raw_path.as_deref().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    // API Gateway puts the stage in front of the path, unless it is the default one.
    let stage = request.request_context.stage.as_deref().unwrap_or_default();
    let segments = segments.strip_prefix(&[stage]).unwrap_or(&segments);
    let method = request.request_context.http.method.as_str();

    match (segments, method) {
        ([], "GET") => respond(200, &serde_json::json!({ "service": "orders", "orders": ORDERS.len() })),
        (["orders"], "GET") => list(&request),
        (["orders"], "POST") => create(&request),
        (["orders", id], "GET") => match orders().find(|order| order.id == *id) {
            Some(order) => respond(200, &order),
            None => refuse(404, &format!("there is no order {id}")),
        },
        ([] | ["orders", _], _) => not_allowed("GET"),
        (["orders"], _) => not_allowed("GET, POST"),
        _ => refuse(404, &format!("there is no {path}")),
    }
}

fn list(request: &ApiGatewayV2httpRequest) -> Response {
    let limit = match request.query_string_parameters.first("limit").map(str::parse) {
        None => ORDERS.len(),
        Some(Ok(limit)) => limit,
        Some(Err(_)) => return refuse(400, "limit is not a number"),
    };
    respond(200, &orders().take(limit).collect::<Vec<_>>())
}

fn create(request: &ApiGatewayV2httpRequest) -> Response {
    let NewOrder { item, quantity } = match read_body(request) {
        Ok(order) => order,
        Err(error) => return refuse(400, &format!("the body is not an order: {error}")),
    };
    let id = request.request_context.request_id.clone().unwrap_or_default();
    let mut response = respond(
        201,
        &Order {
            id: id.clone(),
            item,
            quantity,
        },
    );
    response.headers.insert("location", format!("/orders/{id}"));
    response
}

/// Clients send JSON under any content type, and API Gateway encodes all but a few of them as base64.
fn read_body<T: for<'de> Deserialize<'de>>(request: &ApiGatewayV2httpRequest) -> serde_json::Result<T> {
    let body = request.body.clone().unwrap_or_default();
    if request.is_base64_encoded {
        let bytes: Base64Data = serde_json::from_value(body.into())?;
        serde_json::from_slice(&bytes)
    } else {
        serde_json::from_str(&body)
    }
}

fn orders() -> impl Iterator<Item = Order> {
    ORDERS.into_iter().map(|(id, item, quantity)| Order {
        id: id.to_owned(),
        item: item.to_owned(),
        quantity,
    })
}

fn respond(status_code: u16, body: &impl Serialize) -> Response {
    Response {
        status_code,
        headers: BTreeMap::from([("content-type", "application/json".to_owned())]),
        body: serde_json::to_string(body).expect("the bodies here have string keys only"),
    }
}

fn refuse(status_code: u16, message: &str) -> Response {
    respond(status_code, &serde_json::json!({ "message": message }))
}

fn not_allowed(allowed: &str) -> Response {
    let mut response = refuse(405, "method not allowed");
    response.headers.insert("allow", allowed.to_owned());
    response
}
