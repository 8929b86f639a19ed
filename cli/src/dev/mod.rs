//! `orlop dev`: the local platform around a project.

mod examples;
mod introduction;
mod mapping;
mod plan;
mod sources;
mod terminal;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use orlop_host::config::Process;
use orlop_local::aws_endpoint::AwsEndpoint;
use orlop_local::function::ACCOUNT;
use orlop_local::gateway::{Gateway, Kind, RestApi};
use orlop_local::invoke_api::{self, EventInvokeConfig, InvokeApi};
use orlop_local::page::{self, Page};
use orlop_local::queue::{self, Queues};
use orlop_local::server::Server;
use orlop_local::{Journal, Platform, platform};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::bounds;
use crate::invoke::{parse_timeout, parse_variable};
use crate::mistake::Mistake;
use plan::{Plan, default_concurrency};
use sources::Sources;
use terminal::LogFormat;
use watch::Watcher;

/// What connections get to finish at the end.
const GRACE: Duration = Duration::from_secs(2);
/// How often builds are looked for that nobody uses any more.
const TIDYING_PERIOD: Duration = Duration::from_secs(5);

/// Run a project as on Lambda: requests and messages in, environments that come and go, and a page that shows it.
///
/// Builds the project, serves it, and builds it again whenever its sources change; requests under way are finished by the
/// version that took them. Environments are processes of this program, one per event at a time, as many as there are events
/// at once.
///
/// One address is the front that HTTP clients see. The other is AWS for `aws --endpoint-url` and the SDKs (Lambda's
/// Invoke API and SQS), and in a browser the page.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orlop dev
  orlop dev examples/orders
  orlop dev logic.wasm --http-as function-url --timeout 10s
  orlop dev --sqs https://sqs.eu-central-1.amazonaws.com/123456789012/orders
  orlop dev --env PYTHONPATH=packages -- python3 -m awslambdaric app.handler")]
pub(crate) struct Arguments {
    /// The folder of a crate, a folder of components with or without orlop.toml, or one component
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The function that requests and messages are for, where there are several; with a command, its name
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Where HTTP clients are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    http: SocketAddr,
    /// Whose part the HTTP front plays
    #[arg(long, value_name = "FRONT", default_value = "http-api")]
    http_as: Front,
    /// Where AWS's clients are served, and the page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    aws: SocketAddr,
    /// Take messages from a queue at AWS, or anywhere else where SQS is spoken, in place of the queue in here
    #[arg(long, value_name = "URL", conflicts_with = "queues")]
    sqs: Option<String>,
    /// Name the queue in here (and have several); a name that ends in .fifo makes a FIFO queue
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,
    /// The most messages of one event
    #[arg(long, value_name = "N", default_value_t = 10)]
    batch_size: usize,
    /// How long a batch waits to be filled, in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    batch_window: Duration,
    /// Keep queues and messages in this folder
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The timeout of each function [default: the longest in orlop.toml, or 3s]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// The memory setting of each function in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    memory: u32,
    /// The most environments of each function; beyond it callers are throttled
    #[arg(long, value_name = "N", default_value_t = default_concurrency())]
    concurrency: NonZeroU32,
    /// End an environment that has been idle for so long
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    idle: Duration,
    /// Play Lambda Managed Instances: an environment takes up to N events at a time and is never frozen
    #[arg(long, value_name = "N")]
    managed_instances: Option<NonZeroU32>,
    /// Send a record of each asynchronous event that was given up to this queue in here
    #[arg(long, value_name = "QUEUE")]
    on_failure: Option<String>,
    /// Send a record of each asynchronous event that has succeeded to this queue in here
    #[arg(long, value_name = "QUEUE")]
    on_success: Option<String>,
    /// Send asynchronous events that were given up, as they are, to this queue in here
    #[arg(long, value_name = "QUEUE")]
    dead_letter_queue: Option<String>,
    /// Set an environment variable of the functions, or an ORLOP_ setting; nothing else of this shell's reaches a guest
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,
    #[command(flatten)]
    bounds: bounds::BuildFlags,
    /// Do not build again when sources change
    #[arg(long)]
    no_watch: bool,
    /// How the log on stdout is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Show what the hosts do
    #[arg(short, long)]
    verbose: bool,
    /// Run this command line as the function: any program that speaks Lambda's Runtime API
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What can stand in front of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Front {
    /// API Gateway's HTTP API, payload 2.0
    HttpApi,
    /// API Gateway's REST API
    RestApi,
    /// A Function URL
    FunctionUrl,
    /// A Function URL that streams
    FunctionUrlStreaming,
    /// An Application Load Balancer
    LoadBalancer,
    /// An Application Load Balancer with multi-value headers
    LoadBalancerMultiValue,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "give a duration such as 5m, 3s or 500ms".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    platform::use_all_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Mistake::new(format!("cannot start: {error}"), "close some programs and try again"))?;
    runtime.block_on(develop(arguments))
}

