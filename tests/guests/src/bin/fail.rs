//! Fails with the `type` and the `message` of the event, whatever they are; answers `null` when there is no `type`.

use orlop_sdk::Error;
use serde_json::Value;

#[orlop_sdk::handler]
fn fail(event: Value) -> Result<(), Error> {
    match event["type"].as_str() {
        Some(error_type) => Err(Error::new(error_type, event["message"].as_str().unwrap_or_default())),
        None => Ok(()),
    }
}
