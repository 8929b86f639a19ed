//! Builds what is measured, with the commands that users have.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::arguments::Arguments;
use crate::concurrency;
use crate::fleet::{self, Fleet};
use crate::lineup::{COMPONENTS, is_wanted};
use crate::peers::{self, Peers};

/// The examples whose `event.json` is sent, each answered by its own handler.
pub(crate) const EVENTS: [&str; 2] = ["hello", "api-gateway"];
/// The example with an `init`, and the name of its artifact as a snapshot.
pub(crate) const LOOKUP: &str = "lookup";
pub(crate) const SNAPSHOT: &str = "lookup-snapshot";
/// The package with the guests of all other measurements.
const GUESTS: &str = "orlop-bench-guests";
/// Of which many copies are made.
const COPIED_GUEST: &str = "hello-handler";
/// What `cargo run` says of this program. The build script of `ring` looks at these, and all that depends on it would be built
/// again whenever they come or go.
const OF_CARGO_RUN: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
    "OUT_DIR",
];
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Everything that takes part.
pub(crate) struct Programs {
    pub(crate) bootstrap: PathBuf,
    /// The one without WASI 0.3 and outgoing requests.
    pub(crate) small: Option<PathBuf>,
    pub(crate) baseline: Option<PathBuf>,
    /// The native functions and the floor, by name.
    native: HashMap<String, PathBuf>,
    /// The folder of the artifacts, and of nothing else.
    pub(crate) task_root: PathBuf,
    /// Only if they are wanted, from the smallest to the largest.
    pub(crate) fleets: Vec<Fleet>,
    /// Only if they are wanted, because they may have to be installed.
    peers: Option<Peers>,
    /// A folder for what comes up during the measurement.
    pub(crate) work: PathBuf,
}

impl Programs {
    pub(crate) fn build(arguments: &Arguments) -> anyhow::Result<Self> {
        let work = target_folder()?.join("orlop-benches");
        let task_root = work.join("task");
        fs::create_dir_all(&task_root).with_context(|| format!("cannot make `{}`", task_root.display()))?;
        let copies = work.join("programs");
        fs::create_dir_all(&copies).with_context(|| format!("cannot make `{}`", copies.display()))?;
        let small = match (&arguments.small, &arguments.bootstrap) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(only("bootstrap", build(&["small-bootstrap"])?)?),
        };
        // At once, because the other one gets its name.
        let small = small
            .map(|program| copy(&program, &copies, "small-bootstrap"))
            .transpose()?;
        let bootstrap = match &arguments.bootstrap {
            Some(path) => path.clone(),
            None => only("bootstrap", build(&["bootstrap"])?)?,
        };
        let bootstrap = copy(&bootstrap, &copies, "bootstrap")?;
        let baseline = arguments.baseline.as_deref();
        let baseline = baseline.map(|program| copy(program, &copies, "baseline")).transpose()?;
        let orlop = match &arguments.orlop {
            Some(path) => existing(path)?,
            None => only("orlop", build(&["build", "--package", "orlop", "--bin", "orlop"])?)?,
        };
        let native = build(&[
            "build",
            "--profile",
            &arguments.profile,
            "--package",
            env!("CARGO_PKG_NAME"),
            "--bins",
        ])?;
        let native = native.into_iter().map(|(name, program)| {
            let copied = copy(&program, &copies, &name)?;
            Ok((name, copied))
        });
        let native = native.collect::<anyhow::Result<_>>()?;
        let guests = build_guests()?;
        let compile = |component: &Path, artifact: &Path| {
            let mut command = Command::new(&orlop);
            run(command.arg("compile").arg(component).arg("-o").arg(artifact)).map(drop)
        };
        for (name, component) in &guests {
            compile(component, &task_root.join(name).with_extension("cwasm"))?;
        }
        let guest = |name: &str| guests.get(name).with_context(|| format!("cargo made no `{name}`"));
        let snapshots = work.join("snapshots");
        run(Command::new(&orlop)
            .arg("build")
            .arg(guest(LOOKUP)?)
            .args(["--snapshot", "-o"])
            .arg(&snapshots))?;
        compile(
            &snapshots.join(LOOKUP).with_extension("wasm"),
            &task_root.join(SNAPSHOT).with_extension("cwasm"),
        )?;
        run(Command::new(&orlop)
            .args(["compile", "--execution", "concurrent"])
            .arg(guest(concurrency::GUEST)?)
            .arg("-o")
            .arg(task_root.join(concurrency::GUEST).with_extension("concurrent.cwasm")))?;
        let peers = [peers::GREETERS, peers::PYTHON, peers::JAVASCRIPT];
        let peers = peers
            .iter()
            .any(|name| is_wanted(name, &arguments.only))
            .then(Peers::install);
        if peers.is_some() {
            for language in [peers::PYTHON, peers::JAVASCRIPT] {
                let artifact = task_root.join(language).with_extension("cwasm");
                compile(&Peers::component(language), &artifact)?;
            }
        }
        let copied = guest(COPIED_GUEST)?;
        let sizes = match is_wanted(COMPONENTS, &arguments.only) {
            true => &fleet::SIZES[..],
            false => &[],
        };
        let fleets = sizes.iter().map(|&size| Fleet::make(size, copied, &work, compile));
        Ok(Self {
            bootstrap,
            small,
            baseline,
            native,
            task_root,
            fleets: fleets.collect::<anyhow::Result<_>>()?,
            peers,
            work,
        })
    }

    pub(crate) fn native(&self, name: &str) -> anyhow::Result<&Path> {
        let program = self.native.get(name).map(PathBuf::as_path);
        program.with_context(|| format!("cargo made no `{name}`"))
    }

    pub(crate) fn peers(&self) -> anyhow::Result<&Peers> {
        self.peers.as_ref().context("the interpreters were not asked for")
    }

    /// The folders that are read-only on Lambda.
    pub(crate) fn task_roots(&self) -> impl Iterator<Item = &Path> {
        let fleets = self.fleets.iter().map(|fleet| fleet.task_root.as_path());
        std::iter::once(self.task_root.as_path()).chain(fleets)
    }
}

