//! What a user of Orlop observes, one sentence a test; over real sockets, with real guests and the binaries that ship.
//!
//! A comment names the conformance statement of Lambda's contract that a test holds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod artifacts;
mod batch;
mod command;
mod compiling;
mod concurrency;
mod configuration;
mod context;
mod cost;
mod deadline;
mod deployment;
mod doctor;
mod documentation;
mod emulator;
mod errors;
mod examples;
mod grants;
mod http;
mod http_fixtures;
mod init;
mod invoke;
mod isolation;
mod lifecycle;
mod limits;
mod logging;
mod processors;
mod sandbox;
mod second_wall;
mod signing;
mod site;
mod snap_start;
mod snapshots;
mod soak;
mod streaming;
mod supply_chain;
mod tls;
mod tool;

use std::time::Duration;

use orlop_tests::{Served, text};

/// How long a process may take to end once it has to.
const END: Duration = Duration::from_secs(5);
