//! Functions for Orlop: a plain Rust function becomes a WebAssembly component.
//!
//! A guest is a bin crate with one handler. [`handler`] exports it as `orlop:function/handler`, which Orlop calls for
//! each Lambda event, and writes a `main` around it, so the same file is a program too:
//! `wasmtime run hello.wasm < event.json` prints the answer. Nothing else may be printed to stdout then; log to stderr.
//!
//! The event is any type that serde can deserialise, the answer any type that it can serialise; both are JSON unless
//! the type is `Vec<u8>`, which stands for the bytes themselves. A [`Context`] as second argument carries the request
//! id, the deadline and the like. An [`Error`] is made from any `std::error::Error` by `?`, and reaches the caller with
//! its type, its message and its causes. The event types of AWS are in `events`, one Cargo feature per source.
//!
//! ```
#![doc = include_str!("../../examples/hello/src/main.rs")]
//! ```

mod bindings;
mod codec;
mod context;
mod error;
mod program;

pub use context::Context;
pub use error::Error;

/// The event types of AWS, one Cargo feature per module: `apigw`, `sqs`, …
///
/// This is the crate `aws_lambda_events`. A source that has no feature here is reached by depending on that crate.
#[cfg(feature = "events")]
pub use aws_lambda_events as events;

/// Makes a function the handler of this guest.
///
/// ```
/// use orlop_sdk::{Context, Error, handler};
///
/// #[handler]
/// fn name(event: Vec<u8>, context: Context) -> Result<String, Error> {
///     eprintln!("{} bytes, {:?} left", event.len(), context.remaining_time());
///     Ok(context.function_name)
/// }
/// ```
///
/// The function takes the event, or the event and a [`Context`]. It returns a `Result` whose error is [`Error`] or
/// any `std::error::Error`; a function that cannot fail may return its answer as it is. The macro writes `main`, so it
/// belongs in `main.rs`, outside any module, and no function there can have that name.
///
/// # Preparing once
///
/// ```
/// use std::{convert::Infallible, num::ParseIntError, sync::OnceLock};
///
/// static LIMIT: OnceLock<u32> = OnceLock::new();
///
/// #[orlop_sdk::handler(init = prepare)]
/// fn is_allowed(amount: u32) -> Result<bool, Infallible> {
///     Ok(LIMIT.get().is_some_and(|limit| amount <= *limit))
/// }
///
/// fn prepare() -> Result<(), ParseIntError> {
///     LIMIT.get_or_init(|| 100);
///     Ok(())
/// }
/// ```
///
/// `init` names a function that runs once, in Lambda's Init phase or at the start of the program. A guest that has
/// one exports `orlop:function/lifecycle` as well, and is kept from event to event with what it has prepared; a guest
/// without gets a fresh memory for each event. `orlop build --snapshot` runs it when the component is built.
///
/// # SnapStart
///
/// ```
/// use std::{cell::Cell, convert::Infallible, time::SystemTime};
///
/// thread_local!(static BEGAN: Cell<SystemTime> = const { Cell::new(SystemTime::UNIX_EPOCH) });
///
/// #[orlop_sdk::handler(init = begin, after_restore = begin)]
/// fn age_in_seconds(_event: ()) -> u64 {
///     BEGAN.get().elapsed().map_or(0, |age| age.as_secs())
/// }
///
/// fn begin() -> Result<(), Infallible> {
///     BEGAN.set(SystemTime::now());
///     Ok(())
/// }
/// ```
///
/// `before_snapshot` and `after_restore` name functions that run around the snapshot which Lambda's SnapStart takes at the
/// end of Init. A guest that has one of them is kept through it; without, it is made anew after each restore.
pub use orlop_sdk_macros::handler;

/// What the expansion of [`handler`] calls. No part of the public API: it changes with the macro.
#[doc(hidden)]
pub mod __internal {
    pub use crate::{
        bindings::{Function, export_handler, export_lifecycle, export_snap_start, function, preparation, snap_start},
        codec::{Fallible, Infallible, Prepared, decode, prepare},
        program::main,
    };
}
