//! One execution environment: a child process and its Runtime API.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::function::{Function, REGION};
use crate::invocation::error_body;
use crate::journal::{Journal, What, unix_ms};
use crate::platform::process::Process;
use crate::runtime_api_server::{self, Delivery, Mode, Outcome, Server, Standing};

/// The time between SIGTERM and SIGKILL for a runtime that has asked to be told (runtime contract §6, 7).
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// What a log's tail holds at most (Invoke API, `LogType`).
const MAX_TAIL_BYTES: usize = 4 << 10;

/// One execution environment. Its process ends with this value.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) number: u64,
    pub(super) function: Arc<Function>,
    pub(super) version: u64,
    pub(super) started_at_ms: u64,
    pub(super) started: Instant,
    process: Process,
    server: Server,
    journal: Journal,
    tails: Arc<Tails>,
    life: Mutex<Life>,
    /// Whether it was killed. It is of no use from then on, although its process may still be there.
    is_killed: AtomicBool,
}

/// What the platform knows of its life; changed under one lock, so that nobody thaws what another one freezes.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) state: State,
    /// The events it has, or is promised.
    pub(super) events: u32,
    /// Those that are answered, while it has not asked for the next one.
    pub(super) finishing: u32,
    /// The events it has had.
    pub(super) served: u64,
    /// It goes when it has nothing to do any more.
    pub(super) is_retiring: bool,
    pub(super) idle_since: Instant,
}

/// Where an environment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In Init.
    Starting,
    /// It serves at least one event.
    Busy,
    /// It has nothing to do and runs (Managed Instances).
    Idle,
    /// It has nothing to do and is stopped.
    Frozen,
    /// Its process has ended, or is about to.
    Gone,
}

/// Why Init did not come to its end.
#[derive(Debug)]
pub(super) struct InitFailure {
    pub(super) status: &'static str,
    pub(super) error_type: String,
    body: Option<Bytes>,
    message: String,
}

impl InitFailure {
    /// What the caller gets.
    pub(super) fn body(&self, request_id: &str) -> Bytes {
        let message = format!("RequestId: {request_id} Error: {}", self.message);
        self.body
            .clone()
            .unwrap_or_else(|| error_body(&self.error_type, &message))
    }
}

/// The ends of the logs of the events under way.
#[derive(Debug, Default)]
struct Tails(Mutex<Vec<(String, VecDeque<String>, usize)>>);

impl Tails {
    /// The only event under way.
    fn current(&self) -> Option<String> {
        match self.lock().as_slice() {
            [(request_id, ..)] => Some(request_id.clone()),
            [] | [_, ..] => None,
        }
    }

    fn begin(&self, request_id: &str) {
        self.lock().push((request_id.to_owned(), VecDeque::new(), 0));
    }

    fn add(&self, line: &str) {
        if let [(_, lines, bytes)] = self.lock().as_mut_slice() {
            *bytes += line.len() + 1;
            lines.push_back(line.to_owned());
            while *bytes > MAX_TAIL_BYTES && lines.len() > 1 {
                *bytes -= lines.pop_front().map_or(0, |line| line.len() + 1);
            }
        }
    }

