//! Where components of strangers are parsed and compiled, and run for a snapshot: a child process that has nothing but the
//! component, and limits.
//!
//! The compiler is large, and there are small components that cost it minutes, or gigabytes, or its life. So the program runs
//! itself again with the hidden verb [`VERB`], with nothing of its environment and no descriptor but three. The component goes in
//! by stdin; by stdout comes a byte that says what the result is, its length, and the result. Whatever else ends the child is
//! told by how it ended.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::compile::{CompileError, compile_here, lift_here};
use super::snapshot::snapshot_here;
use super::{Bounds, InitBounds};
use crate::engine::{Cpu, Execution};

/// What a program that contains the compiler is told, as its first argument, to become the child.
pub const VERB: &str = "_compile";

/// The program itself, even if its file has been replaced or removed.
const PROGRAM: &str = "/proc/self/exe";
/// A larger result is not read.
const MAX_RESULT_BYTES: u64 = super::MAX_ARTIFACT_BYTES;
/// How much of the child's last words is kept.
const MAX_SAID_BYTES: u64 = 64 << 10;
/// Threads that compile, at most. Each takes memory of its own.
const MAX_THREADS: usize = 16;
/// What a process begins with: stdin, stdout, stderr.
const STANDARD_DESCRIPTORS: u64 = 3;

/// What the child is to make of what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A component of a core module.
    Lift,
    /// An artifact of a component: for that processor, in that kind of code.
    Compile(Cpu, Execution),
    /// A snapshot of a component, whose `init` may take that.
    Snapshot(InitBounds),
}

/// The name of [`Order::Lift`].
const LIFT: &str = "component";
/// What the name of [`Order::Snapshot`] begins with; then come milliseconds and bytes.
const SNAPSHOT: &str = "snapshot";

/// What the first byte of an answer says that the rest is.
const MADE: u8 = 0;
const REFUSED: u8 = 1;

/// Has a child carry out the order.
///
/// # Errors
///
/// [`CompileError::Refused`] with the child's reason, one of the limits, or how the child ended.
pub(super) fn run(order: Order, input: &[u8], bounds: &Bounds) -> Result<Vec<u8>, CompileError> {
    ask(order, input, bounds)?.map_err(|reason| refusal(reason, bounds))
}

/// As [`run`], and what the child says where it refuses is left to the caller.
///
/// # Errors
///
/// One of the limits, or how the child ended.
pub(super) fn ask(order: Order, input: &[u8], bounds: &Bounds) -> Result<Result<Vec<u8>, String>, CompileError> {
    let failed =
        |error: io::Error| CompileError::Broken(format!("cannot run the compiler as a child process: {error}"));
    let mut child = start(order, bounds).map_err(failed)?;
    let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = taken else {
        unreachable!("all three are pipes")
    };
    thread::scope(|scope| {
        // A child that has ended does not read; how it ended says more than this error.
        scope.spawn(move || drop(stdin.write_all(input)));
        let said = scope.spawn(move || last_words(stderr));
        let (sender, answer) = mpsc::channel();
        scope.spawn(move || sender.send(read_answer(stdout)));
        let answer = answer.recv_timeout(order.limit(bounds));
        let status = end(&mut child).map_err(failed)?;
        let said = said.join().unwrap_or_default();
        match answer {
            Ok(Ok((MADE, result))) => Ok(Ok(result)),
            Ok(Ok((REFUSED, reason))) => Ok(Err(String::from_utf8_lossy(&reason).into_owned())),
            Ok(Ok(_) | Err(_)) => Err(how_it_ended(status, &said, bounds)),
            Err(RecvTimeoutError::Timeout) => Err(CompileError::TooSlow(bounds.time)),
            Err(RecvTimeoutError::Disconnected) => Err(CompileError::Broken(
                "cannot read the compiler's answer: the thread that reads it is gone".to_owned(),
            )),
        }
    })
}

fn start(order: Order, bounds: &Bounds) -> io::Result<Child> {
    // With no more than three descriptors the child cannot find out by itself.
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    Command::new(PROGRAM)
        .args([VERB, &order.name(), &bounds.memory_bytes.to_string()])
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Ends the child, if it has not ended, and says how it did. A signal does not change how a process ended that was about to.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}

