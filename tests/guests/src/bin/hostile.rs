//! Misbehaves in the way that the event's `does` names, and answers with what came of it.

use std::hint::{black_box, spin_loop};
use std::io::{self, Read, Write};
use std::sync::Mutex;

use orlop_sdk::Error;
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/interfaces.rs"]
mod interfaces;
#[path = "hostile/network.rs"]
mod network;
#[path = "hostile/secrets.rs"]
mod secrets;

/// A page of linear memory, in bytes.
const PAGE: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(tag = "does", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
enum Misdeed {
    Nothing,
    Spin,
    Sleep,
    Panic {
        message: String,
    },
    Abort,
    Exit {
        code: i32,
    },
    Recurse,
    Grow {
        aborts: bool,
    },
    GrowThenPanic,
    Leak {
        bytes: usize,
    },
    AnswerBytes {
        count: usize,
    },
    AnswerText {
        text: String,
        times: usize,
    },
    Fail {
        message: String,
        times: usize,
    },
    Print {
        stream: Stream,
        text: String,
        bytes: Vec<u8>,
        times: usize,
    },
    ReadStdin,
    Variables,
    Network {
        address: String,
    },
    Reach {
        canary: String,
    },
    Link {
        canary: String,
    },
    OpenFiles,
    LeaveOpen,
    FillTmp,
    FillSparse,
    CrowdTmp,
    NestTmp,
    LongPath {
        bytes: usize,
    },
    ReadFile {
        bytes: u64,
    },
    Pollables,
    Poll,
    Streams,
    WriteZeroes {
        bytes: u64,
    },
    Random {
        bytes: u64,
    },
    RandomForever,
    TimeTightly,
    FarFuture,
    FarTimes,
    Hide {
        secret: String,
    },
    Find {
        secret: String,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stream {
    Stdout,
    Stderr,
}

#[orlop_sdk::handler]
fn hostile(misdeed: Misdeed) -> Result<Vec<u8>, Error> {
    match misdeed {
        Misdeed::Nothing => Ok(b"null".to_vec()),
        Misdeed::Spin => loop {
            spin_loop();
        },
        Misdeed::Sleep => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        Misdeed::Panic { message } => panic!("{message}"),
        Misdeed::Abort => std::process::abort(),
        Misdeed::Exit { code } => exit(code),
        Misdeed::Recurse => json_of(descend(u64::MAX)),
        Misdeed::Grow { aborts } => json_of(grow(aborts)),
        Misdeed::GrowThenPanic => {
            let pages = grow(false);
            panic!("of something else, after {} pages", pages > 0);
        }
        Misdeed::Leak { bytes } => json_of(leak(bytes)),
        Misdeed::AnswerBytes { count } => Ok(vec![b'0'; count]),
        Misdeed::AnswerText { text, times } => Ok(text.repeat(times).into_bytes()),
        Misdeed::Fail { message, times } => Err(Error::new("Hostile", message.repeat(times))),
        Misdeed::Print {
            stream,
            text,
            bytes,
            times,
        } => print(stream, &[text.as_bytes(), &bytes].concat(), times).map_err(Error::message),
        Misdeed::ReadStdin => {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input).map_err(Error::message)?;
            json_of(input.len())
        }
        Misdeed::Variables => json_of(secrets::variables()),
        Misdeed::Network { address } => json_of(network::attempt_everything(&address)),
        Misdeed::Reach { canary } => json_of(files::reach(&canary)),
        Misdeed::Link { canary } => json_of(files::link(&canary)),
        Misdeed::OpenFiles => json_of(files::open_all()),
        Misdeed::LeaveOpen => json_of(interfaces::leave_open()),
        Misdeed::FillTmp => json_of(files::fill()),
        Misdeed::FillSparse => json_of(files::fill_sparse()),
        Misdeed::CrowdTmp => json_of(files::crowd()),
        Misdeed::NestTmp => json_of(files::nest()),
        Misdeed::LongPath { bytes } => json_of(files::long_path(bytes)),
        Misdeed::ReadFile { bytes } => json_of(interfaces::read_file(bytes)),
        Misdeed::Pollables => json_of(interfaces::subscribe_without_end()),
        Misdeed::Poll => json_of(interfaces::poll_many()),
        Misdeed::Streams => json_of(interfaces::streams_without_end()),
        Misdeed::WriteZeroes { bytes } => json_of(interfaces::write_zeroes(bytes)),
        Misdeed::Random { bytes } => Ok(wasip2::random::random::get_random_bytes(bytes)),
        Misdeed::RandomForever => loop {
            black_box(wasip2::random::random::get_random_bytes(64 << 10));
        },
        Misdeed::TimeTightly => json_of(interfaces::time_tightly()),
        Misdeed::FarFuture => json_of(interfaces::far_future()),
        Misdeed::FarTimes => json_of(interfaces::far_times()),
        Misdeed::Hide { secret } => json_of(secrets::hide(&secret)),
        Misdeed::Find { secret } => json_of(secrets::find(&secret)),
    }
}

fn json_of(answer: impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&answer).map_err(Error::message)
}

#[expect(clippy::exit, reason = "this is the misbehaviour")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

fn descend(depth: u64) -> u64 {
    // Keeps the compiler from making a loop of it.
    let frame = black_box([depth; 16]);
    if depth == 0 {
        0
    } else {
        1 + black_box(descend(frame[15] - 1))
    }
}

/// Grows until it is refused; the number of pages that it got.
fn grow(aborts: bool) -> usize {
    let mut pages = Vec::<Vec<u8>>::new();
    loop {
        let mut page = Vec::<u8>::new();
        if aborts {
            page.reserve_exact(PAGE);
        } else if page.try_reserve_exact(PAGE).is_err() {
            return pages.len();
        }
        page.resize(PAGE, 1);
        pages.push(black_box(page));
    }
}

/// Keeps memory beyond the event; the number of times that this instance has done it.
fn leak(bytes: usize) -> usize {
    static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().expect("nobody panics while holding it");
    kept.push(vec![1; bytes]);
    kept.len()
}

fn print(stream: Stream, bytes: &[u8], times: usize) -> io::Result<Vec<u8>> {
    let mut stream: Box<dyn Write> = match stream {
        Stream::Stdout => Box::new(io::stdout().lock()),
        Stream::Stderr => Box::new(io::stderr().lock()),
    };
    for _ in 0..times {
        stream.write_all(bytes)?;
    }
    stream.flush()?;
    Ok(b"null".to_vec())
}

/// How a series of attempts ended: how many worked, and the kind of error of the first that did not.
fn outcome(count: usize, error: Option<&io::Error>) -> Value {
    json!({ "count": count, "error": error.map(|error| format!("{:?}", error.kind())) })
}
