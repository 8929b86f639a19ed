//! `orlop invoke`: one event, or several, through the code path that Lambda uses.

use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orlop_host::engine::Execution;
use orlop_local::invocation::{ResponseStream, Status, StreamEnd};
use orlop_local::journal::{Entry, What};
use orlop_local::{AnswerBody, Function, Invocation, Journal, Platform, platform};
use tokio::sync::broadcast::error::RecvError;

use crate::bounds;
use crate::mistake::Mistake;
use crate::output;
use crate::project::{Built, Progress, Project};

/// Run a component with an event, as Lambda would.
///
/// The component runs in this program's runtime mode, in a child process, with the sandbox, the limits and the deadline that
/// it has on Lambda. Answers go to stdout, one line each; logs and errors go to stderr.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  orlop invoke hello.wasm -e event.json
  echo '{\"name\":\"Ada\"}' | orlop invoke hello.wasm -e -
  orlop invoke examples/hello -A '{}' --repeat 3
  orlop invoke hello.cwasm -e first.json -e second.json --memory 256 --timeout 10s")]
pub(crate) struct Arguments {
    /// A component (.wasm), an artifact (.cwasm), or the folder of a crate that builds components
    component: PathBuf,
    /// Which function to run, where there are several: one of orlop.toml, or a component
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Read an event from FILE, or from stdin for `-`; may be given several times
    #[arg(short, long = "event", value_name = "FILE")]
    events: Vec<PathBuf>,
    /// Take the event from the command line
    #[arg(short = 'A', long, value_name = "TEXT", conflicts_with = "events")]
    data_ascii: Option<String>,
    /// Send the events N times, in a row, to one execution environment
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// The function's timeout
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_timeout)]
    timeout: Duration,
    /// The function's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    memory: u32,
    /// Set an environment variable of the function, or an ORLOP_ setting; nothing else of this shell's reaches the guest
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,
    #[command(flatten)]
    bounds: bounds::BuildFlags,
    /// Show what the host does
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|_| "give a duration such as 3s or 500ms".to_owned())?;
    let is_possible = timeout >= Duration::from_millis(10) && timeout <= Duration::from_secs(900);
    if is_possible {
        Ok(timeout)
    } else {
        Err("Lambda's timeouts go up to 900s, and 10ms is the least here".to_owned())
    }
}

pub(crate) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("give NAME=VALUE".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let events = read_events(arguments)?;
    let project = Project::find(&arguments.component)?.within(arguments.bounds.get()?);
    let built = project.build_apart(Execution::Sequential, None, &Progress::unobtrusive())?;
    let handler = handler(&built, arguments.function.as_deref())?;
    let function = function(arguments, handler, built.task_root())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Mistake::new(format!("cannot start: {error}"), "close some programs and try again"))?;
    runtime.block_on(deliver(arguments, function, &events))
}

async fn deliver(arguments: &Arguments, function: Function, events: &[Vec<u8>]) -> Result<ExitCode, Mistake> {
    let journal = Journal::default();
    let (_, mut entries) = journal.read();
    let settings = platform::Settings {
        // What fails in Init here fails once, and is explained once.
        repeat_init: false,
        ..platform::Settings::default()
    };
    let platform = Platform::new(journal, settings);
    let name = function.name.clone();
    platform.deploy(function);
    let mut code = ExitCode::SUCCESS;
    for event in (0..arguments.repeat).flat_map(|_| events) {
        let invocation = Invocation {
            payload: event.clone().into(),
            ..Invocation::default()
        };
        let one = one(&platform, &name, invocation);
        tokio::pin!(one);
        let outcome = loop {
            tokio::select! {
                entry = entries.recv() => show(entry)?,
                outcome = &mut one => break outcome,
            }
        };
        while let Ok(entry) = entries.try_recv() {
            show(Ok(entry))?;
        }
        if !outcome? {
            code = ExitCode::FAILURE;
        }
    }
    platform.shut_down().await;
    Ok(code)
}

/// Serves one event and prints the answer. Whether it is a success.
async fn one(platform: &Platform, name: &str, invocation: Invocation) -> Result<bool, Mistake> {
    let answer = platform.invoke(name, invocation).await.map_err(|refusal| {
        Mistake::caused_by(
            refusal,
            "the function has not seen the event; mend this and send it again",
        )
    })?;
    let error = match answer.body {
        AnswerBody::Response(body) => {
            print(&mut std::io::stdout(), &body)?;
            None
        }
        AnswerBody::Error(body) => Some(body),
        AnswerBody::Stream(stream) => print_stream(stream).await?,
    };
    // The log is complete when the report is there.
    let report = answer.report.await.ok();
    match error {
        None => Ok(true),
        Some(error) if report.is_some_and(|report| report.status == Status::InitFailed) => Err(init_failure(&error)),
        Some(error) => {
            print(&mut std::io::stderr(), &error)?;
            Ok(false)
        }
    }
}

