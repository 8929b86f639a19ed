//! Functions that need no WebAssembly, and a platform for them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use orlop_local::invocation::Report;
use orlop_local::{Function, Invocation, Journal, Platform, platform};
use serde_json::Value;

/// A function that does what its event says; `tests/foreign/python/runtime.py` says how.
#[expect(
    clippy::disallowed_methods,
    reason = "Python is where the caller of the tests has it"
)]
pub(crate) fn function(name: &str) -> Function {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign/python/runtime.py");
    Function {
        name: name.to_owned(),
        program: "python3".into(),
        arguments: vec![script.to_str().unwrap().to_owned()],
        working_directory: None,
        variables: vec![("PATH".to_owned(), std::env::var("PATH").unwrap())],
        memory_mib: 128,
        timeout: Duration::from_secs(20),
        concurrency: NonZeroU32::new(100).unwrap(),
        events_per_environment: None,
    }
}

/// A platform with these functions.
pub(crate) fn platform(functions: impl IntoIterator<Item = Function>) -> Platform {
    let platform = Platform::new(Journal::default(), platform::Settings::default());
    functions.into_iter().for_each(|function| platform.deploy(function));
    platform
}

/// The whole answer to an event, or the function's error; and the report.
pub(crate) async fn invoke(platform: &Platform, name: &str, event: Value) -> (Result<Value, Value>, Report) {
    let invocation = Invocation {
        payload: event.to_string().into(),
        source: "test".to_owned(),
        ..Invocation::default()
    };
    let answer = platform.invoke(name, invocation).await.unwrap();
    let json = |bytes: bytes::Bytes| serde_json::from_slice(&bytes).unwrap();
    let body = answer.body.collect().await.map(json).map_err(json);
    (body, answer.report.await.unwrap())
}
