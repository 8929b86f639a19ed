//! The process as a Lambda runtime: Init, the loop, the watch over both, and what their end means.
//!
//! ```text
//!   run ─► config ─► watchdog ─┬─ worker thread: deployment (artifact ► engine ► world ► function) ► invoke_loop
//!                              └─ main thread: waits for the worker, a deadline, or a signal
//! ```

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rand::TryRng as _;
use rand::rngs::SysRng;
use signal_hook::consts::SIGXFSZ;
use tracing::{error, info, info_span, warn};

use crate::artifact::LoadError;
use crate::config::{self, Config, Process, RuntimeApi};
use crate::deployment::Deployment;
use crate::engine::Execution;
use crate::entropy;
use crate::error::{FunctionError, InitError, chain};
use crate::event_loop;
use crate::function::{SharedProgress, overrun};
use crate::handover::{self, Handover};
use crate::in_place;
use crate::invocation::Invocation;
use crate::invoke_loop;
use crate::pollers;
use crate::runtime_api::{self, Client, Extension, Interrupter, Responder};
use crate::sandbox::Workspace;
use crate::shortage;
use crate::snap_start::{self, Hook, HookError};
use crate::telemetry::{self, Log};
use crate::wall;
use crate::watchdog::{Cause, Outcome, Task, Watch, Watchdog};

/// The environment's temporary directory: the only place that can be written on Lambda.
const TEMPORARY_DIRECTORY: &str = "/tmp";
/// The developer's tool, which can compile at Init what `bootstrap` cannot.
const TOOL: &str = "orlop";
/// Descriptors for a guest's directory and files, and for answering an event in the worker's place, beside one for each connection.
const SPARE_DESCRIPTORS: usize = 8;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: a termination signal was obeyed.
    ShutDown,
    /// 1: Init failed, and was reported to `/init/error` where the Runtime API could be reached.
    InitFailed,
    /// 2: the Runtime API cannot be worked with any more.
    RuntimeApiFailed,
    /// 64: a guest failed before the snapshot that SnapStart takes, and that was reported to `/init/error`.
    BeforeSnapshotFailed,
    /// 65: a guest failed after the restore, and that was reported to `/restore/error`.
    AfterRestoreFailed,
    /// 70: a bug in the host.
    HostFailed,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::ShutDown => 0,
            Self::InitFailed => 1,
            Self::RuntimeApiFailed => 2,
            Self::BeforeSnapshotFailed => 64,
            Self::AfterRestoreFailed => 65,
            Self::HostFailed => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Runs the process as Lambda's runtime until it has to end. A process that ends with anything but [`Exit::ShutDown`] says
/// why in its last log line, which is the only one of level FATAL.
pub fn run(process: &Process) -> Exit {
    let telemetry = config::telemetry(&process.environment);
    let log = Log::new(telemetry.as_ref().unwrap_or(&telemetry::Config::FALLBACK));
    log.install();
    // A panic's message becomes part of the FATAL line; the default hook would print it a second time, unframed.
    std::panic::set_hook(Box::new(|_| {}));
    // What is written beyond a limit on files is an error then, and not the end of the process.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    // Nobody can be told but the log: an event loop, which a report takes, cannot be made without them.
    let result = ask_for_random_numbers()
        .map_err(|error| Failure::init(&error))
        .and_then(|()| configure(process))
        .and_then(|config| supervise(process, Arc::new(config), &log));
    match result {
        Ok(()) => {
            info!("shut down");
            Exit::ShutDown
        }
        Err(Failure { exit, message }) => {
            log.fatal(&message, exit.code());
            exit
        }
    }
}

/// The configuration; the Runtime API is told what is wrong with it.
fn configure(process: &Process) -> Result<Config, Failure> {
    Config::new(process).map_err(|error| {
        if let Ok(address) = config::runtime_api_address(&process.environment) {
            in_place::report_init_error(
                &RuntimeApi {
                    address,
                    response_content_type: None,
                },
                &error,
            );
        }
        Failure::init(&error)
    })
}

/// Why the process ends.
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn init(error: &InitError) -> Self {
        Self {
            exit: Exit::InitFailed,
            message: error.to_string(),
        }
    }

    fn hook(error: &HookError) -> Self {
        Self {
            exit: match error.hook {
                Hook::BeforeSnapshot => Exit::BeforeSnapshotFailed,
                Hook::AfterRestore => Exit::AfterRestoreFailed,
            },
            message: error.to_string(),
        }
    }

    fn runtime_api(error: &runtime_api::Error) -> Self {
        Self {
            exit: Exit::RuntimeApiFailed,
            message: chain(error),
        }
    }
}

