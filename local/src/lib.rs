//! The part of AWS Lambda that a developer needs on a laptop.
//!
//! The [`platform`] starts execution environments when events come. Each is a real child process in runtime mode, served by a
//! Runtime API of its own: events take the very path that they take on Lambda. The [`journal`] hears of everything.

pub mod aws_endpoint;
pub mod event_source_mapping;
pub mod function;
pub mod gateway;
pub mod invocation;
pub mod invoke_api;
pub mod journal;
pub mod page;
pub mod platform;
pub mod queue;
mod runtime_api_server;
pub mod server;

pub use function::Function;
pub use invocation::{Answer, AnswerBody, Invocation};
pub use journal::Journal;
pub use platform::Platform;
