//! Answers with its context: all fields, the deadline in ms since the epoch, and the time left in ms.

use std::time::UNIX_EPOCH;

use orlop_sdk::{Context, Error};
use serde_json::{Value, json};

#[orlop_sdk::handler]
fn context(_event: Vec<u8>, context: Context) -> Result<Value, Error> {
    let deadline = context.deadline.duration_since(UNIX_EPOCH)?;
    Ok(json!({
        "request_id": context.request_id,
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "deadline_ms": u64::try_from(deadline.as_millis())?,
        "remaining_ms": u64::try_from(context.remaining_time().as_millis())?,
        "memory_limit_mb": context.memory_limit_mb,
        "trace_id": context.trace_id,
        "client_context": context.client_context,
        "identity": context.identity,
        "tenant_id": context.tenant_id,
        "log_group": context.log_group,
        "log_stream": context.log_stream,
    }))
}
