//! Works through the orders in a queue.

use orlop_sdk::{
    Error,
    events::sqs::{SqsEvent, SqsMessage},
    handler,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Order {
    item: String,
    quantity: u32,
}

/// With `batch = "record"` in `orlop.toml`, Orlop calls this once for each message, in a sandbox of its own, and tells the
/// queue which of them failed.
#[handler]
fn work(batch: SqsEvent) -> Result<(), Error> {
    batch.records.iter().try_for_each(process)
}

/// An order that comes again has to do no harm: a queue may deliver a message more than once.
fn process(message: &SqsMessage) -> Result<(), Error> {
    let Order { item, quantity } = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
    if quantity == 0 {
        return Err(Error::new("EmptyOrder", format!("an order of no {item}")));
    }
    eprintln!("{quantity} of {item} ordered");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(event: &str) -> SqsEvent {
        serde_json::from_str(event).unwrap()
    }

    #[test]
    fn good_orders_are_done() {
        work(batch(include_str!("../events/orders.json"))).unwrap();
    }

    #[test]
    fn an_order_of_nothing_fails_and_so_does_what_is_no_order() {
        let batch = batch(include_str!("../events/two-bad.json"));
        let results: Vec<bool> = batch.records.iter().map(|message| process(message).is_ok()).collect();
        assert_eq!(results, [true, false, false]);
    }
}
