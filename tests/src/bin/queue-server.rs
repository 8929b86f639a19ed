//! The local platform's queues in a process of their own, kept in the directory that is its argument; for tests that kill
//! it. Its first line of output is the URL.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use orlop_local::queue::{Queues, Settings};
use orlop_tests::queue_server::serve;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or("usage: queue-server DIRECTORY")?;
    let queues = Queues::open(Settings::default(), &directory)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, queues).await;
    Ok(())
}
