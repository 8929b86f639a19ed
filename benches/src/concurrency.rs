//! Several events at a time in one process, as on Managed Instances: what a second processor core brings, and what well-behaved
//! guests notice of a bad neighbour.
//!
//! As in `runtime_api`, a small server plays Lambda's Runtime API; here each of the process's pollers has a connection and a
//! thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::arguments::Plan;
use crate::contestant::{Contestant, ContestantBuilder};
use crate::lineup::is_wanted;
use crate::measure::{Measurement, Metric, Results, microseconds};
use crate::programs::Programs;
use crate::runtime_api::{ACCEPTED, Call, FUNCTION_TIMEOUT, PATIENCE, Request, message};
use crate::statistics::{percentile, sorted};

/// The component that all of this is measured with.
pub(crate) const GUEST: &str = "neighbour";
/// Some milliseconds of computing.
const WORK: &[u8] = br#"{"work":2000000}"#;
const POLLERS: usize = 4;
/// Of the events of a round, so many are measured here: each takes some hundred times as long as elsewhere.
const PART: u32 = 20;
/// How long a bad neighbour may run.
const HOSTILE_TIMEOUT: Duration = Duration::from_millis(200);
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// How much is going on at a time.
struct Load {
    name: &'static str,
    /// So many events that only compute.
    working: usize,
    /// One that does worse, again and again.
    hostile: Option<&'static [u8]>,
}

