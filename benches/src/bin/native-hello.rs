//! The example `hello` as a native function: what its users would run without Orlop.
#![expect(
    unused_imports,
    reason = "the example imports an attribute that a native function has no use for"
)]

#[path = "native/event_loop.rs"]
mod event_loop;

use lambda_runtime::{LambdaEvent, service_fn};

include!(concat!(env!("OUT_DIR"), "/hello.rs"));

fn main() -> Result<(), lambda_runtime::Error> {
    let handler = async |event: LambdaEvent<Request>| greet(event.payload).map_err(|error| error.to_string());
    event_loop::new()?.block_on(lambda_runtime::run(service_fn(handler)))
}
