//! The local platform beside AWS's Runtime Interface Emulator: what a developer waits for who sends a request to a function
//! on a laptop. Both serve the same runtime, by turns.
//!
//! The round trip with the example `hello` has the runtime's own work in it. With the floor, which answers as soon as it has
//! read the event, nearly all of it is the platform's.

mod connection;
mod door;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::arguments::Plan;
use crate::contestant::Process;
use crate::measure::{Measurement, Metric, Results, microseconds, milliseconds};
use crate::programs::Programs;
use crate::statistics::{percentile, sorted};
use connection::Connection;
use door::{Door, Runtime};

/// The name of this measurement.
pub(crate) const NAME: &str = "platform";

const HELLO: &str = "hello";
/// Requests before the measurement, until caches and buffers have settled.
const WARM_UP_REQUESTS: u32 = 100;
/// Between two requests of somebody who does not hurry; the environment is frozen meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// Of the requests of a round, one in so many is sent after a pause as well.
const PAUSED_PART: u32 = 25;

/// Measures both runtimes.
pub(crate) fn measure(programs: &Programs, plan: &Plan) -> anyhow::Result<[Measurement; 2]> {
    let hello = Runtime {
        program: programs.bootstrap.clone(),
        argument: HELLO.to_owned(),
        answers: [r#"{"message":"Hello, Orlop!"}"#, r#"{"message":"Hello, World!"}"#],
    };
    let answer = hello.answers[0];
    let floor = Runtime {
        program: programs.native("floor")?.to_owned(),
        argument: answer.to_owned(),
        answers: [answer, answer],
    };
    Ok([
        take("platform, hello", &hello, programs, plan)?,
        take("platform, floor", &floor, programs, plan)?,
    ])
}

fn take(name: &'static str, runtime: &Runtime, programs: &Programs, plan: &Plan) -> anyhow::Result<Measurement> {
    let doors = Door::all(runtime, programs, plan.starts)?;
    let mut results: Vec<_> = doors
        .iter()
        .map(|door| (door.name.to_owned(), Results::new()))
        .collect();
    for round in 0..plan.rounds {
        eprintln!("{name}: round {} of {}", round + 1, plan.rounds);
        cold(&doors, plan, &mut results)?;
        for (door, (_, results)) in doors.iter().zip(&mut results) {
            let (process, _) = door.start()?;
            let warm = warm(door, plan).with_context(|| failure(door, &process))?;
            for (metric, value) in warm {
                results.entry(metric).or_default().push(value);
            }
        }
    }
    Ok(Measurement {
        name,
        event_bytes: door::EVENT.len(),
        reference: doors.first().map(|door| door.name.to_owned()).unwrap_or_default(),
        results,
    })
}

/// Sends by turns to each door a request that needs a new environment. An emulator has one environment, so each request needs
/// a new emulator; the platform gets along with one process for all.
fn cold(doors: &[Door], plan: &Plan, results: &mut [(String, Results)]) -> anyhow::Result<()> {
    let mut lasting = Vec::new();
    for door in doors {
        lasting.push(match door.is_spent_by_a_start() {
            true => None,
            false => Some(door.start()?),
        });
    }
    let mut requests = vec![Vec::new(); doors.len()];
    let mut whole = vec![Vec::new(); doors.len()];
    for number in 0..plan.starts {
        for (index, door) in doors.iter().enumerate() {
            let (fresh, mut opened);
            let (process, connection) = match &mut lasting[index] {
                Some((process, connection)) => (&*process, connection),
                None => {
                    (fresh, opened) = door.start()?;
                    (&fresh, &mut opened)
                }
            };
            let took = ask(door, connection, number).with_context(|| failure(door, process))?;
            requests[index].push(milliseconds(took));
            if door.is_spent_by_a_start() {
                whole[index].push(milliseconds(process.started.elapsed()));
            }
        }
    }
    for ((_, results), (requests, whole)) in results.iter_mut().zip(requests.into_iter().zip(whole)) {
        let requests = sorted(requests);
        let mut push = |metric, value| results.entry(metric).or_default().push(value);
        push(Metric::ColdP50Ms, percentile(&requests, 50));
        push(Metric::ColdP90Ms, percentile(&requests, 90));
        if !whole.is_empty() {
            push(Metric::StartedColdMs, percentile(&sorted(whole), 50));
        }
    }
    Ok(())
}

/// Sends requests to one environment, over one connection.
fn warm(door: &Door, plan: &Plan) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut connection = Connection::open(door.address)?;
    let mut times = |requests: u32, pause: Option<Duration>| -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        for _ in 0..requests {
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
            times.push(microseconds(ask(door, &mut connection, 0)?));
        }
        Ok(sorted(times))
    };
    times(WARM_UP_REQUESTS, None)?;
    let hurried = times(plan.events, None)?;
    let paused = times(plan.events.div_ceil(PAUSED_PART), Some(PAUSE))?;
    Ok(vec![
        (Metric::RequestP50Us, percentile(&hurried, 50)),
        (Metric::RequestP90Us, percentile(&hurried, 90)),
        (Metric::RequestP99Us, percentile(&hurried, 99)),
        (Metric::PausedP50Us, percentile(&paused, 50)),
        (Metric::PausedP90Us, percentile(&paused, 90)),
        (Metric::PausedP99Us, percentile(&paused, 99)),
    ])
}

fn ask(door: &Door, connection: &mut Connection, number: u32) -> anyhow::Result<Duration> {
    let (took, answer) = connection.post(&door.path(number), door::EVENT.as_bytes())?;
    let answer = String::from_utf8_lossy(answer);
    ensure!(answer == door.answer, "it answered `{answer}`, not `{}`", door.answer);
    Ok(took)
}

fn failure(door: &Door, process: &Process) -> String {
    format!("{}, which has printed:\n{}\n", door.name, process.output())
}

/// A file that tells what one of them printed.
fn output(work: &Path, name: &str) -> std::path::PathBuf {
    work.join(name).with_extension("log")
}
