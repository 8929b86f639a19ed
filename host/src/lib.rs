//! Orlop's runtime: answers AWS Lambda events with sandboxed WebAssembly components.
//!
//! The map of the house, in the order one event passes through it:
//!
//! - [`lambda`] is the process: Init, the loop, the watch over it, and what its end means.
//! - [`config`] reads arguments and environment variables, once.
//! - [`manifest`] is the file `orlop.toml`: functions, grants and routes.
//! - [`snap_start`] is the end of Init where Lambda writes the process down and continues copies of it.
//! - [`runtime_api`] speaks Lambda's Runtime API: next, response, error.
//! - [`invoke_loop`] is the Invoke phase: next, invoke, answer, again.
//! - [`pollers`] is the same on Managed Instances, several times at once.
//! - [`watchdog`] stops what runs past its deadline and hears termination signals.
//! - [`entropy`] is where random numbers come from.
//! - [`shortage`] says which limit of the process was too small to start.
//! - [`wall`] is what the kernel takes from the process, on request.
//! - [`deployment`] is every function of the process, and chooses one for an event.
//! - [`function`] is a loaded guest and the sandboxes it runs in.
//! - [`events`] translates between events and HTTP.
//! - [`worlds`] calls a guest through the WIT interface it exports.
//! - [`sandbox`] is one store with its WASI context and its limits.
//! - [`artifact`] finds, checks and loads precompiled components, and makes them.
//! - [`engine`] configures wasmtime, in one place.
//!
//! [`invocation`], [`error`] and [`pieces`] are what passes between them, [`telemetry`] is how they are heard.

pub mod artifact;
pub mod config;
pub mod deployment;
pub mod engine;
pub mod entropy;
pub mod error;
mod event_loop;
pub mod events;
pub mod function;
pub mod handover;
mod in_place;
pub mod invocation;
pub mod invoke_loop;
pub mod lambda;
pub mod manifest;
pub mod pieces;
pub mod pollers;
pub mod runtime_api;
pub mod sandbox;
pub mod shortage;
pub mod snap_start;
pub mod telemetry;
pub mod wall;
pub mod watchdog;
pub mod worlds;
