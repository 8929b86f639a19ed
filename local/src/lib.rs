//! The part of AWS Lambda that a developer needs on a laptop.
//!
//! An [`Environment`] is a real child process in runtime mode, served by a Runtime API of its own: events take the very path
//! that they take on Lambda.

mod environment;
mod runtime_api_server;

pub use environment::{Environment, Settings, StartError};
pub use runtime_api_server::{Answer, Event};
