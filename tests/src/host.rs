//! The host and the command-line tool as processes, and what they are given to run.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::process::Process;
use crate::{Component, FakeRuntimeApi};

/// What cargo sets for a running test, and what would make the cargo below build everything anew.
const OF_THE_TEST: [&str; 9] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "LD_LIBRARY_PATH",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUST_RECURSION_COUNT",
];

/// A running runtime: the [`Process`], with the fake or the emulator as its peer.
#[derive(Debug)]
pub struct Host {
    process: Process,
}

/// A runtime that is about to be started.
///
/// Its environment holds what is given here and nothing else.
#[derive(Debug)]
pub struct Builder {
    command: Command,
}

impl Host {
    /// The runtime as it ships, against this Runtime API.
    pub fn bootstrap(lambda: &FakeRuntimeApi) -> Builder {
        Self::binary(bootstrap()).runtime_api(&lambda.address())
    }

    /// The developer's tool as the runtime, against this Runtime API.
    pub fn orlop(lambda: &FakeRuntimeApi) -> Builder {
        Self::binary(orlop()).runtime_api(&lambda.address())
    }

    /// Any program, with an empty environment.
    pub fn binary(path: &Path) -> Builder {
        let mut command = Command::new(path);
        command.env_clear();
        Builder { command }
    }
}

impl Deref for Host {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Builder {
    /// Sets `AWS_LAMBDA_RUNTIME_API`, usually host and port.
    #[must_use]
    pub fn runtime_api(self, address: &str) -> Self {
        self.env("AWS_LAMBDA_RUNTIME_API", address)
    }

    /// Sets `LAMBDA_TASK_ROOT`, where the components lie.
    #[must_use]
    pub fn task_root(self, directory: impl AsRef<Path>) -> Self {
        self.env("LAMBDA_TASK_ROOT", directory.as_ref())
    }

    /// Names the handler as Lambda does for an image, by an argument; for the other way set `_HANDLER`.
    #[must_use]
    pub fn handler(self, name: &str) -> Self {
        self.arg(name)
    }

    /// Sets what Lambda always says about a function: name `test`, version, memory in MiB and log names.
    #[must_use]
    pub fn function(self, memory_mb: u32) -> Self {
        self.env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb.to_string())
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/23/[$LATEST]0123456789abcdef")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Runs it in another working directory than the test's.
    #[must_use]
    pub fn current_directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Starts it.
    pub fn start(self) -> Host {
        Host {
            process: Process::start(self.command),
        }
    }
}

/// A directory that stands in for `/var/task`, removed when dropped.
#[derive(Debug)]
pub struct TaskRoot {
    directory: TempDir,
}

impl TaskRoot {
    /// An empty one.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("orlop-task-")
            .tempdir()
            .expect("temporary files can be made");
        Self { directory }
    }

    /// Copies a file into it under this name.
    #[must_use]
    pub fn with(self, name: &str, file: impl AsRef<Path>) -> Self {
        let file = file.as_ref();
        fs::copy(file, self.path().join(name))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", file.display()));
        self
    }

    /// Writes a file of this name, for instance `orlop.toml`.
    #[must_use]
    pub fn with_content(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path().join(name), content).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
        self
    }

    /// Compiles a component and puts the artifact there, under the component's name.
    #[must_use]
    pub fn with_compiled(self, component: impl AsRef<Path>) -> Self {
        let artifact = compile(component.as_ref());
        let name = artifact
            .file_name()
            .and_then(OsStr::to_str)
            .expect("artifacts have plain names")
            .to_owned();
        self.with(&name, artifact)
    }

    /// As [`Self::with_compiled`], with code that can run several events at a time.
    #[must_use]
    pub fn with_concurrent(self, component: Component) -> Self {
        let artifact = compile_with(component, &["--execution", "concurrent"]);
        self.with(&format!("{}.concurrent.cwasm", component.name()), artifact)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Default for TaskRoot {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<Path> for TaskRoot {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

/// The runtime as it ships, built by the first test that asks for it; or the one that `ORLOP_TEST_BOOTSTRAP` names.
///
/// # Panics
///
/// If it cannot be built, with what cargo said.
pub fn bootstrap() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| given("ORLOP_TEST_BOOTSTRAP").unwrap_or_else(|| build("bootstrap", &["bootstrap"])))
}

/// The runtime as it ships for Graviton, built by the first test that asks for it; or the one that
/// `ORLOP_TEST_BOOTSTRAP_AARCH64` names.
///
/// # Panics
///
/// If it cannot be built, with what cargo said.
pub fn bootstrap_for_aarch64() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        given("ORLOP_TEST_BOOTSTRAP_AARCH64").unwrap_or_else(|| build("bootstrap", &["bootstrap-aarch64"]))
    })
}

