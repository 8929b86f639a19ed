//! Sends a great many events through one process of the runtime, with something going wrong at one of a hundred, and counts
//! what was lost, what was answered twice or wrongly, and what has grown.
//!
//! ```text
//! soak [--events N] [--faults PER_THOUSAND]
//! ```
//!
//! What goes wrong is the function's fault, or the way's: a next that is reset, refused, late or comes in pieces, an answer
//! that is reset before or after it arrived, refused or confirmed late. In the first half a function may also run over its
//! time; the runtime then replaces itself, and what has grown would be gone. So growth is that of the second half.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use orlop_tests::{Held, TaskRoot, bootstrap, guests};

/// The time that a function has.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time of one that runs over it.
const SHORT_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the process may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much later something comes that is late.
const DELAY: Duration = Duration::from_millis(10);
/// Of 1,000 faults of the first half, so many are functions that run over their time, which costs a quarter of a second.
const OVERRUNS: u64 = 10;
/// What a process may grow by in the second half. What leaks grows by far more in a million events.
const MOST_GROWTH: Held = Held {
    memory_kib: 2 << 10,
    descriptors: 4,
    threads: 1,
};

/// What goes wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The function returns an error.
    Fails,
    Panics,
    Exits,
    /// It takes more memory than it may.
    Exhausts,
    /// It computes for ever.
    Overruns,
    /// The connection ends instead of bringing the event.
    NextReset,
    /// The Runtime API says something else instead.
    NextRefused,
    NextLate,
    /// The event comes byte by byte.
    NextInPieces,
    /// The connection ends before the answer was read.
    AnswerResetBefore,
    /// The connection ends when the answer was taken, before that is confirmed.
    AnswerResetAfter,
    AnswerRefused,
    AnswerConfirmedLate,
}

impl Fault {
    /// All but the one that makes the process replace itself.
    const ORDINARY: [Self; 12] = [
        Self::Fails,
        Self::Panics,
        Self::Exits,
        Self::Exhausts,
        Self::NextReset,
        Self::NextRefused,
        Self::NextLate,
        Self::NextInPieces,
        Self::AnswerResetBefore,
        Self::AnswerResetAfter,
        Self::AnswerRefused,
        Self::AnswerConfirmedLate,
    ];

    /// What the guest `record` is told to do.
    fn verb(self) -> Option<&'static str> {
        match self {
            Self::Fails => Some("fail as asked"),
            Self::Panics => Some("panic as asked"),
            Self::Exits => Some("exit 3"),
            Self::Exhausts => Some("exhaust"),
            Self::Overruns => Some("spin"),
            Self::NextReset
            | Self::NextRefused
            | Self::NextLate
            | Self::NextInPieces
            | Self::AnswerResetBefore
            | Self::AnswerResetAfter
            | Self::AnswerRefused
            | Self::AnswerConfirmedLate => None,
        }
    }
}

/// What the threads that serve the process share.
#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    events: u64,
    faults_in_thousand: u64,
    dice: u64,
    sent: u64,
    /// The event that the process has.
    current: Option<Current>,
    /// Answers that were accepted.
    answered: u64,
    /// Events after which the process asked for the next one without having answered.
    lost: u64,
    /// Answers to events that had been answered, where nothing had gone wrong with the first one.
    doubled: u64,
    /// Answers that were not what the function was told to say.
    wrong: Vec<String>,
    faults: BTreeMap<Fault, u64>,
    /// The process, once it is started.
    pid: Option<i32>,
    /// At either end of the second half.
    ends: [End; 2],
}

