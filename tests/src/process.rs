//! A process under test: its output as lines, its end as a condition to wait for.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

pub use rustix::process::Signal;

/// How long a wait lasts before it counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long output may trail behind the end of its process; a grandchild may hold the pipe for ever.
const OUTPUT_DELAY: Duration = Duration::from_secs(2);

/// A running or ended child process.
///
/// It is killed when dropped. When that happens because a test is panicking, its output goes to the test's stderr.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stdout: Output,
    stderr: Output,
    status: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    is_closed: bool,
}

impl Process {
    /// Starts `command` with stdin closed and both outputs collected.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let pid = Pid::from_child(&child);
        let shared = Arc::<Shared>::default();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        collect(stdout, &shared, |state| &mut state.stdout);
        collect(stderr, &shared, |state| &mut state.stderr);
        let process = Self {
            name,
            pid,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            // Waiting leaves the zombie in place, so that nobody can signal a process that took over its pid.
            let ended = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            });
            ended.expect("a child can be waited for");
            let mut state = shared.lock();
            state.status = Some(child.wait().expect("an ended child can be reaped"));
            shared.changed.notify_all();
        });
        process
    }

    /// The id of the process, also after its end.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends `signal`; does nothing once the process has ended.
    pub fn signal(&self, signal: Signal) {
        let state = self.shared.lock();
        if state.status.is_none() {
            // It may be a zombie by now, which takes signals and ignores them.
            rustix::process::kill_process(self.pid, signal).expect("a child can be signalled");
        }
    }

    /// The complete lines it wrote to stderr so far, without their ends; bytes that are not UTF-8 are replaced.
    pub fn log(&self) -> Vec<String> {
        self.shared.lock().stderr.lines.clone()
    }

    /// The complete lines it wrote to stdout so far, without their ends; bytes that are not UTF-8 are replaced.
    pub fn stdout(&self) -> Vec<String> {
        self.shared.lock().stdout.lines.clone()
    }

    /// Whether it has ended.
    pub fn has_exited(&self) -> bool {
        self.shared.lock().status.is_some()
    }

    /// Waits for the end of the process and of its output.
    ///
    /// # Panics
    ///
    /// If it still runs after `timeout`.
    pub fn wait_for_exit(&self, timeout: Duration) -> ExitStatus {
        let status = self.wait_until(timeout, |state| state.status);
        let status = status.unwrap_or_else(|| panic!("{} still runs after {timeout:?}", self.name));
        self.wait_until(OUTPUT_DELAY, |state| {
            (state.stdout.is_closed && state.stderr.is_closed).then_some(())
        });
        status
    }

    /// Gives the process `grace` to end by itself.
    pub(crate) fn end_within(&self, grace: Duration) {
        self.wait_until(grace, |state| state.status);
    }

    /// Waits for a line on stderr, already written or yet to come, and returns the first that `is_wanted`.
    ///
    /// # Panics
    ///
    /// If none came within [`PATIENCE`], or the process ended without one.
    pub fn wait_for_log(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for_line("stderr", |state| &state.stderr, is_wanted)
    }

    /// As [`Self::wait_for_log`], on stdout.
    ///
    /// # Panics
    ///
    /// As [`Self::wait_for_log`].
    pub fn wait_for_stdout(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for_line("stdout", |state| &state.stdout, is_wanted)
    }

    fn wait_for_line(
        &self,
        what: &str,
        output: impl Fn(&State) -> &Output,
        is_wanted: impl Fn(&str) -> bool,
    ) -> String {
        let found = self.wait_until(PATIENCE, |state| {
            let output = output(state);
            match output.lines.iter().find(|line| is_wanted(line)) {
                Some(line) => Some(Some(line.clone())),
                None => output.is_closed.then_some(None),
            }
        });
        match found {
            Some(Some(line)) => line,
            Some(None) => panic!("{} closed its {what} without the expected line", self.name),
            None => panic!(
                "{} did not write the expected line to {what} within {PATIENCE:?}",
                self.name
            ),
        }
    }

    fn wait_until<T>(&self, timeout: Duration, mut condition: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let expiry = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(value) = condition(&state) {
                return Some(value);
            }
            let left = expiry.checked_duration_since(Instant::now())?;
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn print(&self) {
        let state = self.shared.lock();
        let end = state
            .status
            .map_or_else(|| String::from("running"), |status| status.to_string());
        eprintln!("---- {} (pid {}, {end})", self.name, self.pid());
        for (name, output) in [("stdout", &state.stdout), ("stderr", &state.stderr)] {
            for line in &output.lines {
                eprintln!("{name}: {line}");
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // Ends soon, except in an uninterruptible wait; the reaping thread outlives this value then.
        self.wait_until(OUTPUT_DELAY, |state| state.status);
        if thread::panicking() {
            self.wait_until(OUTPUT_DELAY, |state| {
                (state.stdout.is_closed && state.stderr.is_closed).then_some(())
            });
            self.print();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect(source: impl Read + Send + 'static, shared: &Arc<Shared>, output: fn(&mut State) -> &mut Output) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        // A pipe of our own child fails only when it is gone, which is its end too.
        while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            output(&mut shared.lock()).lines.push(text);
            shared.changed.notify_all();
            line.clear();
        }
        output(&mut shared.lock()).is_closed = true;
        shared.changed.notify_all();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.env_clear().args(["-c", script]);
        Process::start(command)
    }

    #[test]
    fn output_and_exit_code_are_collected() {
        let process = shell("echo out; echo one >&2; printf two >&2; exit 3");
        assert_eq!(process.wait_for_log(|line| line == "one"), "one");
        assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(3));
        assert_eq!(process.log(), ["one", "two"]);
        assert_eq!(process.stdout(), ["out"]);
    }

    #[test]
    fn a_signal_ends_it_and_a_later_one_is_harmless() {
        use std::os::unix::process::ExitStatusExt as _;
        let process = shell("echo ready >&2; exec sleep 60");
        process.wait_for_log(|line| line == "ready");
        process.signal(Signal::TERM);
        assert_eq!(process.wait_for_exit(PATIENCE).signal(), Some(15));
        process.signal(Signal::TERM);
    }

    #[test]
    #[should_panic(expected = "closed its stderr without the expected line")]
    fn a_line_that_cannot_come_any_more_is_not_waited_for() {
        shell("exit 0").wait_for_log(|_| true);
    }
}
