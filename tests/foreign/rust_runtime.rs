//! A function on AWS's own runtime for Rust: answers with its event.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let echo = |event: LambdaEvent<Value>| async move { Ok::<_, Error>(event.payload) };
    run(service_fn(echo)).await
}
