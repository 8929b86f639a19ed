//! What a user of the local platform observes, one sentence a test; with AWS's clients, curl and a browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod build;
mod dev;
mod event_source_mapping;
mod gateway;
mod invoke_api;
mod new;
mod page;
mod platform;
mod projects;
mod queue;
mod support;
