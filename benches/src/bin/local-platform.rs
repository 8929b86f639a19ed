//! The local platform as `orlop dev` has it, without the builds and the page: `local-platform ADDRESS FUNCTIONS [--http-api]
//! PROGRAM [ARGUMENT]..`
//!
//! It deploys so many functions, all with that program as their runtime, and has them called through Lambda's Invoke API
//! (`hello-0`, `hello-1`, ..), or through an HTTP API with a path for each (`/0`, `/1`, ..).

use std::env;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use orlop_local::gateway::{Gateway, Kind};
use orlop_local::invoke_api::{Config, InvokeApi};
use orlop_local::journal::Entry;
use orlop_local::queue::{self, Queues};
use orlop_local::server::{Request, Server, full};
use orlop_local::{Function, Journal, Platform, platform};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

const HTTP_API: &str = "--http-api";

fn main() -> anyhow::Result<()> {
    // As `orlop dev`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1).peekable();
    let address: SocketAddr = arguments.next().context("there is no address")?.parse()?;
    let functions: usize = arguments.next().context("there is no number of functions")?.parse()?;
    let is_http_api = arguments.next_if(|argument| argument == HTTP_API).is_some();
    let program = PathBuf::from(arguments.next().context("there is no program")?);
    let arguments: Vec<String> = arguments.collect();
    let task_root = env::current_dir()?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Closed connections of an earlier process may linger there; tokio does not mind.
    let listener = TcpListener::bind(address).await?;

    let journal = Journal::default();
    let platform = Platform::new(journal.clone(), platform::Settings::default());
    let names: Vec<_> = (0..functions).map(|number| format!("hello-{number}")).collect();
    for name in &names {
        platform.deploy(function(name, &program, &arguments, &task_root));
    }
    tokio::spawn(print(journal));
    let server = match is_http_api {
        true => http_api(listener, &platform, names)?,
        false => invoke_api(listener, &platform)?,
    };
    terminate.recv().await;
    server.stop(Duration::ZERO).await;
    platform.shut_down().await;
    Ok(())
}

fn function(name: &str, program: &Path, arguments: &[String], task_root: &Path) -> Function {
    Function {
        name: name.to_owned(),
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        working_directory: None,
        variables: vec![("LAMBDA_TASK_ROOT".to_owned(), task_root.display().to_string())],
        memory_mib: 128,
        timeout: Duration::from_secs(3),
        concurrency: NonZeroU32::MIN.saturating_add(99),
        events_per_environment: None,
    }
}

fn invoke_api(listener: TcpListener, platform: &Platform) -> std::io::Result<Server> {
    let queues = Queues::new(queue::Settings::default());
    let api = InvokeApi::new(platform.clone(), Config::default(), queues);
    Server::start(listener, move |request: Request| {
        let api = api.clone();
        async move { api.answer(request).await }
    })
}

fn http_api(listener: TcpListener, platform: &Platform, names: Vec<String>) -> std::io::Result<Server> {
    let gateways: Vec<_> = names
        .into_iter()
        .map(|name| Gateway::new(platform.clone(), name, Kind::HttpApi, Vec::new()))
        .collect();
    Server::start(listener, move |request: Request| {
        let number: Option<usize> = request.uri().path().trim_start_matches('/').parse().ok();
        let gateway = number.and_then(|number| gateways.get(number)).cloned();
        async move {
            match gateway {
                Some(gateway) => gateway.answer(request).await,
                None => http::Response::new(full("there is no such function")),
            }
        }
    })
}

/// Tells everything that happens, as `orlop dev --log-format json`.
async fn print(journal: Journal) {
    let (kept, mut entries) = journal.read();
    let print = |entry: &Entry| println!("{}", serde_json::to_string(entry).unwrap_or_default());
    kept.iter().for_each(|entry| print(entry));
    loop {
        match entries.recv().await {
            Ok(entry) => print(&entry),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
