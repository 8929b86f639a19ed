//! Charges for the orders in a queue; may call the payment host and nothing else.

use orders::Order;
use orlop_sdk::{
    Error,
    events::sqs::{SqsEvent, SqsMessage},
    handler,
};
use serde_json::json;
use std::env;
use wstd::http::{Body, Client, Request};
use wstd::runtime::block_on;

/// With `batch = "record"` Orlop calls this once for each message, and tells the queue which of them failed. Without, a
/// failure brings the whole batch back; the payment host then knows by the key which messages it has charged for.
#[handler]
fn work(batch: SqsEvent) -> Result<(), Error> {
    let url = env::var("PAYMENT_URL").map_err(|error| Error::message(format!("PAYMENT_URL: {error}")))?;
    batch.records.iter().try_for_each(|message| charge(&url, message))
}

fn charge(url: &str, message: &SqsMessage) -> Result<(), Error> {
    let id = message.message_id.as_deref().unwrap_or_default();
    let body = message.body.as_deref().unwrap_or_default();
    let order = Order::parse(body.as_bytes()).map_err(|problem| Error::new("InvalidOrder", problem))?;

    let charge = json!({ "reference": id, "cents": order.price() }).to_string();
    let request = Request::post(url)
        .header("content-type", "application/json")
        .header("content-length", charge.len())
        .header("idempotency-key", id)
        .body(Body::from(charge))?;
    let response = block_on(async { Client::new().send(request).await })
        .map_err(|error| Error::new("PaymentUnavailable", format!("cannot reach {url}: {error:#}")))?;
    if !response.status().is_success() {
        return Err(Error::new(
            "PaymentRefused",
            format!("{url} answered {}", response.status()),
        ));
    }
    eprintln!(
        "charged {} cents for {} of {}",
        order.price(),
        order.quantity,
        order.item
    );
    Ok(())
}