/// Runs the worker under the watchdog, and finishes what the worker cannot finish itself.
fn supervise(process: &Process, config: Arc<Config>, log: &Arc<Log>) -> Result<(), Failure> {
    let handover = &config.handover;
    if let Some(failure) = &handover.failure {
        return Err(Failure {
            exit: Exit::RuntimeApiFailed,
            message: failure.clone(),
        });
    }
    // Its predecessor's came with it.
    if let Some(needs) = &config.second_wall
        && !handover.is_resumed()
    {
        wall::raise(needs, tool_beside().as_deref());
    }
    match config.execution() {
        Execution::Sequential => share_heap(),
        Execution::Concurrent => {}
    }
    let extension = Arc::new(OnceLock::new());
    let watched = Watchdog::new().and_then(|watchdog| {
        let (config, log, extension) = (Arc::clone(&config), Arc::clone(log), Arc::clone(&extension));
        watchdog.watch(move |watch| work(config, log, watch, extension))
    });
    let outcome = watched.map_err(|error| {
        let error = InitError::host("starting the worker thread", &error);
        in_place::report_init_error(&config.runtime_api, &error);
        Failure::init(&error)
    })?;
    let successor = Handover {
        restarts: handover.restarts.saturating_add(1),
        extension: extension.get().cloned(),
        failure: None,
        batch: None,
    };
    match outcome {
        Outcome::Finished(Ok(()))
        | Outcome::Terminated
        | Outcome::Expired(Task::Init | Task::Hook(_) | Task::Completion, Cause::Signal) => Ok(()),
        Outcome::Finished(Err(End::Init(error))) => Err(Failure::init(&error)),
        Outcome::Finished(Err(End::RuntimeApi(error))) => Err(Failure::runtime_api(&error)),
        Outcome::Finished(Err(End::Hook(error))) => Err(Failure::hook(&error)),
        Outcome::Finished(Err(End::NeedsCompiler { tool, reason })) => {
            Err(hand_over_to_tool(process, &config, &tool, &reason))
        }
        Outcome::Expired(Task::Init, Cause::Deadline) => {
            let error = InitError::Guest(FunctionError::DeadlineExceeded {
                ran_for: config.init_timeout,
                last_output: String::new(),
            });
            in_place::report_init_error(&config.runtime_api, &error);
            Err(Failure::init(&error))
        }
        Outcome::Expired(Task::Hook(hook), Cause::Deadline) => {
            let error = HookError::overrun(hook);
            in_place::report(&config.runtime_api, async |client| error.post(client).await);
            Err(Failure::hook(&error))
        }
        Outcome::Expired(Task::Completion, Cause::Deadline) => {
            warn!(
                "Lambda's deadline passed before an answer was confirmed and the next sandbox was ready; restarting in place"
            );
            Err(restart(process, log, &successor, &[]))
        }
        Outcome::Expired(Task::Resumption { responder, progress }, cause) => {
            let span = info_span!("invocation", request_id = responder.request_id());
            span.in_scope(|| error!("the process was not ready again before the batch's time was up"));
            let posted = in_place::answer_batch(&config, responder, &progress);
            go_on(process, log, successor, cause, posted)
        }
        Outcome::Expired(
            Task::Invocation {
                responder,
                output,
                since,
                platform,
            },
            cause,
        ) => {
            if let (Cause::Deadline, Some(progress)) = (cause, responder.progress())
                && let Some(batch) = progress.interrupt(&responder)
            {
                let batch = Some(batch);
                return Err(restart(
                    process,
                    log,
                    &Handover { batch, ..successor },
                    progress.event(),
                ));
            }
            let overrun = overrun(since, output.as_deref());
            let (error, patience) = match cause {
                Cause::Deadline => (overrun, platform),
                Cause::Signal => (FunctionError::ShuttingDown, Instant::now()),
            };
            let posted = in_place::answer(&config, responder, &error, patience);
            go_on(process, log, successor, cause, posted)
        }
        Outcome::Panicked(message, task) => {
            let message = format!("a bug in Orlop, please report it: {message}");
            match task {
                Some(Task::Invocation { responder, .. } | Task::Resumption { responder, .. }) => {
                    // The process ends in any case; a failure to post is part of the same end.
                    let _ = in_place::fail(
                        &config,
                        responder,
                        &FunctionError::Host(message.clone()),
                        Instant::now(),
                    );
                }
                Some(Task::Init) => {
                    let error = InitError::Host {
                        doing: "starting".to_owned(),
                        reason: message.clone(),
                    };
                    in_place::report_init_error(&config.runtime_api, &error);
                }
                Some(Task::Hook(hook)) => {
                    let error = HookError {
                        hook,
                        error: FunctionError::Host(message.clone()),
                    };
                    in_place::report(&config.runtime_api, async |client| error.post(client).await);
                }
                Some(Task::Completion) | None => {}
            }
            Err(Failure {
                exit: Exit::HostFailed,
                message,
            })
        }
    }
}

