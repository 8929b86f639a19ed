//! What every test needs: a platform with one function, a queue server, and what the function has written down.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop_local::event_source_mapping::{EventSourceMapping, QueueAddress, Settings, StartError};
use orlop_local::journal::What;
use orlop_local::{Function, Platform};
use orlop_tests::queue_server;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A platform with the function `worker`, which `tests/foreign/python/queue_runtime.py` is.
pub(super) struct Desk {
    pub(super) runtime: Runtime,
    pub(super) platform: Platform,
    folder: TempDir,
}

impl Desk {
    /// The function has a timeout of 20 s and 8 environments unless `change` says otherwise.
    pub(super) fn new(change: impl FnOnce(&mut Function)) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = TempDir::new().unwrap();
        let mut function = support::function("worker");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign/python/queue_runtime.py");
        function.arguments = vec![script.to_str().unwrap().to_owned()];
        let record = folder.path().join("record").to_str().unwrap().to_owned();
        function.variables.push(("RECORD".to_owned(), record));
        function.concurrency = NonZeroU32::new(8).unwrap();
        change(&mut function);
        let platform = runtime.block_on(async { support::platform([function]) });
        Self {
            runtime,
            platform,
            folder,
        }
    }

    /// A path for a file that is not there.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn try_start(
        &self,
        url: &str,
        change: impl FnOnce(&mut Settings),
    ) -> Result<EventSourceMapping, StartError> {
        let mut settings = Settings::new(QueueAddress::Url(url.to_owned()), "worker");
        change(&mut settings);
        self.runtime
            .block_on(EventSourceMapping::start(self.platform.clone(), settings))
    }

    pub(super) fn start(&self, url: &str, change: impl FnOnce(&mut Settings)) -> EventSourceMapping {
        self.try_start(url, change).unwrap()
    }

    pub(super) fn stop(&self, mapping: EventSourceMapping) {
        self.runtime.block_on(mapping.stop());
    }

    /// What the function has written down, in order.
    pub(super) fn all_lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("record")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What it has written down of that phase.
    pub(super) fn lines(&self, phase: &str) -> Vec<Value> {
        let lines = self.all_lines().into_iter();
        lines.filter(|line| line["phase"] == phase).collect()
    }

    /// The bodies in those lines.
    pub(super) fn bodies(&self, phase: &str) -> Vec<String> {
        let lines = self.lines(phase);
        lines
            .iter()
            .map(|line| line["body"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What the journal tells people.
    pub(super) fn notices(&self) -> Vec<String> {
        let (entries, _) = self.platform.journal().read();
        let texts = entries.iter().filter_map(|entry| {
            if let What::Notice { text } = &entry.what {
                Some(text.clone())
            } else {
                None
            }
        });
        texts.collect()
    }

    /// Waits for a condition.
    pub(super) fn until(&self, what: &str, mapping: &EventSourceMapping, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            let state = || (mapping.status(), self.notices(), self.lines("begin").len());
            assert!(Instant::now() < end, "waited in vain until {what}: {:?}", state());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.runtime.block_on(self.platform.shut_down());
    }
}

/// Makes a queue with a dead-letter queue called `dead`, and sends messages to it. Its URL.
///
/// In `messages`, Python, `many(queue, bodies)` sends bodies, and to a FIFO queue pairs of a group and a body.
pub(super) fn queue(endpoint: &str, name: &str, visibility: u32, receives: u32, messages: &str) -> String {
    let script = format!(
        r#"
def many(queue, bodies):
    bodies = list(bodies)
    for start in range(0, len(bodies), 10):
        entries = []
        for number, body in enumerate(bodies[start:start + 10], start):
            entry = {{"Id": str(number)}}
            if isinstance(body, tuple):
                entry.update(MessageGroupId=body[0], MessageDeduplicationId=str(number))
                body = body[1]
            entries.append({{**entry, "MessageBody": body}})
        same(len(sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]), len(entries))


dead = create("dead.fifo" if "{name}".endswith(".fifo") else "dead")
dead = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
policy = json.dumps({{"deadLetterTargetArn": dead, "maxReceiveCount": "{receives}"}})
queue = create("{name}", VisibilityTimeout={visibility}, RedrivePolicy=policy)
{messages}
print(queue)
"#
    );
    queue_server::python(endpoint, &script).trim().to_owned()
}

/// How many messages a queue has: visible, received by somebody, and delayed.
pub(super) fn counts(endpoint: &str, name: &str) -> String {
    let script = format!("print(counts(sqs.get_queue_url(QueueName={name:?})['QueueUrl']))");
    queue_server::python(endpoint, &script).trim().to_owned()
}

/// A way to a server that can be cut.
pub(super) struct Way {
    address: SocketAddr,
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Way {
    pub(super) fn to(endpoint: &str) -> Self {
        let server: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&streams);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { return };
                // Nobody listens behind a way that is cut, and so the connection just ends.
                if let Some(streams) = shared.lock().unwrap().as_mut() {
                    let far = TcpStream::connect(server).unwrap();
                    streams.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                    pipe(near.try_clone().unwrap(), far.try_clone().unwrap());
                    pipe(far, near);
                }
            }
        });
        Self { address, streams }
    }

    /// The URL by this way.
    pub(super) fn url(&self, url: &str) -> String {
        let (_, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn cut(&self) {
        for stream in self.streams.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub(super) fn mend(&self) {
        *self.streams.lock().unwrap() = Some(Vec::new());
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // Either side may go at any time.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
