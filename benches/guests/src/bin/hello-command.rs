//! Greets, as a program: the event on stdin, the answer on stdout.

use std::io;

use orlop_bench_guests::{Answer, Event};

fn main() -> serde_json::Result<()> {
    let event: Event = serde_json::from_reader(io::stdin().lock())?;
    serde_json::to_writer(io::stdout().lock(), &Answer::new(&event))
}