/// What follows when an event was answered in the worker's place: the process ends, or replaces itself.
fn go_on(
    process: &Process,
    log: &Log,
    successor: Handover,
    cause: Cause,
    posted: Result<(), runtime_api::Error>,
) -> Result<(), Failure> {
    match cause {
        Cause::Signal => posted.map_err(|error| Failure::runtime_api(&error)),
        Cause::Deadline => {
            let failure = posted.err().map(|error| chain(&error));
            Err(restart(process, log, &Handover { failure, ..successor }, &[]))
        }
    }
}

/// Why the worker ended.
enum End {
    Init(InitError),
    Hook(HookError),
    RuntimeApi(runtime_api::Error),
    /// The component has to be compiled, which this program cannot, but the tool can.
    NeedsCompiler {
        tool: PathBuf,
        reason: String,
    },
}

/// The worker's thread: an event loop with one task, or the first of several threads where several events are worked on at a
/// time.
fn work(config: Arc<Config>, log: Arc<Log>, watch: Watch, extension: Arc<OnceLock<String>>) -> Result<(), End> {
    let started = Instant::now();
    let runtime = event_loop::new(config.execution()).map_err(End::Init)?;
    // As a task of its own, not as the future that the loop is run for: waking that one costs two system calls, for which
    // every answer of Lambda's would be a reason.
    let task = runtime.spawn(async move { serve(&config, &log, &watch, &extension, started).await });
    let ended = runtime.block_on(task);
    // A host call that does not return must not keep the process alive.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => unreachable!("nobody cancels the task: {error}"),
    })
}

