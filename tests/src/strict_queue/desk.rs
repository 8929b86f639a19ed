//! Where the function says what it does: a JSON object a line, each acknowledged by an empty line before the function
//! goes on. So the history knows what a process did before it was killed, and the end of its connection is its end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::Value;

use super::Shared;
use super::history::{Run, What};
use super::messages::Number;

/// Takes reports for ever, from as many processes as come.
pub(super) fn open(listener: TcpListener, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || listen(&shared, number as u64, stream));
        }
    });
}

/// Listens to one process. Every batch is a run of its own; `process` keeps their numbers apart.
fn listen(shared: &Shared, process: u64, mut stream: TcpStream) {
    let lines = BufReader::new(stream.try_clone().expect("a socket can be cloned")).lines();
    let (mut current, mut batches): (Option<Run>, u64) = (None, 0);
    for line in lines.map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("the function reports in JSON");
        let number = |name: &str| line[name].as_u64().expect("the function reports numbers");
        let mut state = shared.lock();
        match line["phase"].as_str() {
            Some("begin") => {
                batches += 1;
                let run = Run {
                    generation: u32::try_from(number("generation")).expect("a small number"),
                    pid: i32::try_from(number("pid")).expect("a process id"),
                    number: process << 32 | batches,
                };
                let records = line["records"].as_array().expect("the function reports its records");
                for record in records {
                    let number = id(&record["id"]);
                    let sent = &state.messages.get(number).expect("the queue has sent it").body;
                    assert_eq!(record["body"], **sent, "message {number} arrives as it was sent");
                }
                state.history.add(What::Begun(
                    run,
                    records.iter().map(|record| id(&record["id"])).collect(),
                ));
                current = Some(run);
            }
            Some("done") => {
                let run = current.expect("a batch begins before it is done");
                let done = line["done"].as_array().expect("the function reports what is done");
                state.history.add(What::Done(run, done.iter().map(id).collect()));
            }
            Some("ended") => state
                .history
                .add(What::Ended(current.take().expect("a batch begins before it ends"))),
            phase => panic!("the function reports the phase {phase:?}"),
        }
        drop(state);
        if stream.write_all(b"\n").is_err() {
            break;
        }
    }
    if let Some(run) = current {
        shared.lock().history.add(What::Ended(run));
    }
}

fn id(id: &Value) -> Number {
    let text = id.as_str().expect("ids are text");
    text.parse().expect("ids are numbers")
}
