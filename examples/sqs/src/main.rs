//! Works through a batch of orders from a queue and hands back the ones that failed.

use orlop_sdk::{
    Error,
    events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage},
    handler,
};
use serde::Deserialize;
use std::collections::HashSet;

#[derive(Deserialize)]
struct Order {
    item: String,
    quantity: u32,
}

/// The event source mapping must have `ReportBatchItemFailures`: it makes the queue deliver again what is listed in the
/// answer, and nothing else. Without it the answer is ignored and every message counts as done.
#[handler]
fn work(batch: SqsEvent) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let mut stopped_groups = HashSet::new();
    for message in &batch.records {
        let id = message.message_id.as_deref().unwrap_or_default();
        let group = ordered_group(message);
        // A FIFO queue promises the order within a message group. The failed message will come again, so what
        // follows it in its group has to come again after it, even if it could be processed now.
        if group.is_some_and(|group| stopped_groups.contains(group)) {
            eprintln!("{id}: left for later, its group has stopped");
            response.add_failure(id);
        } else if let Err(error) = process(message) {
            eprintln!("{id}: {error:?}");
            response.add_failure(id);
            stopped_groups.extend(group);
        }
    }
    response
}

fn process(message: &SqsMessage) -> Result<(), Error> {
    let Order { item, quantity } = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
    if quantity == 0 {
        return Err(Error::new("EmptyOrder", format!("an order of no {item}")));
    }
    eprintln!("{quantity} of {item} ordered");
    Ok(())
}

/// The message group, if its order counts. Standard queues have groups too, but only for fairness.
fn ordered_group(message: &SqsMessage) -> Option<&str> {
    let is_fifo = message
        .event_source_arn
        .as_deref()
        .is_some_and(|arn| arn.ends_with(".fifo"));
    message
        .attributes
        .get("MessageGroupId")
        .filter(|_| is_fifo)
        .map(String::as_str)
}