async fn develop(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    // All that can go wrong at once goes wrong before the build.
    let mut sources = Sources::find(arguments)?;
    let http = bind(arguments.http, "--http").await?;
    let aws = bind(arguments.aws, "--aws").await?;
    let queues = queues(arguments)?;
    let plan = sources.build(arguments).await?;
    let watcher = match arguments.no_watch {
        true => None,
        false => sources.watch()?,
    };

    let journal = Journal::default();
    let settings = platform::Settings {
        idle: arguments.idle,
        ..platform::Settings::default()
    };
    let platform = Platform::new(journal.clone(), settings);
    plan.functions
        .iter()
        .for_each(|function| platform.deploy(function.clone()));

    let gateway = Arc::new(RwLock::new(gateway(arguments, &platform, &plan)));
    let front = serve_front(http, &gateway)?;
    let invoke_api = invoke_api(arguments, &platform, &queues).await?;
    let addresses = Addresses {
        front: format!("http://{}", front.address()),
        aws: format!("http://{}", local_address(&aws)?),
    };
    let page = page(&sources, &plan, &platform, &queues, &addresses);
    let endpoint = serve_endpoint(
        aws,
        AwsEndpoint {
            invoke_api: invoke_api.clone(),
            queues: queues.clone(),
            page: page.clone(),
        },
    )?;
    let mappings = mapping::start(arguments, &plan, &platform, &queues, &addresses).await?;
    let queue = match (&arguments.sqs, plan.queues.first()) {
        (Some(url), _) => Some(url.clone()),
        (None, Some((name, _))) => Some(format!("{}/{ACCOUNT}/{name}", addresses.aws)),
        (None, None) => None,
    };
    introduction::Introduction {
        name: sources.name(),
        front: &addresses.front,
        aws: &addresses.aws,
        queue: queue.as_deref(),
        is_queue_here: arguments.sqs.is_none(),
        plan: &plan,
        folder: sources.folder(),
    }
    .print();
    let terminal = tokio::spawn(terminal::follow(journal, arguments.log_format, arguments.verbose));

    let served = Served {
        arguments,
        platform: platform.clone(),
        gateway,
    };
    served.until_told_to_stop(sources, watcher).await?;

    // Nothing new comes in, then what is there comes to its end.
    let front = tokio::spawn(front.stop(GRACE));
    for mapping in mappings {
        mapping.stop().await;
    }
    invoke_api.shut_down(GRACE).await;
    page.close();
    // A server's task has nothing that could panic on its own.
    let _ = front.await;
    endpoint.stop(Duration::ZERO).await;
    platform.shut_down().await;
    terminal.abort();
    Ok(ExitCode::SUCCESS)
}

/// Where clients find what.
struct Addresses {
    front: String,
    aws: String,
}

/// What changes when the sources do.
struct Served<'a> {
    arguments: &'a Arguments,
    platform: Platform,
    gateway: Arc<RwLock<Gateway>>,
}