    fn end(&self, request_id: &str) -> String {
        let mut tails = self.lock();
        let Some(index) = tails.iter().position(|(id, ..)| id == request_id) else {
            return String::new();
        };
        tails.swap_remove(index).1.into_iter().map(|line| line + "\n").collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, VecDeque<String>, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment {
    /// Starts the process. Init goes on in the background.
    pub(super) fn start(number: u64, function: Arc<Function>, version: u64, journal: Journal) -> std::io::Result<Self> {
        let mode = match function.events_per_environment {
            Some(_) => Mode::ManagedInstances,
            None => Mode::OnDemand,
        };
        let told = serde_json::json!({
            "functionName": function.name,
            "functionVersion": "$LATEST",
            "handler": function.variable("_HANDLER").unwrap_or_default(),
        });
        let server = runtime_api_server::serve(mode, told)?;
        let variables = variables(&function, number, &server.address.to_string());
        let tails = Arc::new(Tails::default());
        let line = {
            let (journal, tails) = (journal.clone(), Arc::clone(&tails));
            move |text: String| {
                tails.add(&text);
                journal.record(What::Line {
                    environment: number,
                    request_id: tails.current(),
                    text,
                });
            }
        };
        let started = Instant::now();
        let process = Process::start(&function, &variables, line)?;
        journal.record(What::EnvironmentStarted {
            environment: number,
            function: function.name.clone(),
            version,
            pid: process.pid,
        });
        Ok(Self {
            number,
            function,
            version,
            started_at_ms: unix_ms(),
            started,
            process,
            server,
            journal,
            tails,
            life: Mutex::new(Life {
                state: State::Starting,
                events: 1,
                finishing: 0,
                served: 0,
                is_retiring: false,
                idle_since: started,
            }),
            is_killed: AtomicBool::new(false),
        })
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Waits for the end of Init, until `limit` after the start.
    pub(super) async fn initialised(&self, limit: Duration) -> Result<(), InitFailure> {
        let mut standing = self.server.session.standing();
        let asked = standing.wait_for(|standing| match standing {
            Standing::Asking(_) | Standing::InitFailed { .. } | Standing::Busy => true,
            Standing::Starting => false,
        });
        tokio::select! {
            biased;
            standing = asked => match standing.as_deref() {
                Ok(Standing::InitFailed { error_type, body }) => Err(InitFailure {
                    status: "error",
                    error_type: error_type.clone(),
                    body: Some(body.clone()),
                    message: "Init failed".to_owned(),
                }),
                Ok(Standing::Asking(_) | Standing::Busy | Standing::Starting) | Err(_) => Ok(()),
            },
            status = self.process.exited() => Err(InitFailure {
                status: "error",
                error_type: "Runtime.ExitError".to_owned(),
                body: None,
                message: exit_message(status),
            }),
            () = tokio::time::sleep_until((self.started + limit).into()) => Err(InitFailure {
                status: "timeout",
                error_type: "Sandbox.Timedout".to_owned(),
                body: None,
                message: format!("Task timed out after {:.2} seconds", limit.as_secs_f64()),
            }),
        }
    }

    /// Waits until it asks for an event. `None` once its process has ended.
    pub(super) async fn asking(&self) -> Option<()> {
        let mut standing = self.server.session.standing();
        tokio::select! {
            biased;
            asking = standing.wait_for(|standing| matches!(standing, Standing::Asking(_))) => asking.ok().map(|_| ()),
            _ = self.process.exited() => None,
        }
    }

    /// Hands an event over; the event's time begins now. `None` if the environment does not ask for one, or does not any more.
    pub(super) fn deliver(&self, delivery: Delivery, timeout: Duration) -> Option<oneshot::Receiver<Outcome>> {
        self.tails.begin(&delivery.request_id);
        self.tails
            .add(&format!("START RequestId: {} Version: $LATEST", delivery.request_id));
        self.server.session.deliver(delivery, timeout)
    }

    /// The answer of this event comes too late from now on.
    pub(super) fn give_up(&self, request_id: &str) {
        self.server.session.give_up(request_id);
    }

    /// Waits for its process to end; the message is the one that Lambda gives.
    pub(super) async fn exited(&self) -> String {
        exit_message(self.process.exited().await)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst) || self.process.is_gone()
    }

    /// Waits until all that it has written so far is in the journal.
    pub(super) async fn flush(&self) {
        self.process.flush().await;
    }

    /// Adds a line of the platform's own to the log's tails.
    pub(super) fn add_line(&self, line: &str) {
        self.tails.add(line);
    }

    /// The end of this event's log.
    pub(super) fn take_tail(&self, request_id: &str) -> String {
        self.tails.end(request_id)
    }

    pub(super) fn peak_memory_mib(&self) -> Option<u64> {
        self.process.peak_memory_mib()
    }

    /// It has nothing to do: stops it, as Lambda does, unless this is Managed Instances. Called with its life locked.
    pub(super) fn rest(&self, life: &mut Life) {
        match self.function.events_per_environment {
            Some(_) => life.state = State::Idle,
            None => {
                self.process.signal(Signal::STOP);
                life.state = State::Frozen;
                self.journal.record(What::EnvironmentFrozen {
                    environment: self.number,
                });
            }
        }
    }

    /// Lets it run again. Called with its life locked.
    pub(super) fn thaw(&self, life: &mut Life) {
        if life.state == State::Frozen {
            self.process.signal(Signal::CONT);
        }
        life.state = State::Busy;
    }

    /// Kills it at once.
    pub(super) fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        self.process.signal(Signal::KILL);
    }

    /// Ends it as Lambda does: at once, or with a warning if it has asked for one.
    pub(super) async fn stop(&self) {
        if self.server.session.has_extensions() {
            self.process.signal(Signal::TERM);
            // A stopped process gets the signal when it runs again.
            self.process.signal(Signal::CONT);
            let ended = tokio::time::timeout(SHUTDOWN_GRACE, self.process.exited()).await;
            if ended.is_ok() {
                return;
            }
        }
        self.kill();
        self.process.exited().await;
    }
}

fn exit_message(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(9)) => "Runtime exited with error: signal: killed".to_owned(),
        (None, signal) => format!("Runtime exited with error: signal: {}", signal.unwrap_or_default()),
    }
}

/// What Lambda sets (runtime contract §5). What the function sets itself counts more.
fn variables(function: &Function, number: u64, runtime_api: &str) -> Vec<(String, String)> {
    let memory = function.memory_mib.to_string();
    let group = format!("/aws/lambda/{}", function.name);
    let stream = format!("[$LATEST]{number:032x}");
    let concurrency = function.events_per_environment.map(|events| events.to_string());
    let mut variables: Vec<(&str, &str)> = vec![
        ("AWS_LAMBDA_FUNCTION_NAME", &function.name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &stream),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
    ];
    match &concurrency {
        Some(concurrency) => variables.extend([
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances"),
            ("AWS_LAMBDA_MAX_CONCURRENCY", concurrency),
            ("AWS_LAMBDA_LOG_FORMAT", "json"),
        ]),
        None => variables.push(("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")),
    }
    variables.retain(|(name, _)| function.variable(name).is_none());
    let mut variables: Vec<_> = variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    variables.extend(function.variables.iter().cloned());
    variables.push(("AWS_LAMBDA_RUNTIME_API".to_owned(), runtime_api.to_owned()));
    variables
}
