//! A function, with its runtime, that handles batches of messages and says at the desk of the strict queue what it does.
//!
//! What becomes of a message is the first word of its body: `poison` is reported as failed, `flaky` the first time, and all
//! else is done. Of a FIFO queue, what is behind a failed message of its group is reported as well. Beside that, so many of
//! 1,000 batches as `TROUBLE` says end otherwise: with the process, with an error, with an answer that is none, or not at
//! all.

use std::env;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How a batch ends that meets trouble.
const TROUBLES: [&str; 4] = ["dies", "hangs", "fails", "raves"];

fn main() -> Outcome<()> {
    let api = variable("AWS_LAMBDA_RUNTIME_API")?;
    let mut desk = Desk {
        stream: BufReader::new(TcpStream::connect(variable("DESK")?)?),
        generation: variable("GENERATION")?.parse()?,
    };
    let trouble: u64 = variable("TROUBLE")?.parse()?;
    let mut stream = BufReader::new(TcpStream::connect(&api)?);
    loop {
        write!(
            stream.get_mut(),
            "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n"
        )?;
        let (id, event) = answer(&mut stream)?;
        let event: Value = serde_json::from_slice(&event)?;
        let records = event["Records"].as_array().ok_or("an event without records")?;
        desk.begin(records)?;
        let number = chance();
        let met = (number % 1000 < trouble).then(|| TROUBLES[(number / 1000) as usize % TROUBLES.len()]);
        let (outcome, body) = match met {
            Some("dies") => std::process::abort(),
            Some("hangs") => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            Some("fails") => (
                "error",
                r#"{"errorType":"Trouble","errorMessage":"as it happens"}"#.to_owned(),
            ),
            Some(_) => ("response", "no JSON at all".to_owned()),
            None => {
                let (done, failed) = handle(records);
                desk.say(&json!({"phase": "done", "done": done}))?;
                let failed: Vec<_> = failed.iter().map(|id| json!({"itemIdentifier": id})).collect();
                ("response", json!({"batchItemFailures": failed}).to_string())
            }
        };
        desk.say(&json!({"phase": "ended"}))?;
        let length = body.len();
        write!(
            stream.get_mut(),
            "POST /2018-06-01/runtime/invocation/{id}/{outcome} HTTP/1.1\r\nHost: {api}\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        answer(&mut stream)?;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a runtime finds its Runtime API in the environment"
)]
fn variable(name: &str) -> Outcome<String> {
    Ok(env::var(name).map_err(|_| format!("{name} is not set"))?)
}

/// The ids of the messages that are done, and of those that are not.
fn handle(records: &[Value]) -> (Vec<&Value>, Vec<&Value>) {
    let mut stalled = Vec::new();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for record in records {
        let body = record["body"].as_str().unwrap_or_default();
        let is_first = record["attributes"]["ApproximateReceiveCount"] == "1";
        let group = record["attributes"].get("MessageGroupId");
        let fails = match body.split(' ').next() {
            Some("poison") => true,
            Some("flaky") => is_first,
            Some(_) | None => false,
        };
        if fails || group.is_some_and(|group| stalled.contains(&group)) {
            stalled.extend(group);
            failed.push(&record["messageId"]);
        } else {
            done.push(&record["messageId"]);
        }
    }
    (done, failed)
}

/// The way to who writes the history.
struct Desk {
    stream: BufReader<TcpStream>,
    generation: u32,
}

impl Desk {
    fn begin(&mut self, records: &[Value]) -> Outcome<()> {
        let records: Vec<_> = records
            .iter()
            .map(|record| json!({"id": record["messageId"], "body": record["body"]}))
            .collect();
        let (generation, pid) = (self.generation, std::process::id());
        self.say(&json!({"phase": "begin", "generation": generation, "pid": pid, "records": records}))
    }

    /// Says something and waits until it is written down.
    fn say(&mut self, line: &Value) -> Outcome<()> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        match self.stream.read_line(&mut String::new())? {
            0 => Err("the desk is closed".into()),
            _ => Ok(()),
        }
    }
}

/// The request id, if there is one, and the body of the Runtime API's answer.
fn answer(stream: &mut BufReader<TcpStream>) -> Outcome<(String, Vec<u8>)> {
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err("the Runtime API is gone".into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line == "\r\n" {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-runtime-aws-request-id" => value.clone_into(&mut id),
            "content-length" => length = value.parse()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((id, body))
}

/// A number that nobody can foresee.
fn chance() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = (now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed >> 20
}