/// A stretch of events in which the process is measured before it gets the next one; the largest of what is seen counts.
#[derive(Debug)]
struct End {
    events: RangeInclusive<u64>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Current {
    number: u64,
    fault: Option<Fault>,
    /// What goes wrong with the next has gone wrong already, or with the answer.
    has_failed: bool,
    is_answered: bool,
}

fn main() -> ExitCode {
    let (events, faults_in_thousand) = match arguments() {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("error: {mistake}\nhelp: soak [--events N] [--faults PER_THOUSAND]");
            return ExitCode::from(2);
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let shared = Arc::new(Shared(Mutex::new(State::new(events, faults_in_thousand))));
    let serving = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&serving);
            // A connection that breaks is part of it.
            thread::spawn(move || shared.serve(stream));
        }
    });
    let task_root = TaskRoot::new().with_compiled(guests::RECORD);
    let mut process = start(&address.to_string(), &task_root);
    shared.lock().pid = i32::try_from(process.id()).ok();
    let report = shared.watch(&mut process);
    let _ = process.kill();
    let _ = process.wait();
    match report {
        Ok((report, is_good)) => {
            println!("{report}");
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(u64, u64), String> {
    let (mut events, mut faults) = (1_000_000, 10);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        let value = value.ok_or_else(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "--events" => events = value,
            "--faults" => faults = value,
            _ => return Err(format!("there is no {name}")),
        }
    }
    Ok((events, faults))
}

fn start(address: &str, task_root: &TaskRoot) -> Child {
    let mut command = Command::new(bootstrap());
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_NAME", "soak")
        .arg("record")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("the runtime can be started")
}

/// The larger of each.
fn larger(one: Held, other: Held) -> Held {
    Held {
        memory_kib: one.memory_kib.max(other.memory_kib),
        descriptors: one.descriptors.max(other.descriptors),
        threads: one.threads.max(other.threads),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end; says what came of it, and whether that is good.
    fn watch(&self, process: &mut Child) -> Result<(String, bool), String> {
        let start = Instant::now();
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            let sent = self.lock().sent;
            if self.lock().is_over() {
                break;
            }
            if let Ok(Some(status)) = process.try_wait() {
                return Err(format!("the process ended at event {sent}: {status}"));
            }
            if sent > seen {
                (seen, moved) = (sent, Instant::now());
            } else if moved.elapsed() > PATIENCE {
                return Err(format!("the process is silent since event {sent}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.lock().report(start.elapsed())
    }

    /// Serves one connection to its end.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let Some((path, length)) = head(&mut stream)? else {
                return Ok(());
            };
            if path.ends_with("/next") {
                if !self.next(&mut stream)? {
                    return Ok(());
                }
                continue;
            }
            let id = path
                .rsplit('/')
                .nth(1)
                .and_then(|id| id.strip_prefix("event-")?.parse().ok());
            if !self.answer(&mut stream, id.unwrap_or(u64::MAX), path.ends_with("/error"), length)? {
                return Ok(());
            }
        }
    }

    /// Brings the next event; `false` if the connection is to end.
    fn next(&self, stream: &mut BufReader<TcpStream>) -> io::Result<bool> {
        let mut state = self.lock();
        let Some(current) = state.next() else {
            // The last one is answered; the process may wait for ever.
            drop(state);
            thread::sleep(PATIENCE);
            return Ok(false);
        };
        drop(state);
        let event = current.event();
        let stream = stream.get_mut();
        match current.fault.filter(|_| !current.has_failed) {
            Some(Fault::NextReset) => return Ok(false),
            Some(Fault::NextRefused) => {
                let status =
                    ["204 No Content", "400 Bad Request", "410 Gone", "503 Slow Down"][current.number as usize % 4];
                let end = if status.starts_with("204") {
                    ""
                } else {
                    "Content-Length: 0\r\n"
                };
                stream.write_all(format!("HTTP/1.1 {status}\r\n{end}\r\n").as_bytes())?;
            }
            Some(Fault::NextInPieces) => {
                for byte in event.as_bytes() {
                    stream.write_all(&[*byte])?;
                }
            }
            Some(Fault::NextLate) => {
                thread::sleep(DELAY);
                stream.write_all(event.as_bytes())?;
            }
            Some(_) | None => stream.write_all(event.as_bytes())?,
        }
        Ok(true)
    }

    /// Takes an answer; `false` if the connection is to end.
    fn answer(
        &self,
        stream: &mut BufReader<TcpStream>,
        number: u64,
        is_error: bool,
        length: usize,
    ) -> io::Result<bool> {
        {
            let mut state = self.lock();
            if let Some(current) = &mut state.current
                && (current.number, current.fault, current.has_failed)
                    == (number, Some(Fault::AnswerResetBefore), false)
            {
                current.has_failed = true;
                return Ok(false);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let (status, fault) = self.lock().judge(number, is_error, &body);
        match fault {
            Some(Fault::AnswerResetAfter) => return Ok(false),
            Some(Fault::AnswerConfirmedLate) => thread::sleep(DELAY),
            Some(_) | None => {}
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 16\r\n\r\n{{\"status\":\"OK\"}}\n");
        stream.get_mut().write_all(answer.as_bytes())?;
        Ok(true)
    }
}

impl State {
    fn new(events: u64, faults_in_thousand: u64) -> Self {
        let half = events / 2;
        let ends = [half + events / 100..=half + events / 20, events - events / 25..=events];
        Self {
            events,
            faults_in_thousand,
            dice: 0x9E37_79B9_7F4A_7C15,
            sent: 0,
            current: None,
            answered: 0,
            lost: 0,
            doubled: 0,
            wrong: Vec::new(),
            faults: BTreeMap::new(),
            pid: None,
            ends: ends.map(|events| End { events, held: None }),
        }
    }

    fn is_over(&self) -> bool {
        self.sent == self.events && self.current.as_ref().is_none_or(|current| current.is_answered)
    }

    /// The event to bring: a new one, or the one whose way has failed; `None` when all are answered.
    fn next(&mut self) -> Option<Current> {
        if let Some(current) = &mut self.current
            && !current.is_answered
        {
            let fault = current.fault;
            if !current.has_failed && matches!(fault, Some(Fault::NextReset | Fault::NextRefused)) {
                current.has_failed = true;
                return Some(current.clone());
            }
            self.lost += 1;
        }
        if self.sent == self.events {
            self.current = None;
            return None;
        }
        self.sent += 1;
        self.measure();
        let fault = self.fault();
        if let Some(fault) = fault {
            *self.faults.entry(fault).or_default() += 1;
        }
        let current = Current {
            number: self.sent,
            fault,
            has_failed: false,
            is_answered: false,
        };
        self.current = Some(current.clone());
        Some(current)
    }

    /// Measures the process where that is due. What it has used for the event before is given back when it asks for this one.
    fn measure(&mut self) {
        for end in &mut self.ends {
            if let (true, Some(pid)) = (end.events.contains(&self.sent), self.pid)
                && let Ok(held) = Held::by(pid)
            {
                end.held = Some(end.held.map_or(held, |before| larger(before, held)));
            }
        }
    }

    fn fault(&mut self) -> Option<Fault> {
        if self.roll() % 1000 >= self.faults_in_thousand {
            return None;
        }
        if self.sent <= self.events / 2 && self.roll() % 1000 < OVERRUNS {
            return Some(Fault::Overruns);
        }
        let number = self.roll() as usize;
        Some(Fault::ORDINARY[number % Fault::ORDINARY.len()])
    }

    /// What an answer is told, and what else goes wrong with it.
    fn judge(&mut self, number: u64, is_error: bool, body: &[u8]) -> (&'static str, Option<Fault>) {
        let Some(current) = self.current.as_mut().filter(|current| current.number == number) else {
            self.doubled += 1;
            return ("400 Bad Request", None);
        };
        if current.is_answered {
            // The process cannot know that the first one has arrived.
            self.doubled += u64::from(current.fault != Some(Fault::AnswerResetAfter));
            return ("403 Forbidden", None);
        }
        current.is_answered = true;
        self.answered += 1;
        let fault = current.fault;
        let expects_error = fault.is_some_and(|fault| fault.verb().is_some());
        if is_error != expects_error || (!is_error && body != number.to_string().as_bytes()) {
            let text = String::from_utf8_lossy(body);
            self.wrong.push(format!("event {number}, {fault:?}: {text}"));
        }
        match fault {
            Some(Fault::AnswerRefused) => ("413 Content Too Large", fault),
            Some(_) | None => ("202 Accepted", fault),
        }
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn report(&self, took: Duration) -> Result<(String, bool), String> {
        let [Some(before), Some(after)] = self.ends.each_ref().map(|end| end.held) else {
            return Err(format!("the process could not be measured: {:?}", self.ends));
        };
        let mut text = String::new();
        let faults: u64 = self.faults.values().sum();
        let per_second = self.events as f64 / took.as_secs_f64();
        let lost = self.lost + (self.sent - self.answered).saturating_sub(self.lost);
        let growth = |of: fn(Held) -> u64| of(after).cast_signed() - of(before).cast_signed();
        let memory = growth(|held| held.memory_kib);
        let descriptors = growth(|held| held.descriptors);
        let threads = growth(|held| held.threads);
        // Text can be written to.
        let _ = writeln!(
            text,
            "{} events in {:.0} s, {per_second:.0} a second, {faults} with a fault:",
            self.events,
            took.as_secs_f64()
        );
        for (fault, count) in &self.faults {
            let _ = writeln!(text, "  {count:>6} {fault:?}");
        }
        let _ = writeln!(
            text,
            "lost {lost}, doubled {}, wrong {}",
            self.doubled,
            self.wrong.len()
        );
        for wrong in self.wrong.iter().take(10) {
            let _ = writeln!(text, "  {wrong}");
        }
        let _ = write!(
            text,
            "growth in the second half: memory {memory} KiB of {} KiB, descriptors {descriptors} of {}, threads {threads} of {}",
            before.memory_kib, before.descriptors, before.threads
        );
        let is_right = (lost, self.doubled, self.wrong.len()) == (0, 0, 0);
        let most = MOST_GROWTH;
        let has_grown = memory > most.memory_kib.cast_signed()
            || descriptors > most.descriptors.cast_signed()
            || threads > most.threads.cast_signed();
        // Without faults it would say little.
        let is_good = is_right && !has_grown && (faults > 0 || self.faults_in_thousand == 0);
        Ok((text, is_good))
    }
}

impl Current {
    /// The event as the Runtime API's answer.
    fn event(&self) -> String {
        let Self { number, fault, .. } = self;
        let verb = fault
            .and_then(Fault::verb)
            .map_or_else(|| format!("answer {number}"), str::to_owned);
        let timeout = if *fault == Some(Fault::Overruns) {
            SHORT_TIMEOUT
        } else {
            TIMEOUT
        };
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + timeout;
        let body = format!(r#"{{"Records":[{{"messageId":"{number}","body":"{verb}"}}]}}"#);
        format!(
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: event-{number}\r\nLambda-Runtime-Deadline-Ms: {}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:soak\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            deadline.as_millis(),
            body.len()
        )
    }
}

/// Path and body length of the next request; `None` at the end of the connection.
fn head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(String, usize)>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(Some((path, length)));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}
