//! Does in its `init` what stands in its data, where tests write it; counts its events, and tells what it sees.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use orlop_sdk::Error;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest};

/// What `init` does beside counting to 100. Tests write another word of at most 16 letters into the component.
static WORD: &str = "init does:nothing         ";

static COUNT: AtomicU64 = AtomicU64::new(0);
static HELD: OnceLock<wasip2::io::streams::OutputStream> = OnceLock::new();

#[orlop_sdk::handler(init = prepare)]
#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn prepared(question: String) -> Result<String, Error> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(match question.as_str() {
        "count" => count.to_string(),
        "variable" => std::env::var("GREETING")?,
        "seed" => RandomState::new().hash_one(1).to_string(),
        "file" => {
            std::fs::write("/tmp/file", "written")?;
            std::fs::read_to_string("/tmp/file")?
        }
        "print" => {
            println!("printed by the handler");
            String::new()
        }
        other => return Err(Error::new("NoSuchQuestion", other)),
    })
}

#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn prepare() -> Result<(), Error> {
    COUNT.fetch_add(100, Ordering::Relaxed);
    match black_box(WORD).trim_start_matches("init does:").trim() {
        "nothing" => {}
        "hash-map" => drop(black_box(RandomState::new())),
        "random" => drop(black_box(wasip2::random::random::get_random_bytes(8))),
        "insecure" => drop(black_box(wasip2::random::insecure::get_insecure_random_bytes(8))),
        "instant" => drop(black_box(Instant::now())),
        "system-time" => drop(black_box(SystemTime::now())),
        "sleep" => std::thread::sleep(std::time::Duration::from_millis(1)),
        "variable" => drop(black_box(std::env::var("GREETING"))),
        "arguments" => drop(black_box(std::env::args().count())),
        "file" => drop(black_box(std::fs::read("/tmp/file"))),
        "tcp" => drop(black_box(std::net::TcpStream::connect("192.0.2.1:80"))),
        "name" => drop(black_box(std::net::ToSocketAddrs::to_socket_addrs("example.com:80"))),
        "http" => drop(black_box(outgoing_handler::handle(
            OutgoingRequest::new(Fields::new()),
            None,
        ))),
        "print" => println!("ready"),
        "hold" => drop(black_box(HELD.set(wasip2::cli::stderr::get_stderr()))),
        "fail" => return Err(Error::new("NotReady", "told to fail")),
        "panic" => panic!("told to panic"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "exit" => wasip2::cli::exit::exit(Err(())),
        other => return Err(Error::new("NoSuchWord", other)),
    }
    Ok(())
}
