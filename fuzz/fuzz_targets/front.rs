//! Any bytes on a connection to the HTTP front: an answer or a closed connection, in short time.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use orlop_local::gateway::{Gateway, Kind};
use orlop_local::server::Server;
use orlop_local::{Journal, Platform, platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(10);

/// A front before a function that is not there, for the life of the process.
fn front() -> &'static (Runtime, SocketAddr, Server) {
    static FRONT: OnceLock<(Runtime, SocketAddr, Server)> = OnceLock::new();
    FRONT.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop");
        let server = runtime.block_on(async {
            let platform = Platform::new(Journal::default(), platform::Settings::default());
            let gateway = Gateway::new(platform, "nobody".to_owned(), Kind::HttpApi, Vec::new());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let answer = move |request| {
                let gateway = gateway.clone();
                async move { gateway.answer(request).await }
            };
            Server::start(listener, answer).expect("a listener has an address")
        });
        let address = server.address();
        (runtime, address, server)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (runtime, address, _) = front();
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