fn build_guests() -> anyhow::Result<HashMap<String, PathBuf>> {
    install_guest_target()?;
    let mut arguments = vec!["build", "--release", "--target", GUEST_TARGET];
    arguments.extend(
        EVENTS
            .iter()
            .chain([&LOOKUP, &GUESTS])
            .flat_map(|package| ["--package", package]),
    );
    build(&arguments)
}

fn install_guest_target() -> anyhow::Result<()> {
    let folder = run(Command::new("rustc").args(["--print", "target-libdir", "--target", GUEST_TARGET]))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    eprintln!("installing the target {GUEST_TARGET}");
    run(Command::new("rustup").args(["target", "add", GUEST_TARGET]))
        .map(drop)
        .with_context(|| format!("the guests need Rust's target {GUEST_TARGET}"))
}

/// Runs cargo and returns the executables that it made, by name.
fn build(arguments: &[&str]) -> anyhow::Result<HashMap<String, PathBuf>> {
    eprintln!("cargo {}", arguments.join(" "));
    let messages = run(cargo().args(arguments).arg("--message-format=json-render-diagnostics"))?;
    let mut executables = HashMap::new();
    for message in messages.lines() {
        let message: Value = serde_json::from_str(message).context("cargo wrote a line that is not JSON")?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            executables.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(executables)
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let metadata = run(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo's metadata is not JSON")?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("cargo's metadata names no target folder")?;
    Ok(folder.into())
}

/// In the folder of this crate, because cargo reads aliases from the folder it runs in.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    OF_CARGO_RUN.iter().for_each(|name| {
        cargo.env_remove(name);
    });
    cargo
}

/// Runs a command that has to succeed and returns its stdout.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_owned();
    let shown = format!(
        "{} {}",
        Path::new(&program).file_name().unwrap_or_default().display(),
        command.get_args().collect::<Vec<_>>().join(OsStr::new(" ")).display()
    );
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` wrote something that is not UTF-8"))
}

fn only(name: &str, mut executables: HashMap<String, PathBuf>) -> anyhow::Result<PathBuf> {
    match executables.remove(name) {
        Some(path) => Ok(path),
        None => bail!("cargo made no executable `{name}`"),
    }
}

/// Copies a program, as an image's layer does. A linker leaves a file in the page cache in pieces of a page, and a program starts a
/// twelfth slower from these than from one that was written in long pieces.
fn copy(program: &Path, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let copied = folder.join(name);
    // The program may be the copy of an earlier run.
    let unfinished = folder.join(format!("{name}.unfinished"));
    fs::copy(program, &unfinished)
        .and_then(|_| fs::rename(&unfinished, &copied))
        .with_context(|| format!("cannot copy `{}` to `{}`", program.display(), copied.display()))?;
    Ok(copied)
}

/// Processes are started from another folder, so the path has to be absolute.
fn existing(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("cannot find `{}`", path.display()))
}
