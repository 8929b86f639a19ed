//! The event loop of a native function.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// With the argument `one-thread`, the loop that suits one event at a time; else what `#[tokio::main]` makes, as in AWS's
/// examples.
pub(crate) fn new() -> io::Result<Runtime> {
    let mut builder = match std::env::args().nth(1).as_deref() {
        Some("one-thread") => Builder::new_current_thread(),
        Some(_) | None => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}
