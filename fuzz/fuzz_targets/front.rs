//! Any bytes on a connection to an HTTP front of any kind: an answer or a closed connection, in short time. What gets that far
//! becomes an event.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use orlop_local::gateway::{Gateway, Kind, RestApi};
use orlop_local::server::Server;
use orlop_local::{Journal, Platform, platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(10);

fn kinds() -> [Kind; 6] {
    [
        Kind::HttpApi,
        Kind::RestApi(RestApi::default()),
        Kind::FunctionUrl { streamed: false },
        Kind::FunctionUrl { streamed: true },
        Kind::LoadBalancer { multi_value: false },
        Kind::LoadBalancer { multi_value: true },
    ]
}

/// A front of each kind before a function that is not there, for the life of the process.
fn fronts() -> &'static (Runtime, Vec<Server>) {
    static FRONTS: OnceLock<(Runtime, Vec<Server>)> = OnceLock::new();
    FRONTS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop");
        let servers = runtime.block_on(async {
            let platform = Platform::new(Journal::default(), platform::Settings::default());
            let mut servers = Vec::new();
            for kind in kinds() {
                let gateway = Gateway::new(platform.clone(), "nobody".to_owned(), kind, Vec::new());
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let answer = move |request| {
                    let gateway = gateway.clone();
                    async move { gateway.answer(request).await }
                };
                servers.push(Server::start(listener, answer).expect("a listener has an address"));
            }
            servers
        });
        (runtime, servers)
    })
}

fuzz_target!(|parts: (u8, &[u8])| {
    let (kind, bytes) = parts;
    let (runtime, servers) = fronts();
    let address = servers[usize::from(kind) % servers.len()].address();
    runtime.block_on(async {
        let mut client = TcpStream::connect(address).await.expect("the front listens");
        // A server that has seen enough closes the connection, which is an answer.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the front waits for more than there is");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1."),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    });
});