fn read_answer(mut stdout: ChildStdout) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stdout.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u64::from_le_bytes(length);
    let mut result = Vec::new();
    stdout.take(length.min(MAX_RESULT_BYTES)).read_to_end(&mut result)?;
    match result.len() as u64 == length {
        true => Ok((kind, result)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn last_words(mut stderr: impl Read) -> String {
    let mut said = Vec::new();
    let _ = stderr.by_ref().take(MAX_SAID_BYTES).read_to_end(&mut said);
    // So that it never waits for somebody to read.
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Where memory is short, the system says so to whoever asks for it, or for a thread with its stack, in words that come out with
/// the compiler's.
pub(super) fn is_about_memory(text: &str) -> bool {
    [
        "Cannot allocate memory",
        "Resource temporarily unavailable",
        "memory allocation of",
        "out of memory",
    ]
    .iter()
    .any(|words| text.contains(words))
}

fn refusal(reason: String, bounds: &Bounds) -> CompileError {
    match is_about_memory(&reason) {
        true => CompileError::OutOfMemory(bounds.memory_bytes),
        false => CompileError::Refused(reason),
    }
}

/// Why a child ended that gave no answer.
fn how_it_ended(status: ExitStatus, said: &str, bounds: &Bounds) -> CompileError {
    if is_about_memory(said) {
        return CompileError::OutOfMemory(bounds.memory_bytes);
    }
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    CompileError::Broken(match said {
        "" if killed => "the system ended the compiler, as a rule because memory is short".to_owned(),
        "" => format!("the compiler failed: {status}"),
        said => format!("the compiler failed: {status}: {said}"),
    })
}

impl Order {
    fn name(self) -> String {
        match self {
            Self::Lift => LIFT.to_owned(),
            Self::Compile(cpu, code) => format!("{}/{}", cpu.name(), code.name()),
            Self::Snapshot(InitBounds { time, memory_bytes }) => {
                format!("{SNAPSHOT}/{}/{memory_bytes}", time.as_millis())
            }
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.split_once('/') {
            Some((SNAPSHOT, init)) => {
                let (time, memory_bytes) = init.split_once('/')?;
                Some(Self::Snapshot(InitBounds {
                    time: Duration::from_millis(time.parse().ok()?),
                    memory_bytes: memory_bytes.parse().ok()?,
                }))
            }
            Some((cpu, code)) => Some(Self::Compile(Cpu::named(cpu)?, Execution::named(code)?)),
            None => (name == LIFT).then_some(Self::Lift),
        }
    }

    /// How long it may take. A guest's `init` has a limit of its own: what is left of the time was compiling.
    fn limit(self, bounds: &Bounds) -> Duration {
        match self {
            Self::Lift | Self::Compile(..) => bounds.time,
            Self::Snapshot(init) => bounds.time.saturating_add(init.time),
        }
    }

    fn carry_out(self, input: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Lift => lift_here(input),
            Self::Compile(cpu, code) => compile_here(input, cpu, code),
            Self::Snapshot(init) => snapshot_here(input, init),
        }
    }
}

/// The child: `arguments` are those behind [`VERB`].
pub fn serve(arguments: &[String]) -> ExitCode {
    let order = |name: &String, bytes: &String| Some((Order::named(name)?, bytes.parse().ok()?));
    let parsed = match arguments {
        [name, bytes] => order(name, bytes),
        [] | [_] | [_, _, _, ..] => None,
    };
    let Some((order, memory_bytes)) = parsed else {
        eprintln!("this is how the program calls itself, and nobody else");
        return ExitCode::FAILURE;
    };
    let answer = shut_in(memory_bytes)
        .and_then(|()| {
            let mut input = Vec::new();
            io::stdin().lock().read_to_end(&mut input)?;
            Ok(order.carry_out(&input))
        })
        .and_then(|result| match result {
            Ok(made) => write_answer(MADE, &made),
            Err(reason) => write_answer(REFUSED, reason.as_bytes()),
        });
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_answer(kind: u8, result: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(&[kind])?;
    stdout.write_all(&(result.len() as u64).to_le_bytes())?;
    stdout.write_all(result)?;
    stdout.flush()
}

/// Takes from this process what neither compiling nor a snapshot needs: memory beyond the limit, files, and a life beyond its parent's.
fn shut_in(memory_bytes: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Where memory gets short for all, this process goes, and not the one that waits for it.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, limit) in [
        // Of what is written to. A limit of the address space would count what is only set aside.
        (Resource::Data, memory_bytes),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, STANDARD_DESCRIPTORS),
    ] {
        let most = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