impl Served<'_> {
    async fn until_told_to_stop(&self, mut sources: Sources, mut watcher: Option<Watcher>) -> Result<(), Mistake> {
        let no_signals = |error| Mistake::new(format!("cannot listen for signals: {error}"), "try again");
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        loop {
            let changed = async {
                match &mut watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(TIDYING_PERIOD) => sources.tidy(&self.platform),
                is_there = changed => match is_there {
                    true => {
                        tokio::select! {
                            plan = sources.build_again(self.arguments, &self.platform) => {
                                if let Some(plan) = plan {
                                    self.replace(plan);
                                }
                            }
                            _ = interrupt.recv() => return Ok(()),
                            _ = terminate.recv() => return Ok(()),
                        }
                    }
                    false => watcher = None,
                },
            }
        }
    }

    fn replace(&self, plan: Plan) {
        for function in &plan.functions {
            self.platform.deploy(function.clone());
        }
        let new = gateway(self.arguments, &self.platform, &plan);
        *self.gateway.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Mistake> {
    if !address.ip().is_loopback() {
        eprintln!("note: everybody who reaches {address} can call the functions");
    }
    TcpListener::bind(address).await.map_err(|error| {
        Mistake::new(
            format!("cannot listen on {address}: {error}"),
            format!("choose another address with `{flag} 127.0.0.1:PORT`, or port 0 for any that is free"),
        )
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, Mistake> {
    listener
        .local_addr()
        .map_err(|error| Mistake::new(format!("a socket has no address: {error}"), "try again"))
}

fn queues(arguments: &Arguments) -> Result<Queues, Mistake> {
    let settings = queue::Settings::default();
    match &arguments.state {
        None => Ok(Queues::new(settings)),
        Some(folder) => Queues::open(settings, folder).map_err(|error| {
            Mistake::caused_by(
                error,
                "name another folder with `--state DIR`, or stop the program that uses this one",
            )
        }),
    }
}

fn gateway(arguments: &Arguments, platform: &Platform, plan: &Plan) -> Gateway {
    let kind = match arguments.http_as {
        Front::HttpApi => Kind::HttpApi,
        Front::RestApi => Kind::RestApi(RestApi::default()),
        Front::FunctionUrl => Kind::FunctionUrl { streamed: false },
        Front::FunctionUrlStreaming => Kind::FunctionUrl { streamed: true },
        Front::LoadBalancer => Kind::LoadBalancer { multi_value: false },
        Front::LoadBalancerMultiValue => Kind::LoadBalancer { multi_value: true },
    };
    Gateway::new(platform.clone(), plan.main.clone(), kind, plan.routes.clone())
}

fn serve_front(listener: TcpListener, gateway: &Arc<RwLock<Gateway>>) -> Result<Server, Mistake> {
    let gateway = Arc::clone(gateway);
    let answer = move |request| {
        let gateway = gateway.read().unwrap_or_else(PoisonError::into_inner).clone();
        async move { gateway.answer(request).await }
    };
    Server::start(listener, answer).map_err(no_server)
}

fn serve_endpoint(listener: TcpListener, endpoint: AwsEndpoint) -> Result<Server, Mistake> {
    let answer = move |request| {
        let endpoint = endpoint.clone();
        async move { endpoint.answer(request).await }
    };
    Server::start(listener, answer).map_err(no_server)
}

fn no_server(error: std::io::Error) -> Mistake {
    Mistake::new(format!("cannot serve: {error}"), "try again")
}

async fn invoke_api(arguments: &Arguments, platform: &Platform, queues: &Queues) -> Result<InvokeApi, Mistake> {
    let events = EventInvokeConfig {
        on_failure: arguments.on_failure.clone(),
        on_success: arguments.on_success.clone(),
        dead_letter: arguments.dead_letter_queue.clone(),
        ..EventInvokeConfig::default()
    };
    let names = [&events.on_failure, &events.on_success, &events.dead_letter];
    let known: Vec<String> = queues.list().into_iter().map(|queue| queue.name).collect();
    for name in names.into_iter().flatten().filter(|name| !known.contains(name)) {
        queues.create(name, &[]).await.map_err(mapping::unusable)?;
    }
    let config = invoke_api::Config {
        events,
        ..invoke_api::Config::default()
    };
    Ok(InvokeApi::new(platform.clone(), config, queues.clone()))
}

fn page(sources: &Sources, plan: &Plan, platform: &Platform, queues: &Queues, addresses: &Addresses) -> Page {
    let settings = page::Settings {
        title: sources.name().to_owned(),
        front_url: Some(addresses.front.clone()),
        aws_url: addresses.aws.clone(),
        examples: examples::find(sources.folder(), &plan.main)
            .into_iter()
            .map(|found| found.example)
            .collect(),
        queues: Arc::new(queues.clone()),
    };
    Page::new(platform.clone(), settings)
}

/// What any program needs of a shell: where programs are, and where its user lives.
fn shell_variables() -> Vec<(String, String)> {
    let process = Process::current();
    ["PATH", "HOME", "TMPDIR"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), process.environment.get(name)?.to_owned())))
        .collect()
}
