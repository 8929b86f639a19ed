//! Does what its first record says, and logs `begin`, what it saw, and `end`.
//!
//! The word is in a message's body, a Kinesis partition key or a DynamoDB key called `verb`; what follows it is its argument.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use orlop_sdk::Error;
use serde_json::Value;

/// What a sandbox that had an event before would show.
static EVENTS: AtomicU64 = AtomicU64::new(0);

#[orlop_sdk::handler]
fn record(event: Vec<u8>) -> Result<Vec<u8>, Error> {
    let batch: Value = serde_json::from_slice(&event)?;
    let record = &batch["Records"][0];
    let id = text(
        record,
        &["/messageId", "/kinesis/sequenceNumber", "/dynamodb/SequenceNumber"],
    );
    let events = EVENTS.fetch_add(1, Ordering::Relaxed) + 1;
    let files = fs::read_dir("/tmp")?.count();
    fs::write("/tmp/mark", id)?;
    eprintln!("begin {id} event={events} files={files}");
    eprintln!("saw {}", event.escape_ascii());

    let words = text(record, &["/body", "/kinesis/partitionKey", "/dynamodb/Keys/verb/S"]);
    let (verb, argument) = words.split_once(' ').unwrap_or((words, ""));
    let answer = carry_out(verb, argument)?;
    eprintln!("end {id}");
    Ok(answer.into())
}

fn text<'a>(record: &'a Value, places: &[&str]) -> &'a str {
    let found = places.iter().find_map(|place| record.pointer(place)?.as_str());
    found.unwrap_or_default()
}

#[expect(clippy::exit, reason = "this is a misbehaviour")]
fn carry_out(verb: &str, argument: &str) -> Result<String, Error> {
    match verb {
        "fail" => return Err(Error::new("Poison", argument)),
        "panic" => panic!("{argument}"),
        "exit" => std::process::exit(argument.parse()?),
        "exhaust" => exhaust(),
        "spin" => spin(),
        "sleep" => thread::sleep(Duration::from_millis(argument.parse()?)),
        "answer" => return Ok(argument.to_owned()),
        _ => {}
    }
    Ok("null".to_owned())
}

fn exhaust() {
    let mut blocks = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn spin() {
    while std::hint::black_box(true) {}
}