/// The developer's tool in a debug build, built by the first test that asks for it; or the one that `ORLOP_TEST_TOOL` names.
///
/// # Panics
///
/// If it cannot be built, with what cargo said.
pub fn orlop() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| given("ORLOP_TEST_TOOL").unwrap_or_else(|| build("orlop", &["build", "--bin", "orlop"])))
}

/// The artifact that `orlop compile` makes of this component; made once, as long as neither of them changes.
///
/// # Panics
///
/// If it cannot be compiled, with what the tool said.
pub fn compile(component: impl AsRef<Path>) -> PathBuf {
    compile_with(component, &[])
}

/// As [`compile`], with further arguments for `orlop compile`.
///
/// # Panics
///
/// As [`compile`].
pub fn compile_with(component: impl AsRef<Path>, arguments: &[&str]) -> PathBuf {
    let (component, orlop) = (component.as_ref(), orlop());
    let target = orlop
        .parent()
        .and_then(Path::parent)
        .expect("cargo builds into a folder of its target directory");
    let cache = target.join("test-artifacts");
    fs::create_dir_all(&cache).expect("the target directory can be written");

    let content = fs::read(component).unwrap_or_else(|error| panic!("cannot read {}: {error}", component.display()));
    let modified = fs::metadata(orlop)
        .and_then(|metadata| metadata.modified())
        .expect("the tool was just built");
    let age = modified.duration_since(UNIX_EPOCH).expect("files are made after 1970");
    let mut digest = Sha256::new();
    digest.update(&content);
    digest.update(age.as_nanos().to_le_bytes());
    digest.update(arguments.join("\0"));
    let key = digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();

    let stem = component.file_stem().unwrap_or_default();
    let name = PathBuf::from(stem).with_extension("cwasm");
    let kept = cache.join(&key);
    let lock = File::create(cache.join(key + ".lock")).expect("the target directory can be written");
    lock.lock().expect("files can be locked");
    if !kept.is_dir() {
        // A folder, for whatever the tool puts beside the artifact; renamed when it is whole.
        let fresh = TempDir::new_in(&cache).expect("the target directory can be written");
        let mut command = Command::new(orlop);
        command
            .arg("compile")
            .arg(component)
            .arg("-o")
            .arg(fresh.path().join(&name))
            .args(arguments);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        assert!(
            output.status.success(),
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(fresh.keep(), &kept).expect("a folder can be renamed beside itself");
    }
    kept.join(name)
}

/// A program that the developer has built already.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own settings come through their environment"
)]
fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// Runs cargo, and returns where it put the program.
fn build(program: &str, arguments: &[&str]) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace");
    let mut command = Command::new(cargo());
    command
        .current_dir(workspace)
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    for name in OF_THE_TEST {
        command.env_remove(name);
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    let mut executables = messages
        .filter(|message: &Value| message["target"]["name"] == program)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables
        .next()
        .unwrap_or_else(|| panic!("{command:?} built no program `{program}`"))
}

/// The cargo that runs the test, else the one that built it.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo names itself to tests through their environment"
)]
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")))
}
