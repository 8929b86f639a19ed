//! `orlop invoke`: one event, or several, through the code path that Lambda uses.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use orlop_host::manifest::FILE_NAME;
use orlop_local::{Answer, Environment, Event, Settings, StartError};

use crate::compile::{compile_or_explain, target_or_host};
use crate::component::Runnable;
use crate::mistake::Mistake;
use crate::output;

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
    /// A component (.wasm), an artifact (.cwasm), or the folder of a crate that builds a component
    component: PathBuf,
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
    /// Show what the host does
    #[arg(short, long)]
    verbose: bool,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|_| "give a duration such as 3s or 500ms".to_owned())?;
    let is_possible = timeout >= Duration::from_millis(10) && timeout <= Duration::from_secs(900);
    if is_possible {
        Ok(timeout)
    } else {
        Err("Lambda's timeouts go up to 900s, and 10ms is the least here".to_owned())
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("give NAME=VALUE".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let events = read_events(arguments)?;
    let runnable = Runnable::new(&arguments.component)?;
    let manifest = manifest_beside(&arguments.component);
    let folder = task_root(&runnable, manifest.as_deref())?;
    let settings = settings(arguments, &runnable.name(), folder.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Mistake::new(format!("cannot start: {error}"), "close some programs and try again"))?;
    runtime.block_on(deliver(arguments, &settings, &events))
}

/// The `orlop.toml` in the crate's folder, or beside the file.
fn manifest_beside(component: &Path) -> Option<PathBuf> {
    let folder = match component.is_dir() {
        true => component,
        false => component.parent()?,
    };
    Some(folder.join(FILE_NAME)).filter(|path| path.is_file())
}

async fn deliver(arguments: &Arguments, settings: &Settings, events: &[Vec<u8>]) -> Result<ExitCode, Mistake> {
    let mut environment = Environment::start(settings).await.map_err(gone)?;
    let mut has_failed = false;
    let mut count = 0_u64;
    for event in (0..arguments.repeat).flat_map(|_| events) {
        count += 1;
        let event = Event {
            request_id: format!("00000000-0000-4000-8000-{count:012x}"),
            payload: event.clone().into(),
            timeout: arguments.timeout,
        };
        match environment.invoke(event).await {
            Ok(Answer::Response(body)) => print(&mut std::io::stdout(), &body)?,
            Ok(Answer::Error(body)) => {
                has_failed = true;
                print(&mut std::io::stderr(), &body)?;
            }
            Ok(Answer::Interrupted(body, error)) => {
                has_failed = true;
                print(&mut std::io::stdout(), &body)?;
                print(&mut std::io::stderr(), &error)?;
            }
            Ok(Answer::TooLarge(size)) => {
                has_failed = true;
                eprintln!(
                    "the response of {} is larger than Lambda takes",
                    ByteSize(size as u64).display().iec()
                );
            }
            Err(error) => return Err(gone(error)),
        }
    }
    environment.stop().await;
    Ok(if has_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
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

/// A folder that holds the artifact alone, so that a stale one beside the component is never run instead.
fn task_root(runnable: &Runnable, manifest: Option<&Path>) -> Result<tempfile::TempDir, Mistake> {
    let failed = |error: std::io::Error| {
        Mistake::new(
            format!("cannot write a temporary file: {error}"),
            "make room in the temporary directory",
        )
    };
    let folder = tempfile::Builder::new().prefix("orlop-").tempdir().map_err(failed)?;
    let artifact = folder.path().join(format!("{}.cwasm", runnable.name()));
    match runnable {
        Runnable::Component(path, bytes) => {
            let compiled = compile_or_explain(path, bytes, target_or_host(None)?)?;
            std::fs::write(artifact, compiled).map_err(failed)?;
        }
        Runnable::Artifact(path) => {
            std::fs::copy(path, artifact).map_err(failed)?;
        }
    }
    // What the file says of this function counts here as well.
    if let Some(manifest) = manifest {
        std::fs::copy(manifest, folder.path().join(FILE_NAME)).map_err(failed)?;
    }
    Ok(folder)
}

/// The runtime's environment: Lambda's variables and the ones asked for. The shell's own stay here; they may hold secrets.
fn settings(arguments: &Arguments, name: &str, task_root: &Path) -> Result<Settings, Mistake> {
    let program = std::env::current_exe()
        .map_err(|error| Mistake::new(format!("cannot find this program: {error}"), "run it by its full path"))?;
    let mut variables: Vec<(String, String)> = [
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &arguments.memory.to_string()),
        (
            "AWS_LAMBDA_LOG_LEVEL",
            if arguments.verbose { "DEBUG" } else { "FATAL" },
        ),
        ("AWS_REGION", "us-east-1"),
        ("LAMBDA_TASK_ROOT", &task_root.to_string_lossy()),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    variables.extend(arguments.variables.iter().cloned());
    Ok(Settings {
        program,
        arguments: vec!["--".to_owned(), name.to_owned()],
        variables,
    })
}

/// Writes one answer as a line.
fn print(output: &mut dyn Write, body: &[u8]) -> Result<(), Mistake> {
    let end: &[u8] = if body.ends_with(b"\n") { b"" } else { b"\n" };
    output::write(output, &[body, end])
}

fn gone(error: StartError) -> Mistake {
    match &error {
        StartError::Init(body) => {
            let report: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let part = |name: &str| report[name].as_str().unwrap_or("unknown").to_owned();
            Mistake::new(
                part("errorMessage"),
                format!("this is {} and would fail every cold start", part("errorType")),
            )
        }
        StartError::Io(_) | StartError::Exited(_) | StartError::TimedOut(_) => Mistake::caused_by(
            error,
            "the log lines above say more; `--verbose` adds what the host does",
        ),
    }
}
