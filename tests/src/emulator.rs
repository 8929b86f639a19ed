//! AWS's Runtime Interface Emulator around a runtime: the nearest thing to Lambda on a developer's machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::fake_runtime_api::{Headers, Source, header_line, response_framing};
use crate::process::{PATIENCE, Process, Signal};
use crate::tools::runtime_interface_emulator;

/// How long an invocation may take, beyond any timeout that a test gives its function.
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How often free ports are looked for: another process may take one before the emulator does.
const ATTEMPTS: usize = 10;

/// Between two looks whether the emulator listens, or has a runtime that waits for an event; it says neither.
const POLL: Duration = Duration::from_millis(10);

/// How a Managed Instance refuses an event while none of its workers waits for one.
const UNAVAILABLE: &str = "Runtime.Unavailable";

/// How long the emulator gets to end its runtime.
const SHUTDOWN_TIME: Duration = Duration::from_secs(3);

/// Gives the emulator a `/var` of its own, which nobody else sees: the folder `$1`, with the file `$2` as the runtime,
/// the folder `$3` as the task root and the file `$4` as the emulator; the rest are its arguments. What lies below the
/// machine's `/var` is mounted before that is out of sight.
const WITH_OWN_VAR: &str = r#"
set -e
mount --bind "$2" "$1/runtime/bootstrap"
mount --bind "$3" "$1/task"
mount --bind "$4" "$1/emulator"
mount --rbind "$1" /var
shift 4
exec /var/emulator "$@"
"#;

/// A running emulator: the [`Process`], whose stdout carries its own lines and those of the runtime.
///
/// The runtime is started by the first invocation. Both end when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    address: SocketAddr,
    // Two invocations at once make the emulator crash.
    turn: Option<Mutex<()>>,
    _var: Option<TempDir>,
}

/// What the emulator answers to an invocation.
#[derive(Debug)]
pub struct Outcome {
    /// The HTTP status.
    pub status: u16,
    /// The HTTP headers; `Error-Type` is one, in the mode of Managed Instances.
    pub headers: Headers,
    /// The answer, or the error report.
    pub body: Vec<u8>,
}

/// An emulator that is about to be started.
///
/// Its environment, which the runtime gets too, holds what is given here and nothing else.
#[derive(Debug)]
pub struct Builder {
    runtime: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    managed_task_root: Option<PathBuf>,
}

/// Whether this machine does not let us run the emulator in the mode of Managed Instances, which is said on stderr.
pub fn managed_instances_are_skipped() -> bool {
    let unshare = Command::new("unshare").args(["--mount", "true"]).output();
    let can_mount = unshare.is_ok_and(|output| output.status.success());
    if !can_mount {
        // Not `eprintln`: the harness would keep back what a passing test prints.
        writeln!(
            io::stderr(),
            "skipped: the emulator's mode of Managed Instances needs root, and a `/var` that only it sees (unshare --mount)"
        )
        .ok();
    }
    !can_mount
}

impl Outcome {
    /// The value of a header, if there is one of that name and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

impl Emulator {
    /// An emulator around this program.
    pub fn of(runtime: impl AsRef<Path>) -> Builder {
        let runtime = runtime.as_ref().as_os_str().to_owned();
        Builder {
            runtime,
            arguments: Vec::new(),
            variables: Vec::new(),
            managed_task_root: None,
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
        let outcome = self.outcome(payload, headers);
        (outcome.status, outcome.body)
    }

    /// As [`Self::invoke_with_headers`], for all that the emulator answers. On a Managed Instance invocations overlap. An event that a Managed Instance has no
    /// worker for is sent until it has, for at most [`PATIENCE`], as AWS's clients do.
    ///
    /// # Panics
    ///
    /// As [`Self::invoke`].
    pub fn outcome(&self, payload: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> Outcome {
        let _turn = self
            .turn
            .as_ref()
            .map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let expiry = Instant::now() + PATIENCE;
        loop {
            let outcome = self
                .post(payload.as_ref(), headers)
                .unwrap_or_else(|error| panic!("the emulator did not answer: {error}"));
            if outcome.header("Error-Type") != Some(UNAVAILABLE) || Instant::now() > expiry {
                return outcome;
            }
            thread::sleep(POLL);
        }
    }

    fn post(&self, payload: &[u8], headers: &[(&str, &str)]) -> io::Result<Outcome> {
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
        Ok(Outcome { status, headers, body })
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

    /// Runs the function as on a Managed Instance: in the mode that `AWS_LAMBDA_MAX_CONCURRENCY` puts the emulator in, with
    /// this folder as `/var/task`, which becomes readable by all, and so many events at a time.
    ///
    /// The emulator then starts the runtime at once, as another user and without arguments, and ends when that ends. Root
    /// alone can do so, see [`managed_instances_are_skipped`].
    #[must_use]
    pub fn managed_instance(mut self, task_root: impl AsRef<Path>, concurrency: usize) -> Self {
        self.managed_task_root = Some(task_root.as_ref().to_owned());
        self.env("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string())
    }

    /// Starts it on free ports, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it ends by itself, or does not listen within [`PATIENCE`].
    pub fn start(self) -> Emulator {
        for _ in 0..ATTEMPTS {
            let [runtime_api, invoke] = free_addresses();
            let (mut command, var) = self.command();
            command
                .env_clear()
                .envs(self.variables.iter().map(|(name, value)| (name, value)));
            command.arg("--runtime-api-address").arg(runtime_api.to_string());
            command
                .arg("--runtime-interface-emulator-address")
                .arg(invoke.to_string());
            if self.managed_task_root.is_none() {
                command.arg(&self.runtime).args(&self.arguments);
            }
            let process = Process::start(command);
            if listens(&process, runtime_api) && listens(&process, invoke) {
                return Emulator {
                    process,
                    address: invoke,
                    turn: self.managed_task_root.is_none().then(Mutex::default),
                    _var: var,
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

    /// The emulator without its arguments, and the folder that it needs to run.
    fn command(&self) -> (Command, Option<TempDir>) {
        let emulator = runtime_interface_emulator();
        let Some(task_root) = &self.managed_task_root else {
            return (Command::new(emulator), None);
        };
        let var = empty_var();
        readable_by_all(task_root);
        let mut command = Command::new("unshare");
        // The emulator would take a program that is called `bootstrap` from its working directory, too.
        command
            .current_dir("/")
            .args(["--mount", "sh", "-c", WITH_OWN_VAR, "sh"]);
        command.arg(var.path()).arg(&self.runtime).arg(task_root).arg(emulator);
        (command, Some(var))
    }
}

/// A folder with places for what [`WITH_OWN_VAR`] puts there.
fn empty_var() -> TempDir {
    let var = TempDir::new().expect("temporary files can be made");
    readable_by_all(var.path());
    let made = fs::create_dir(var.path().join("runtime"))
        .and_then(|()| fs::create_dir(var.path().join("task")))
        .and_then(|()| fs::write(var.path().join("runtime/bootstrap"), ""))
        .and_then(|()| fs::write(var.path().join("emulator"), ""));
    made.expect("a fresh folder can be written");
    var
}

fn readable_by_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("a folder of ours can be opened to all");
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
        thread::sleep(POLL);
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
