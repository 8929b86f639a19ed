//! The local platform's queues on a port, and the clients that people use for them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use orlop_local::queue::{MAX_REQUEST_BYTES, Queues, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::tools;

/// What every script begins with.
const PRELUDE: &str = include_str!("queue_server/prelude.py");

/// Queues on a free port of 127.0.0.1, until this is dropped.
#[derive(Debug)]
pub struct QueueServer {
    /// The queues that are served.
    pub queues: Queues,
    address: SocketAddr,
    /// Keeps serving until it is dropped.
    _runtime: Runtime,
}

impl QueueServer {
    /// With queues that are forgotten afterwards.
    pub fn start() -> Self {
        Self::with(Queues::new(Settings::default()))
    }

    /// With these queues.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub fn with(queues: Queues) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(serve(listener, queues.clone()));
        Self {
            queues,
            address,
            _runtime: runtime,
        }
    }

    /// What `--endpoint-url` takes.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Runs a script against it; see [`python`].
    ///
    /// # Panics
    ///
    /// If the script fails.
    pub fn python(&self, script: &str) -> String {
        python(&self.url(), script)
    }

    /// Runs the AWS CLI's `sqs` against it.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn aws(&self, arguments: &[&str]) -> String {
        let mut aws = tools::aws_cli();
        aws.args(["--endpoint-url", &self.url(), "--output", "json", "sqs"])
            .args(arguments);
        text(tools::run(aws, "the AWS CLI on the local queues"))
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The command that runs a script with `boto3` against queues at that URL. The script has the client `sqs` and what else the
/// prelude defines.
pub fn script(url: &str, script: &str) -> Command {
    let mut python = tools::python_with_boto3();
    python.args(["-u", "-c", &format!("{PRELUDE}\n{script}"), url]);
    python
}

/// Runs a script to its end and returns what it printed.
///
/// # Panics
///
/// If it fails, with what it printed.
pub fn python(url: &str, text_of_script: &str) -> String {
    text(tools::run(script(url, text_of_script), "a script on the local queues"))
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).expect("clients print text")
}

/// Serves queues for ever.
pub async fn serve(listener: TcpListener, queues: Queues) {
    while let Ok((stream, _)) = listener.accept().await {
        let queues = queues.clone();
        let service = service_fn(move |request| {
            let queues = queues.clone();
            async move { Ok::<_, Infallible>(answer(&queues, request).await) }
        });
        // A client that goes away in the middle is its own business.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(queues: &Queues, request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, 2 * MAX_REQUEST_BYTES).collect().await {
        Ok(body) => queues
            .answer(Request::from_parts(head, body.to_bytes()))
            .await
            .map(Full::new),
        Err(error) => panic!("the request of a test does not arrive: {error}"),
    }
}
