//! A program that does what its first argument says with its stdin; nothing of Orlop is in it.

#![expect(
    clippy::disallowed_methods,
    reason = "a program learns of its event through its environment"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// What an instance that had an event before would show.
static EVENTS: AtomicU64 = AtomicU64::new(0);

fn main() -> io::Result<ExitCode> {
    let arguments = env::args().collect::<Vec<_>>();
    let verb = arguments.get(1).map(String::as_str).unwrap_or_default();
    match verb {
        "cat" => drop(io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())?),
        // Does not look at its stdin.
        "ignore" => print!("ignored"),
        "describe" => print!("{}", describe(&arguments)?),
        "exit" => return exit(&event()?),
        "fail" => return Ok(fail(&event()?)),
        "panic" => panic!("{}", event()?),
        "fill" => fill(&event()?)?,
        "record" => return Ok(record(&event()?)),
        _ => eprintln!("there is no verb `{verb}`"),
    }
    Ok(ExitCode::SUCCESS)
}

fn event() -> io::Result<String> {
    io::read_to_string(io::stdin())
}

fn describe(arguments: &[String]) -> io::Result<Value> {
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest)?;
    let files = fs::read_dir("/tmp")?.count();
    fs::write("/tmp/mark", "")?;
    Ok(json!({
        "arguments": arguments,
        "environment": env::vars().collect::<BTreeMap<_, _>>(),
        "stdin_bytes": rest.len(),
        "events": EVENTS.fetch_add(1, Ordering::Relaxed) + 1,
        "files": files,
    }))
}

/// Ends itself in mid-run; what it has printed so far is flushed by its library.
#[expect(clippy::exit, reason = "a program may end itself")]
fn exit(status: &str) -> io::Result<ExitCode> {
    print!("printed before");
    eprintln!("exits with {status}");
    std::process::exit(status.parse().map_err(io::Error::other)?)
}

/// Repeats its complaint on stderr, prints something all the same, and returns a failure.
fn fail(complaint: &str) -> ExitCode {
    print!("half an answer");
    eprint!("{complaint}");
    ExitCode::FAILURE
}

fn fill(length: &str) -> io::Result<()> {
    let length = length.parse().map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&vec![b'x'; length])?;
    stdout.flush()
}

/// Succeeds if the body of the first message is a number.
fn record(event: &str) -> ExitCode {
    let batch: Value = serde_json::from_str(event).unwrap_or_default();
    let body = batch["Records"][0]["body"].as_str().unwrap_or_default();
    match body.parse::<u64>() {
        Ok(number) => {
            println!("worked on {number}");
            ExitCode::SUCCESS
        }
        Err(_) => {
            eprintln!("{body} is no number");
            ExitCode::FAILURE
        }
    }
}