/// Prints a stream as it comes. Returns the error that it ended with.
async fn print_stream(mut stream: ResponseStream) -> Result<Option<Bytes>, Mistake> {
    let mut ends_line = true;
    while let Some(chunk) = stream.chunks.recv().await {
        ends_line = chunk.ends_with(b"\n");
        output::write(&mut std::io::stdout(), &[&chunk])?;
    }
    if !ends_line {
        output::write(&mut std::io::stdout(), &[b"\n"])?;
    }
    match stream.end.await {
        Ok(StreamEnd::Complete) => Ok(None),
        Ok(StreamEnd::Failed(error)) => Ok(Some(error)),
        Err(_) => Ok(Some(Bytes::from_static(b"the stream broke off"))),
    }
}

/// Prints what the runtime and the guest write.
fn show(entry: Result<Arc<Entry>, RecvError>) -> Result<(), Mistake> {
    if let Ok(entry) = entry
        && let What::Line { text, .. } = &entry.what
    {
        output::write(&mut std::io::stderr(), &[text.as_bytes(), b"\n"])?;
    }
    Ok(())
}

fn read_events(arguments: &Arguments) -> Result<Vec<Vec<u8>>, Mistake> {
    if let Some(text) = &arguments.data_ascii {
        return Ok(vec![text.clone().into_bytes()]);
    }
    if arguments.events.is_empty() {
        return Ok(vec![b"{}".to_vec()]);
    }
    arguments
        .events
        .iter()
        .map(|path| {
            let mut event = Vec::new();
            let read = if path == Path::new("-") {
                std::io::stdin().read_to_end(&mut event).map(|_| event)
            } else {
                std::fs::read(path)
            };
            read.map_err(|error| {
                Mistake::new(
                    format!("cannot read the event `{}`: {error}", path.display()),
                    "name a file, or `-` for stdin",
                )
            })
        })
        .collect()
}

/// The handler to ask for: what the user names, else the only function there is, else the only component.
fn handler<'a>(built: &'a Built, asked: Option<&'a str>) -> Result<&'a str, Mistake> {
    let components = || built.components().iter().map(|component| component.name.as_str());
    let functions = || built.functions().iter().map(String::as_str);
    let names = || functions().collect::<Vec<_>>().join(", ");
    match (asked, built.functions(), built.components()) {
        (Some(name), _, _) if functions().chain(components()).any(|known| known == name) => Ok(name),
        (Some(name), _, _) => Err(Mistake::new(
            format!("there is no function `{name}`"),
            format!("name one of {}", names()),
        )),
        (None, [only], _) => Ok(only),
        (None, _, [only]) => Ok(&only.name),
        (None, _, _) => Err(Mistake::new(
            format!("there are {} functions: {}", built.functions().len(), names()),
            "name one with `--function NAME`",
        )),
    }
}

/// What is started: this program in runtime mode, with Lambda's variables and the ones asked for. The shell's own stay here;
/// they may hold secrets.
fn function(arguments: &Arguments, handler: &str, task_root: &Path) -> Result<Function, Mistake> {
    let log_level = if arguments.verbose { "DEBUG" } else { "FATAL" };
    let mut variables = vec![
        ("AWS_LAMBDA_LOG_LEVEL".to_owned(), log_level.to_owned()),
        ("LAMBDA_TASK_ROOT".to_owned(), task_root.to_string_lossy().into_owned()),
    ];
    variables.extend(arguments.variables.iter().cloned());
    Ok(Function {
        name: handler.to_owned(),
        program: this_program()?,
        arguments: vec!["--".to_owned(), handler.to_owned()],
        working_directory: None,
        variables,
        memory_mib: arguments.memory,
        timeout: arguments.timeout,
        concurrency: NonZeroU32::MIN,
        events_per_environment: None,
    })
}

fn this_program() -> Result<PathBuf, Mistake> {
    std::env::current_exe()
        .map_err(|error| Mistake::new(format!("cannot find this program: {error}"), "run it by its full path"))
}

/// Writes one answer as a line.
fn print(output: &mut dyn Write, body: &[u8]) -> Result<(), Mistake> {
    let end: &[u8] = if body.ends_with(b"\n") { b"" } else { b"\n" };
    output::write(output, &[body, end])
}

/// Init fails for every event.
fn init_failure(error: &[u8]) -> Mistake {
    let report: serde_json::Value = serde_json::from_slice(error).unwrap_or_default();
    let part = |name: &str| report[name].as_str().unwrap_or("unknown").to_owned();
    Mistake::new(
        part("errorMessage"),
        format!("this is {} and would fail every cold start", part("errorType")),
    )
}
