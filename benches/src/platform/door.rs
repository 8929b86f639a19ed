//! Where requests go in: AWS's emulator, and the local platform's two addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use orlop_tests::tools::runtime_interface_emulator;

use super::connection::Connection;
use super::output;
use crate::contestant::Process;
use crate::programs::Programs;

/// What the example `hello` is asked. An HTTP front makes an event of its own of it.
pub(super) const EVENT: &str = r#"{"name":"Orlop"}"#;

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it does.
const LOOK_PERIOD: Duration = Duration::from_micros(100);

/// Who answers the events.
pub(super) struct Runtime {
    pub(super) program: PathBuf,
    pub(super) argument: String,
    /// The answers to [`EVENT`], and to an event that names nobody.
    pub(super) answers: [&'static str; 2],
}

/// A program, and the door to it that is knocked at.
pub(super) struct Door {
    pub(super) name: &'static str,
    kind: Kind,
    /// Where it listens while it runs.
    pub(super) address: SocketAddr,
    pub(super) answer: &'static str,
    command: Vec<String>,
    task_root: PathBuf,
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Emulator,
    InvokeApi,
    HttpApi,
}

impl Door {
    /// All doors to a runtime. Behind those of the platform are so many functions, all alike.
    pub(super) fn all(runtime: &Runtime, programs: &Programs, functions: u32) -> anyhow::Result<[Self; 3]> {
        let emulator = runtime_interface_emulator().display().to_string();
        let platform = programs.native("local-platform")?.display().to_string();
        let [named, unnamed] = runtime.answers;
        let door = |name, kind, answer| {
            let address = free_address()?;
            let mut command = match kind {
                Kind::Emulator => vec![
                    emulator.clone(),
                    "--runtime-interface-emulator-address".to_owned(),
                    address.to_string(),
                    "--runtime-api-address".to_owned(),
                    free_address()?.to_string(),
                ],
                Kind::InvokeApi | Kind::HttpApi => {
                    vec![platform.clone(), address.to_string(), functions.to_string()]
                }
            };
            if kind == Kind::HttpApi {
                command.push("--http-api".to_owned());
            }
            command.extend([runtime.program.display().to_string(), runtime.argument.clone()]);
            anyhow::Ok(Self {
                name,
                kind,
                address,
                answer,
                command,
                task_root: programs.task_root.clone(),
                output: output(&programs.work, &format!("platform-{}", address.port())),
            })
        };
        Ok([
            door("AWS's emulator", Kind::Emulator, named)?,
            door("Orlop's platform, Invoke API", Kind::InvokeApi, named)?,
            door("Orlop's platform, HTTP API", Kind::HttpApi, unnamed)?,
        ])
    }

    /// Whether each cold request needs a new process.
    pub(super) fn is_spent_by_a_start(&self) -> bool {
        self.kind == Kind::Emulator
    }

    /// The path of the function of this number.
    pub(super) fn path(&self, number: u32) -> String {
        match self.kind {
            Kind::Emulator => "/2015-03-31/functions/function/invocations".to_owned(),
            Kind::InvokeApi => format!("/2015-03-31/functions/hello-{number}/invocations"),
            Kind::HttpApi => format!("/{number}"),
        }
    }

    /// Starts the program and connects to it.
    pub(super) fn start(&self) -> anyhow::Result<(Process, Connection)> {
        let (program, arguments) = self.command.split_first().context("there is a program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.task_root)
            .env_clear()
            .env("LAMBDA_TASK_ROOT", &self.task_root)
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "3")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        let process = Process::start(command, self.output.clone())?;
        loop {
            match Connection::open(self.address) {
                Ok(connection) => return Ok((process, connection)),
                Err(error) => ensure!(
                    process.started.elapsed() < PATIENCE,
                    "{}: {error:#}; it has printed:\n{}",
                    self.name,
                    process.output()
                ),
            }
            let looked = Instant::now();
            while looked.elapsed() < LOOK_PERIOD {
                thread::yield_now();
            }
        }
    }
}

/// An address that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback interface")?;
    listener.local_addr().context("the listener has no address")
}
