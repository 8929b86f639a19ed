//! Works through a batch of orders from a queue and hands back the ones that failed.

use orlop_sdk::{
    Error,
    events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage},
    handler,
};
use serde::Deserialize;

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
    let mut has_stopped = false;
    for message in &batch.records {
        let id = message.message_id.as_deref().unwrap_or_default();
        if has_stopped {
            eprintln!("{id}: left for later, an earlier message of the batch failed");
            response.add_failure(id);
        } else if let Err(error) = process(message) {
            eprintln!("{id}: {error:?}");
            response.add_failure(id);
            has_stopped = is_ordered(message);
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

/// A FIFO queue promises order: the failed message will come again, so what follows it has to come again after it, even if
/// it could be processed now.
fn is_ordered(message: &SqsMessage) -> bool {
    message
        .event_source_arn
        .as_deref()
        .is_some_and(|arn| arn.ends_with(".fifo"))
}
