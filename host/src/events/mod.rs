//! HTTP over Lambda events: what AWS's front doors send as an event becomes a request, and a response becomes the
//! answer that the same front door understands.
//!
//! Pure functions over bytes; who calls the guest is elsewhere. [`HttpEvent::recognise`] tells HTTP events from others,
//! [`HttpEvent::to_request`] translates one, [`envelope`] and [`prelude`] translate the response, and [`pass_through`]
//! is for events that are no HTTP but are handed to an HTTP guest all the same. The rules are those of the runtime
//! contract, §10 and §3.4, and of its conformance statements 62, 63 and 89 to 99.

pub mod batch;
mod context;
mod envelope;
mod headers;
mod json;
mod pass_through;
mod request;
mod scanner;
mod source;
mod target;

pub use context::LambdaContext;
pub use envelope::{Envelope, Replaced, envelope, has_body, prelude};
pub use pass_through::{DEFAULT_PASS_THROUGH_PATH, PassThroughError, pass_through, pass_through_answer};
pub use request::{Refusal, RequestSettings};
pub use source::{HttpEvent, Source};
