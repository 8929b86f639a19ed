//! The child process of one environment: its start, its signals, its end, and the lines it writes.

use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit, setrlimit};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

use crate::function::Function;

/// The longest line, in bytes; a longer one is cut into several. CloudWatch's limit of one record.
const MAX_LINE_BYTES: usize = 256 << 10;
/// How many file descriptors an execution environment may have open (Lambda guide, "Lambda quotas").
const DESCRIPTORS_OF_AN_ENVIRONMENT: u64 = 1024;

/// Lets this process have as many file descriptors open as the system allows it: two doors with 512 clients each, and an
/// environment for each of a hundred events, are more than the 1,024 that a shell usually gives.
pub fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // What was allowed before has to do then.
    let _ = setrlimit(Resource::Nofile, all);
}

/// Gives a child the limit that it would have on Lambda, if there was none that is lower.
fn limit_descriptors(child: Pid) {
    let here = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = Some(here.min(DESCRIPTORS_OF_AN_ENVIRONMENT));
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    // A child that is gone already needs none.
    let _ = prlimit(Some(child), Resource::Nofile, limit);
}

/// A child process that leads a process group of its own, so that what it starts is frozen and ended with it.
///
/// Should this program die, the kernel ends the children: a process group that loses its last tie to the session gets SIGHUP
/// if it is stopped, and a running runtime loses its Runtime API.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    group: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
}

impl Process {
    /// Starts the function's program with these variables and nothing else. Every line of its output goes to `line`.
    pub(super) fn start(
        function: &Function,
        variables: &[(String, String)],
        line: impl FnMut(String) + Send + 'static,
    ) -> std::io::Result<Self> {
        // One pipe for both, so that lines keep their order.
        let (output, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let output = pipe::Receiver::from_owned_fd(output)?;
        let mut command = tokio::process::Command::new(&function.program);
        command
            .args(&function.arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::try_clone(&input)?))
            .stderr(Stdio::from(input))
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &function.working_directory {
            command.current_dir(directory);
        }
        let mut child = command.spawn()?;
        // It holds this program's ends of the pipe.
        drop(command);
        let pid = child.id().unwrap_or_default();
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| std::io::Error::other("the child has no process id"))?;
        limit_descriptors(group);
        let (ended, exited) = watch::channel(None);
        tokio::spawn(async move {
            let status = child.wait().await.unwrap_or_default();
            // What it started does not outlive it; there may be nothing.
            let _ = kill_process_group(group, Signal::KILL);
            // Nobody may be interested.
            let _ = ended.send(Some(status));
        });
        let (flushes, requests) = mpsc::channel(1);
        tokio::spawn(read_lines(output, requests, line));
        Ok(Self {
            pid,
            group,
            exited,
            flushes,
        })
    }

    /// Sends a signal to the process and what it has started; nothing if it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.exited.borrow().is_none() {
            // It may end at this very moment.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Waits for its end.
    pub(super) async fn exited(&self) -> ExitStatus {
        let mut exited = self.exited.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The task that waits for the child was dropped, with its runtime.
            Err(_) => ExitStatus::default(),
        }
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.exited.borrow().is_some()
    }

    /// Waits until every byte is read that it has written so far; a line without end counts as a line.
    pub(super) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        if self.flushes.send(sender).await.is_ok() {
            // The reader ends when the output does; then all is read.
            let _ = done.await;
        }
    }

    /// The most memory that it has had resident, in MiB, where the system tells (Linux: `VmHWM`, proc(5)).
    pub(super) fn peak_memory_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib.div_ceil(1024))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_lines(
    output: pipe::Receiver,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    line: impl FnMut(String),
) {
    let mut lines = Lines {
        partial: Vec::new(),
        line,
    };
    let mut is_open = true;
    while is_open {
        tokio::select! {
            readable = output.readable() => is_open = readable.is_ok() && lines.read(&output),
            flush = flushes.recv() => match flush {
                Some(done) => {
                    is_open = lines.read(&output);
                    lines.end();
                    // The event may have been given up.
                    let _ = done.send(());
                }
                // The environment is forgotten; its last words are read all the same.
                None => break,
            },
        }
    }
    while is_open {
        is_open = output.readable().await.is_ok() && lines.read(&output);
    }
    lines.end();
}

struct Lines<F> {
    partial: Vec<u8>,
    line: F,
}

impl<F: FnMut(String)> Lines<F> {
    /// Reads all there is now. `false` at the output's end.
    fn read(&mut self, output: &pipe::Receiver) -> bool {
        let mut piece = [0_u8; 16 << 10];
        loop {
            match output.try_read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => self.take(&piece[..count]),
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        for piece in bytes.chunks(MAX_LINE_BYTES) {
            if self.partial.len() + piece.len() > MAX_LINE_BYTES {
                self.end_line();
            }
            self.partial.extend_from_slice(piece);
        }
    }

    fn end(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial);
        (self.line)(line.trim_end_matches('\r').to_owned());
        self.partial.clear();
    }
}
