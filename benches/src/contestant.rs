//! Who is measured: programs, and their processes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// A program, and how it is started.
pub(crate) struct Contestant {
    pub(crate) name: String,
    program: PathBuf,
    /// Of the program. The last one is the handler's name as well.
    arguments: Vec<String>,
    variables: Vec<(&'static str, OsString)>,
    task_root: PathBuf,
    /// The size of the program and of the artifacts that it loads; `None` where it is a part of something larger.
    pub(crate) file_bytes: Option<u64>,
    /// It answers with the help of programs that it starts, so what one process uses says little.
    pub(crate) starts_programs: bool,
    /// What it has to answer, if that is not what all others answer.
    pub(crate) answer: Option<Value>,
}

/// A contestant that has no name yet.
pub(crate) struct ContestantBuilder(Contestant);

impl ContestantBuilder {
    pub(crate) fn new(program: &Path, task_root: &Path) -> anyhow::Result<Self> {
        Ok(Self(Contestant {
            name: String::new(),
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            task_root: task_root.to_owned(),
            file_bytes: Some(size(program)?),
            starts_programs: false,
            answer: None,
        }))
    }

    /// The interpreter of that name.
    pub(crate) fn interpreter(name: &str, task_root: &Path) -> Self {
        Self(Contestant {
            name: String::new(),
            program: PathBuf::from(name),
            arguments: Vec::new(),
            variables: Vec::new(),
            task_root: task_root.to_owned(),
            file_bytes: None,
            starts_programs: false,
            answer: None,
        })
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.0.arguments.push(argument.into());
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.0.variables.push((name, value.into()));
        self
    }

    pub(crate) fn starts_programs(mut self) -> Self {
        self.0.starts_programs = true;
        self
    }

    /// Does something else with the event than the others, and answers this.
    pub(crate) fn answers(mut self, answer: Value) -> Self {
        self.0.answer = Some(answer);
        self
    }

    /// Counts an artifact in.
    pub(crate) fn loads(mut self, artifact: &Path) -> anyhow::Result<Self> {
        if let Some(bytes) = &mut self.0.file_bytes {
            *bytes += size(artifact)?;
        }
        Ok(self)
    }

    pub(crate) fn build(mut self, name: impl Into<String>) -> Contestant {
        self.0.name = name.into();
        self.0
    }
}

impl Contestant {
    /// Starts a process as Lambda would: nothing in its environment but what Lambda sets for a function that logs as JSON.
    pub(crate) fn start(&self, runtime_api: &str, work: &Path) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.task_root)
            .env_clear()
            .envs([
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
                ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
                ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
                ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0123456789abcdef"),
                ("AWS_LAMBDA_RUNTIME_API", runtime_api),
                ("AWS_REGION", "eu-central-1"),
                ("LANG", "en_US.UTF-8"),
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("TZ", ":UTC"),
                ("_HANDLER", self.arguments.last().map_or("", String::as_str)),
            ])
            .env("LAMBDA_TASK_ROOT", &self.task_root)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::start(command, work.join("output.log"))
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
    /// The most that it ever had.
    pub(crate) peak_kib: f64,
}

impl Process {
    /// Starts a program that writes into the file `output`.
    pub(crate) fn start(mut command: Command, output: PathBuf) -> anyhow::Result<Self> {
        let log = File::create(&output).with_context(|| format!("cannot write `{}`", output.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        Ok(Self { child, started, output })
    }

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
            peak_kib: field("VmHWM:")?,
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

    /// Processor time that all its threads have used, those that have ended as well; in ticks of some milliseconds.
    pub(crate) fn processor_time_with_ended_threads(&self) -> anyhow::Result<Duration> {
        let stat = self.proc("stat")?;
        // The second field is a name in parentheses, which may contain anything. After it, the state is the first.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: Option<u64> = times.map(|field| field.parse::<u64>().ok()).sum();
        let ticks = ticks.context("the process's stat has an unknown form")?;
        Ok(Duration::from_millis(ticks * 1000 / clock_ticks_per_second()))
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
