//! Support for the integration tests: the compiled guests, a fake of Lambda's Runtime API, and the processes under test.
//!
//! A test starts a [`FakeRuntimeApi`] with a script, starts a [`Host`] against it, and asserts on what crossed the wire.
//! Nothing here links the host: it is run as the binary that ships. Waiting is for a condition, never for a time, and
//! every wait that expires panics with all that was seen until then.

pub mod browser;
pub mod caller;
pub mod certificates;
pub mod component;
pub mod emulator;
pub mod examples;
pub mod fake_runtime_api;
pub mod foreign;
pub mod guests;
pub mod handwritten;
pub mod held;
pub mod host;
pub mod http_server;
pub mod image;
pub mod moto;
pub mod process;
pub mod queue_server;
pub mod served;
pub mod stock;
pub mod strict_queue;
pub mod tools;
pub mod toxic_proxy;

pub use browser::Browser;
pub use caller::Caller;
pub use component::Component;
pub use emulator::Emulator;
pub use fake_runtime_api::{Answer, Event, FakeRuntimeApi, Reply};
pub use held::Held;
pub use host::{Host, TaskRoot, bootstrap, bootstrap_for_aarch64, compile, compile_with, orlop};
pub use http_server::HttpServer;
pub use moto::Moto;
pub use process::{Process, Signal};
pub use queue_server::QueueServer;
pub use served::{Served, text};
pub use strict_queue::StrictQueue;
pub use toxic_proxy::{End, Toxic, ToxicProxy};