const BUSY: (&str, [Load; 2]) = (
    "busy",
    [
        Load::new("one busy guest", 1, None),
        Load::new("two busy guests", 2, None),
    ],
);
const NEIGHBOURS: (&str, [Load; 4]) = (
    "neighbours",
    [
        Load::new("alone", 1, None),
        Load::new("beside one that never returns", 1, Some(br#""loop""#)),
        Load::new("beside one that traps", 1, Some(br#""trap""#)),
        Load::new("beside one that fills its memory", 1, Some(br#""hoard""#)),
    ],
);

impl Load {
    const fn new(name: &'static str, working: usize, hostile: Option<&'static [u8]>) -> Self {
        Self { name, working, hostile }
    }
}

/// Measures what is wanted of it.
pub(crate) fn measure(programs: &Programs, plan: &Plan, only: &[String]) -> anyhow::Result<Vec<Measurement>> {
    let artifact = programs.task_root.join(GUEST).with_extension("concurrent.cwasm");
    let orlop = ContestantBuilder::new(&programs.bootstrap, &programs.task_root)?
        .loads(&artifact)?
        .argument(GUEST)
        .variable("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")
        .variable("AWS_LAMBDA_MAX_CONCURRENCY", POLLERS.to_string())
        .build("Orlop");
    let wanted: [(&'static str, &[Load]); 2] = [(BUSY.0, &BUSY.1), (NEIGHBOURS.0, &NEIGHBOURS.1)];
    let wanted = wanted.into_iter().filter(|(name, _)| is_wanted(name, only));
    wanted
        .map(|(name, loads)| take(name, loads, &orlop, programs, plan))
        .collect()
}

fn take(
    name: &'static str,
    loads: &[Load],
    orlop: &Contestant,
    programs: &Programs,
    plan: &Plan,
) -> anyhow::Result<Measurement> {
    let mut results: Vec<_> = loads
        .iter()
        .map(|load| (load.name.to_owned(), Results::new()))
        .collect();
    for round in 0..plan.rounds {
        eprintln!("{name}: round {} of {}", round + 1, plan.rounds);
        for (load, (_, results)) in loads.iter().zip(&mut results) {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
                .context("cannot listen on the loopback interface")?;
            let address = listener.local_addr().context("the listener has no address")?;
            let process = orlop.start(&address.to_string(), &programs.work)?;
            let events = plan.events.div_ceil(PART);
            let (elapsed, latencies) = serve(&listener, load, events)
                .with_context(|| format!("{}: it has printed:\n{}", load.name, process.output()))?;
            let latencies = sorted(latencies);
            let mut push = |metric: Metric, value| results.entry(metric).or_default().push(value);
            push(Metric::SeveralPerSecond, f64::from(events) / elapsed.as_secs_f64());
            push(Metric::BesideP50Us, percentile(&latencies, 50));
            push(Metric::BesideP99Us, percentile(&latencies, 99));
        }
    }
    Ok(Measurement {
        name,
        event_bytes: WORK.len(),
        reference: loads.first().map(|load| load.name.to_owned()).unwrap_or_default(),
        results,
    })
}

/// Sends events to a process until so many have been worked on. Returns how long that took, and each of them, in microseconds.
fn serve(listener: &TcpListener, load: &Load, events: u32) -> anyhow::Result<(Duration, Vec<f64>)> {
    let pollers: Vec<TcpStream> = (0..POLLERS).map(|_| accept(listener)).collect::<anyhow::Result<_>>()?;
    let desk = Desk::new(load, events);
    let began = Instant::now();
    thread::scope(|scope| {
        let pollers: Vec<_> = pollers
            .into_iter()
            .map(|stream| {
                scope.spawn(|| {
                    let served = Poller::new(stream).serve(&desk);
                    if served.is_err() {
                        desk.close();
                    }
                    served
                })
            })
            .collect();
        pollers.into_iter().try_for_each(|poller| {
            poller
                .join()
                .unwrap_or_else(|_| bail!("a thread of the measurement panicked"))
        })
    })?;
    let ledger = desk.ledger();
    let elapsed = ledger.ended.unwrap_or_else(Instant::now) - began;
    Ok((elapsed, ledger.latencies.clone()))
}

fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let timeout = Timespec::try_from(PATIENCE).unwrap_or_default();
    let mut descriptors = [PollFd::new(listener, PollFlags::IN)];
    let ready = poll(&mut descriptors, Some(&timeout)).context("cannot wait for a connection")?;
    ensure!(ready > 0, "a poller did not connect within {PATIENCE:?}");
    let (stream, _) = listener.accept().context("cannot accept a connection")?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("cannot set a read timeout")?;
    Ok(stream)
}

/// Hands events out.
struct Desk {
    hostile_event: &'static [u8],
    ledger: Mutex<Ledger>,
    changed: Condvar,
}

struct Ledger {
    /// So many more events of each kind may be under way.
    free_working: usize,
    free_hostile: usize,
    /// So many more are to be begun.
    left: u32,
    unanswered: u32,
    sent: u64,
    latencies: Vec<f64>,
    ended: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Working,
    Hostile,
}

impl Desk {
    fn new(load: &Load, events: u32) -> Self {
        Self {
            hostile_event: load.hostile.unwrap_or_default(),
            ledger: Mutex::new(Ledger {
                free_working: load.working,
                free_hostile: usize::from(load.hostile.is_some()),
                left: events,
                unanswered: events,
                sent: 0,
                latencies: Vec::new(),
                ended: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event's kind and number, as soon as one may be sent; `None` at the end.
    fn next(&self) -> Option<(Kind, u64)> {
        let mut ledger = self.ledger();
        loop {
            if ledger.ended.is_some() {
                return None;
            }
            let kind = if ledger.free_hostile > 0 {
                ledger.free_hostile -= 1;
                Kind::Hostile
            } else if ledger.free_working > 0 && ledger.left > 0 {
                ledger.free_working -= 1;
                ledger.left -= 1;
                Kind::Working
            } else {
                ledger = self.changed.wait(ledger).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            ledger.sent += 1;
            return Some((kind, ledger.sent));
        }
    }

    fn answered(&self, kind: Kind, latency: Duration) {
        let mut ledger = self.ledger();
        match kind {
            Kind::Working => {
                ledger.free_working += 1;
                ledger.unanswered -= 1;
                ledger.latencies.push(microseconds(latency));
                if ledger.unanswered == 0 {
                    ledger.ended = Some(Instant::now());
                }
            }
            Kind::Hostile => ledger.free_hostile += 1,
        }
        drop(ledger);
        self.changed.notify_all();
    }

    /// Ends it before its time.
    fn close(&self) {
        self.ledger().ended.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }
}

/// The connection of one poller.
struct Poller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Poller {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: vec![0; MAX_REQUEST_BYTES],
        }
    }

    fn serve(&mut self, desk: &Desk) -> anyhow::Result<()> {
        loop {
            ensure!(
                matches!(self.read()?, Call::Next),
                "a poller answered without having been asked"
            );
            let Some((kind, number)) = desk.next() else {
                return Ok(());
            };
            let message = match kind {
                Kind::Working => message(number, WORK, FUNCTION_TIMEOUT),
                Kind::Hostile => message(number, desk.hostile_event, HOSTILE_TIMEOUT),
            };
            let sent = Instant::now();
            self.stream.write_all(&message).context("cannot send an event")?;
            let call = self.read()?;
            let latency = sent.elapsed();
            match (kind, call) {
                (Kind::Working, Call::Response) | (Kind::Hostile, Call::Error) => {}
                (Kind::Working | Kind::Hostile, Call::Next | Call::Response | Call::Error) => {
                    bail!("event {number} ended in another way than it should")
                }
            }
            self.stream.write_all(ACCEPTED).context("cannot accept an answer")?;
            desk.answered(kind, latency);
        }
    }

    fn read(&mut self) -> anyhow::Result<Call> {
        let mut filled = 0;
        loop {
            let count = self
                .stream
                .read(&mut self.buffer[filled..])
                .context("a poller did not finish its request in time")?;
            ensure!(count > 0, "a poller broke off, or sent a request that is too large");
            filled += count;
            if let Some(request) = Request::parse(&self.buffer[..filled])? {
                return Ok(request.call);
            }
        }
    }
}
