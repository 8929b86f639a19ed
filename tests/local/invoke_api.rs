//! The Invoke API, by `boto3` and the AWS CLI. Most tests are a script in Python, which begins with `invoke_api/prelude.py`.

mod asynchronous;
mod clients;
mod mistakes;
mod streams;
mod synchronous;

use std::net::Ipv4Addr;
use std::process::Output;
use std::time::{Duration, Instant};

use orlop_local::invocation::Status;
use orlop_local::invoke_api::{Config, InvokeApi};
use orlop_local::journal::What;
use orlop_local::queue::{self, Queues};
use orlop_local::server::{self, Server};
use orlop_local::{Function, Platform};
use orlop_tests::tools;
use tokio::net::TcpListener;

use crate::support::platform;

const PRELUDE: &str = include_str!("invoke_api/prelude.py");

/// The API on a free port of 127.0.0.1, with a platform and queues of its own.
struct Lambda {
    api: InvokeApi,
    platform: Platform,
    queues: Queues,
    server: Server,
}

impl Lambda {
    async fn start(functions: impl IntoIterator<Item = Function>, config: Config) -> Self {
        let platform = platform(functions);
        let queues = Queues::new(queue::Settings::default());
        let api = InvokeApi::new(platform.clone(), config, queues.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let answering = api.clone();
        let server = Server::start(listener, move |request: server::Request| {
            let api = answering.clone();
            async move { api.answer(request).await }
        });
        Self {
            api,
            platform,
            queues,
            server: server.unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Runs a script, and returns what it printed.
    async fn python(&self, script: &str) -> String {
        let mut python = tools::python_with_boto3();
        python.args(["-u", "-c", &format!("{PRELUDE}\n{script}"), &self.url()]);
        finish(python).await
    }

    /// Runs the AWS CLI's `lambda`, and returns what it printed.
    async fn aws(&self, arguments: &[&str]) -> String {
        let mut aws = tools::aws_cli();
        aws.args(["--endpoint-url", &self.url(), "--output", "json", "lambda"])
            .args(arguments);
        finish(aws).await
    }

    /// What the journal has of a kind.
    fn journal<T>(&self, pick: impl Fn(&What) -> Option<T>) -> Vec<T> {
        let (entries, _) = self.platform.journal().read();
        entries.iter().filter_map(|entry| pick(&entry.what)).collect()
    }

    /// Waits until the journal has so many of a kind.
    async fn until<T: std::fmt::Debug>(&self, count: usize, pick: impl Fn(&What) -> Option<T>) -> Vec<T> {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.journal(&pick);
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < patience, "{found:?} are not {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Runs a client to its good end while the server here goes on.
async fn finish(client: std::process::Command) -> String {
    let run = tokio::task::spawn_blocking(|| tools::run(client, "a client of the Invoke API"));
    match run.await {
        Ok(Output { stdout, .. }) => String::from_utf8(stdout).unwrap(),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn notice(what: &What) -> Option<String> {
    let What::Notice { text } = what else { return None };
    Some(text.clone())
}

fn ended(what: &What) -> Option<Status> {
    let What::InvocationEnded(report) = what else {
        return None;
    };
    Some(report.status)
}
