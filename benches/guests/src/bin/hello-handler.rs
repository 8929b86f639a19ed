//! Greets, through Orlop's own interface.

use orlop_bench_guests::{Answer, Event};
use orlop_sdk::handler;

#[handler]
fn greet(event: Event) -> Answer {
    Answer::new(&event)
}
