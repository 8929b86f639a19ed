//! AWS's Runtime Interface Emulator around a runtime: the nearest thing to Lambda on a developer's machine.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::fake_runtime_api::{Headers, Source, header_line, response_framing};
use crate::process::{PATIENCE, Process, Signal};
use crate::tools::runtime_interface_emulator;

/// How long an invocation may take, beyond any timeout that a test gives its function.
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How often free ports are looked for: another process may take one before the emulator does.
const ATTEMPTS: usize = 10;

/// Between two looks whether the emulator listens; it says so nowhere.
const STARTUP_POLL: Duration = Duration::from_millis(10);

/// How long the emulator gets to end its runtime.
const SHUTDOWN_TIME: Duration = Duration::from_secs(3);

/// A running emulator: the [`Process`], whose stdout carries its own lines and those of the runtime.
///
/// The runtime is started by the first invocation. Both end when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    address: SocketAddr,
    // Two invocations at once make the emulator crash.
    turn: Mutex<()>,
}

/// An emulator that is about to be started.
///
/// Its environment, which the runtime gets too, holds what is given here and nothing else.
#[derive(Debug)]
pub struct Builder {
    runtime: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Emulator {
    /// An emulator around this program.
    pub fn of(runtime: impl AsRef<Path>) -> Builder {
        let runtime = runtime.as_ref().as_os_str().to_owned();
        Builder {
            runtime,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Invokes the function, and returns HTTP status and body; one invocation at a time.
    ///
    /// # Panics
    ///
    /// If the emulator does not answer.
    pub fn invoke(&self, payload: impl AsRef<[u8]>) -> (u16, Vec<u8>) {
        self.invoke_with_headers(payload, &[])
    }

    /// As [`Self::invoke`], with further request headers, such as `X-Amz-Client-Context`.
    ///
    /// # Panics
    ///
    /// As [`Self::invoke`].
    pub fn invoke_with_headers(&self, payload: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.post(payload.as_ref(), headers);
        drop(turn);
        answer.unwrap_or_else(|error| panic!("the emulator did not answer: {error}"))
    }

    fn post(&self, payload: &[u8], headers: &[(&str, &str)]) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(INVOCATION_TIMEOUT))?;
        let mut request = b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n".to_vec();
        let length = payload.len().to_string();
        let address = self.address.to_string();
        let own = [
            ("Host", address.as_str()),
            ("Content-Length", &length),
            ("Connection", "close"),
        ];
        for (name, value) in own.iter().chain(headers) {
            request.extend(header_line(name, value.as_bytes()));
        }
        request.extend(b"\r\n");
        request.extend(payload);
        stream.write_all(&request)?;
        let mut source = Source::new(stream);
        let (status, headers): (u16, Headers) = source.response_head()?;
        let mut body = Vec::new();
        source.body(response_framing(&headers)?, |piece| body.extend_from_slice(piece))?;
        Ok((status, body))
    }
}

impl Deref for Emulator {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Only a signal that it can act on makes it take its runtime along.
        self.process.signal(Signal::TERM);
        self.process.end_within(SHUTDOWN_TIME);
    }
}

impl Builder {
    /// Adds an argument of the runtime; the emulator takes the last one for the handler.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Sets a variable, for instance `AWS_LAMBDA_FUNCTION_TIMEOUT` in seconds.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it on free ports, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it ends by itself, or does not listen within [`PATIENCE`].
    pub fn start(self) -> Emulator {
        for _ in 0..ATTEMPTS {
            let [runtime_api, invoke] = free_addresses();
            let mut command = Command::new(runtime_interface_emulator());
            command
                .env_clear()
                .envs(self.variables.iter().map(|(name, value)| (name, value)));
            command.arg("--runtime-api-address").arg(runtime_api.to_string());
            command
                .arg("--runtime-interface-emulator-address")
                .arg(invoke.to_string());
            command.arg(&self.runtime).args(&self.arguments);
            let process = Process::start(command);
            if listens(&process, runtime_api) && listens(&process, invoke) {
                return Emulator {
                    process,
                    address: invoke,
                    turn: Mutex::default(),
                };
            }
            process.wait_for_exit(PATIENCE);
            let log = [process.stdout(), process.log()].concat().join("\n");
            assert!(
                log.contains("address already in use"),
                "the emulator ended by itself:\n{log}"
            );
        }
        panic!("found no two free ports in {ATTEMPTS} attempts");
    }
}

/// Two addresses that nobody listened on a moment ago.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

/// Waits until `process` listens there; false if it ends before.
fn listens(process: &Process, address: SocketAddr) -> bool {
    let expiry = Instant::now() + PATIENCE;
    while !process.has_exited() {
        match TcpStream::connect(address) {
            // Whoever took the port listens as well, but then the emulator ends.
            Ok(_) => return !process.has_exited(),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("cannot connect to {address}: {error}"),
        }
        assert!(
            Instant::now() < expiry,
            "the emulator does not listen on {address} after {PATIENCE:?}"
        );
        thread::sleep(STARTUP_POLL);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runtime in a few lines, in the language that installing the emulator needs anyway.
    const RUNTIME: &str = r#"
import os, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    event = urllib.request.urlopen(base + "next")
    answer = os.environ["GREETING"].encode() + event.read()
    url = base + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    urllib.request.urlopen(urllib.request.Request(url, data=answer)).read()
"#;

    #[test]
    fn a_trivial_runtime_answers_under_the_emulator() {
        let python = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let python = String::from_utf8(python.expect("python3 is installed").stdout).unwrap();
        let emulator = Emulator::of(python.trim())
            .arg("-c")
            .arg(RUNTIME)
            .env("GREETING", "hello ")
            .start();
        assert_eq!(emulator.invoke("world"), (200, b"hello world".to_vec()));
        let large = vec![b'x'; 100_000];
        assert_eq!(emulator.invoke(&large), (200, [b"hello ", large.as_slice()].concat()));
        emulator.wait_for_stdout(|line| line.starts_with("REPORT RequestId: "));
    }
}
