//! Who is measured: programs that answer the same event, and their processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::programs::{EVENTS, Programs};

/// The name of the contestant that all others are compared with: the quickest that a native function can be made without
/// leaving AWS's crate.
pub(crate) const NATIVE: &str = "native, `current_thread`";

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// One event and all who answer it.
pub(crate) struct Lineup {
    /// The example's name.
    pub(crate) name: &'static str,
    pub(crate) event: Vec<u8>,
    /// What every contestant has to answer.
    pub(crate) expected: Value,
    pub(crate) contestants: Vec<Contestant>,
}

/// A program, and how it is started.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    program: PathBuf,
    argument: String,
    isolation: Option<&'static str>,
    task_root: PathBuf,
    /// The size of the program and of the artifact that it loads.
    pub(crate) file_bytes: u64,
}

impl Lineup {
    pub(crate) fn all(programs: &Programs) -> anyhow::Result<Vec<Self>> {
        EVENTS.iter().map(|name| Self::new(name, programs)).collect()
    }

    fn new(name: &'static str, programs: &Programs) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let read = |file: &str| {
            fs::read(folder.join(file)).with_context(|| format!("cannot read `{file}` of example `{name}`"))
        };
        // Lambda sends JSON without the line feed that ends a file.
        let event = read("event.json")?.trim_ascii_end().to_vec();
        let expected: Value =
            serde_json::from_slice(&read("expected.json")?).with_context(|| format!("`expected.json` of `{name}`"))?;
        let native = |program: &str| {
            programs
                .native
                .get(program)
                .with_context(|| format!("cargo made no `{program}`"))
        };
        let contestant = |name, program: &Path, argument: &str, isolation, artifact: Option<&Path>| {
            anyhow::Ok(Contestant {
                name,
                program: program.to_owned(),
                argument: argument.to_owned(),
                isolation,
                task_root: programs.task_root.clone(),
                file_bytes: size(program)? + artifact.map_or(Ok(0), size)?,
            })
        };
        let artifact = programs.task_root.join(name).with_extension("cwasm");
        let orlop = |title, program, isolation| contestant(title, program, name, isolation, Some(&artifact));
        let peer = native(&format!("native-{name}"))?;
        let mut contestants = vec![
            contestant(NATIVE, peer, "one-thread", None, None)?,
            contestant("native, `#[tokio::main]`", peer, "threads", None, None)?,
            orlop("Orlop, fresh sandbox per event", &programs.bootstrap, None)?,
            orlop("Orlop, kept instance", &programs.bootstrap, Some("environment"))?,
        ];
        if let Some(baseline) = &programs.baseline {
            contestants.push(orlop("baseline, fresh sandbox per event", baseline, None)?);
            contestants.push(orlop("baseline, kept instance", baseline, Some("environment"))?);
        }
        contestants.push(contestant(
            "floor: fixed answer, no parsing",
            native("floor")?,
            &expected.to_string(),
            None,
            None,
        )?);
        Ok(Self {
            name,
            event,
            expected,
            contestants,
        })
    }
}

impl Contestant {
    /// Starts a process as Lambda would: nothing in its environment but what Lambda sets.
    pub(crate) fn start(&self, runtime_api: &str, work: &Path) -> anyhow::Result<Process> {
        let output = work.join("output.log");
        let log = File::create(&output).with_context(|| format!("cannot write `{}`", output.display()))?;
        let mut command = Command::new(&self.program);
        command
            .arg(&self.argument)
            .current_dir(&self.task_root)
            .env_clear()
            .envs([
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
                ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0123456789abcdef"),
                ("AWS_LAMBDA_RUNTIME_API", runtime_api),
                ("AWS_REGION", "eu-central-1"),
                ("LANG", "en_US.UTF-8"),
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("TZ", ":UTC"),
                ("_HANDLER", &self.argument),
            ])
            .env("LAMBDA_TASK_ROOT", &self.task_root)
            .envs(self.isolation.map(|isolation| ("ORLOP_ISOLATION", isolation)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        Ok(Process { child, started, output })
    }
}

fn size(path: &Path) -> anyhow::Result<u64> {
    let metadata = path
        .metadata()
        .with_context(|| format!("cannot look at `{}`", path.display()))?;
    Ok(metadata.len())
}

/// A running contestant. It ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// Just before it was made.
    pub(crate) started: Instant,
    output: PathBuf,
}

/// What a process has in memory.
pub(crate) struct Memory {
    pub(crate) resident_kib: f64,
    /// The part that is no file's: heap, stacks, guests.
    pub(crate) anonymous_kib: f64,
}

impl Process {
    /// What it has printed, for a message about its failure.
    pub(crate) fn output(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let from = output.ceil_char_boundary(output.len().saturating_sub(4096));
        output[from..].trim().to_owned()
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = self.proc("status")?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
                .with_context(|| format!("the process's status has no {name}"))
        };
        Ok(Memory {
            resident_kib: field("VmRSS:")?,
            anonymous_kib: field("RssAnon:")?,
        })
    }

    /// Processor time that its living threads have used. The scheduler counts it in nanoseconds, where utime and stime of
    /// `/proc/PID/stat` would be rounded to ticks of ten milliseconds.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut sum = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read `{tasks}`"))? {
            let path = task?.path().join("schedstat");
            let statistics = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let nanoseconds: Option<u64> = statistics.split(' ').next().and_then(|field| field.parse().ok());
            sum += nanoseconds.with_context(|| format!("`{}` has an unknown form", path.display()))?;
        }
        ensure!(
            sum > 0,
            "this kernel does not count the processor time of threads (CONFIG_SCHED_INFO)"
        );
        Ok(Duration::from_nanos(sum))
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))
    }
}

impl Drop for Process {
    /// Asks first: a process that is killed leaves its temporary files behind.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
