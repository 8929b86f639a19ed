//! Streams as many bytes as the event's query asks for, as a program writes to stdout.

use std::io::{self, Write};

use orlop_bench_guests::{Event, pieces};

fn main() -> io::Result<()> {
    let event: Event = serde_json::from_reader(io::stdin().lock())?;
    let mut stdout = io::stdout().lock();
    for piece in pieces(&event.raw_query_string) {
        stdout.write_all(piece)?;
    }
    stdout.flush()
}
