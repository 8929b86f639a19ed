//! Any bytes as Lambda's answer to `next`: an event or an error, in short time.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use orlop_host::config::RuntimeApi;
use orlop_host::invocation::DeadlinePolicy;
use orlop_host::runtime_api::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Ends a client that asks again.
const END: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let first = bytes.to_vec();
        tokio::spawn(async move {
            let mut answer = first;
            while let Ok((mut peer, _)) = listener.accept().await {
                let _ = peer.read(&mut [0; 4096]).await;
                let _ = peer.write_all(&answer).await;
                let _ = peer.shutdown().await;
                answer = END.to_vec();
            }
        });
        let config = RuntimeApi {
            address,
            response_content_type: None,
        };
        let policy = DeadlinePolicy {
            margin: Duration::ZERO,
            default_timeout: Duration::from_secs(1),
        };
        let mut client = Client::new(&config, &policy, 1 << 20);
        let answered = tokio::time::timeout(PATIENCE, client.next()).await;
        assert!(answered.is_ok(), "the client waits for more than there is");
    });
});