/// Has all threads allocate from one heap. glibc would make another one for the worker, which takes a tenth of a cold start, so that
/// threads need not wait for each other; where one event is worked on at a time they hardly ever would.
#[cfg(target_env = "gnu")]
fn share_heap() {
    #[expect(unsafe_code, reason = "the only way to name it")]
    // SAFETY: it sets a number, under the lock of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(target_env = "gnu"))]
fn share_heap() {}

/// Init, then the loop.
async fn serve(
    config: &Config,
    log: &Arc<Log>,
    watch: &Watch,
    extension: &OnceLock<String>,
    started: Instant,
) -> Result<(), End> {
    let interrupter = Interrupter::default();
    watch.interrupt_with(interrupter.clone());
    let mut client = Client::blocking(
        &config.runtime_api,
        &config.deadlines,
        config.max_event_bytes,
        interrupter,
    );
    let resumed = resumed(&client, config).map_err(End::Init)?;
    let (task, limit) = resumed
        .as_ref()
        .and_then(resumption)
        .unwrap_or((Task::Init, started + config.init_timeout));
    let watched = watch.begin(task, limit);
    let initialised = initialise(config, log, started).await;
    watched.finish();
    let mut deployment = match initialised {
        Ok(deployment) => deployment,
        Err(End::Init(error)) => {
            let mut client = Client::new(&config.runtime_api, &config.deadlines, config.max_event_bytes);
            client.init_error(&error.report()).await;
            return Err(End::Init(error));
        }
        Err(other) => return Err(other),
    };
    register(config, extension).await;
    if let (Some(count), Some(ticker)) = (config.concurrency, deployment.ticker().cloned()) {
        let client = || Client::new(&config.runtime_api, &config.deadlines, config.max_event_bytes).of_several();
        let ended = pollers::run(client, deployment, count, ticker, config.init_timeout, watch);
        return ended.await.map_err(End::RuntimeApi);
    }
    // A process that has replaced itself has been through this.
    if config.is_snap_start && config.handover.restarts == 0 {
        // On an event loop, where a signal can end the wait; and gone before anything else connects.
        let mut client = Client::new(&config.runtime_api, &config.deadlines, config.max_event_bytes);
        snap_start::pass_through(&mut client, &mut deployment, watch)
            .await
            .map_err(|failure| match failure {
                snap_start::Failure::Hook(error) => End::Hook(error),
                snap_start::Failure::RuntimeApi(error) => End::RuntimeApi(error),
            })?;
    }
    invoke_loop::run(&mut client, &mut deployment, watch, resumed)
        .await
        .map_err(End::RuntimeApi)
}

/// The batch that the process has to go on with, if there is one.
fn resumed(client: &Client, config: &Config) -> Result<Option<(Invocation, Responder)>, InitError> {
    let Some(batch) = &config.handover.batch else {
        return Ok(None);
    };
    let event = handover::interrupted_event()
        .map_err(|error| InitError::host("reading the event of an interrupted batch", &error))?;
    Ok(Some(client.resume(batch.clone(), event)))
}

/// Init, while a batch waits for its end; and when it has to be answered.
fn resumption((invocation, responder): &(Invocation, Responder)) -> Option<(Task, Instant)> {
    let progress = SharedProgress::resumed(invocation)?;
    let limit = progress.deadline().instant;
    let task = Task::Resumption {
        responder: responder.clone(),
        progress: Box::new(progress),
    };
    Some((task, limit))
}

/// Event loops and sandboxes are made with random numbers, by libraries that panic if the system has none. Once it has given some it
/// always does: what had to be opened for them stays open.
fn ask_for_random_numbers() -> Result<(), InitError> {
    // The library asks by itself where it is linked dynamically.
    entropy::fill(&mut [0; 8])
        .and_then(|()| SysRng.try_next_u64().map_err(io::Error::other))
        .map(drop)
        .map_err(|error| InitError::host("asking the system for random numbers", &error))
}

/// Everything that is done once: find, load, link, start.
async fn initialise(config: &Config, log: &Arc<Log>, started: Instant) -> Result<Deployment, End> {
    let workspace = Workspace::new(Path::new(TEMPORARY_DIRECTORY));
    let deployment = match Deployment::load(config, log, workspace, || tool_beside().is_some()).await {
        Ok(deployment) => deployment,
        Err(error) => {
            return Err(match (error, tool_beside()) {
                (LoadError::NeedsCompiler { reason, .. }, Some(tool)) => End::NeedsCompiler { tool, reason },
                (error, _) => End::Init(error.without_compiler()),
            });
        }
    };
    ask_for_descriptors(config).map_err(End::Init)?;
    deployment.announce(started.elapsed(), config.handover.restarts);
    Ok(deployment)
}

/// What is opened for events is open to this process, so that it does not become ready only to fail with the first of them.
fn ask_for_descriptors(config: &Config) -> Result<(), InitError> {
    shortage::has_descriptors(config.pollers().saturating_add(SPARE_DESCRIPTORS))
        .map_err(|error| InitError::host("making sure that there are descriptors for events", &error))
}

/// The developer's tool beside this program, if it is there.
fn tool_beside() -> Option<PathBuf> {
    let tool = std::env::current_exe().ok()?.parent()?.join(TOOL);
    Some(tool).filter(|tool| tool.is_file())
}

/// Replaces this program with the tool, which is the same runtime with a compiler. Returns only if that failed.
fn hand_over_to_tool(process: &Process, config: &Config, tool: &Path, reason: &str) -> Failure {
    info!(tool = %tool.display(), reason, "handing over to the program that can compile");
    let cause = Command::new(tool)
        .arg("--")
        .args(process.arguments.iter().skip(1))
        .exec();
    let error = InitError::host(format!("running `{}`", tool.display()), &cause);
    in_place::report_init_error(&config.runtime_api, &error);
    Failure::init(&error)
}

/// Replaces the process with a fresh run of itself, which goes on with `event` if it is an interrupted batch's. Returns only if that failed.
fn restart(process: &Process, log: &Log, successor: &Handover, event: &[u8]) -> Failure {
    log.keep_across_exec();
    let error = successor.re_execute(&process.arguments, event);
    Failure {
        exit: Exit::HostFailed,
        message: format!("cannot restart the process in place: {error}"),
    }
}

async fn register(config: &Config, identifier: &OnceLock<String>) {
    let extension = match &config.handover.extension {
        Some(identifier) => Some(Extension::resume(&config.runtime_api, identifier.clone())),
        None if config.graceful_shutdown && !config.handover.is_resumed() => {
            Extension::register(&config.runtime_api).await
        }
        None => None,
    };
    if let Some(extension) = extension {
        // It is the only writer.
        let _ = identifier.set(extension.identifier().to_owned());
        extension.poll_on_a_thread();
    }
}
