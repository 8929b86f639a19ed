//! What GetFunction, GetFunctionConfiguration and ListFunctions say: enough for `aws lambda list-functions` and for the waiters
//! of SDKs, which want a state `Active` and a last update that was `Successful`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::VERSION;
use crate::function::Function;

/// A function's `FunctionConfiguration`. Its variables are not told: they may be secrets of the developer's shell.
pub(super) fn configuration(function: &Function, qualifier: Option<&str>) -> Value {
    json!({
        "FunctionName": function.name,
        "FunctionArn": function.arn(qualifier),
        "Version": VERSION,
        "PackageType": "Image",
        // A whole number there.
        "Timeout": function.timeout.as_secs().max(1),
        "MemorySize": function.memory_mib,
        "Architectures": [if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }],
        "State": "Active",
        "LastUpdateStatus": "Successful",
    })
}

/// What GetFunction says.
pub(super) fn function(function: &Function, qualifier: Option<&str>) -> Value {
    json!({
        "Configuration": configuration(function, qualifier),
        "Code": {},
        "Concurrency": { "ReservedConcurrentExecutions": function.concurrency },
    })
}

/// What ListFunctions says: all of them on one page.
pub(super) fn list(functions: &[Arc<Function>]) -> Value {
    let functions = functions.iter().map(|function| configuration(function, None));
    json!({ "Functions": functions.collect::<Vec<_>>() })
}
