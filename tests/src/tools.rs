//! Programs of others that the tests compare with, each installed once per machine.
//!
//! They are kept in `ORLOP_TEST_TOOLS`, else in `orlop-tests` below the user's cache directory.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The version of the stock `wasmtime`; the engine's own.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// The version of the AWS SAM CLI, whose package carries AWS's emulator.
pub const SAM_VERSION: &str = "1.170.0";

/// The version of `moto`, which plays AWS.
pub const MOTO_VERSION: &str = "5.2.5";

/// The version of `cfn-lint`, which checks templates of CloudFormation.
pub const CFN_LINT_VERSION: &str = "1.58.0";

/// The version of the AWS CLI.
pub const AWS_CLI_VERSION: &str = "1.46.3";

/// The version of `boto3`, AWS's SDK for Python; one that shares its core with the AWS CLI.
pub const BOTO3_VERSION: &str = "1.44.5";

/// The version of `h11`, a parser of HTTP that has nothing in common with ours.
pub const H11_VERSION: &str = "0.16.0";

/// The version of `awslambdaric`, AWS's runtime interface client for Python.
pub const AWSLAMBDARIC_VERSION: &str = "4.2.2";

/// What a build with cargo needs; for the message of one that failed.
pub(crate) const NEEDS_REGISTRY: &str = "cargo with access to its registry";

/// What cargo or a user set for this build, and what would reach another one.
const OUTER_BUILD: [&str; 7] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// Makes sure of programs whose Debian packages are called like them; root gets them installed.
///
/// # Panics
///
/// If one is missing and cannot be installed, with the command that would, and the `way_out`.
pub fn require(programs: &[&str], way_out: &str) {
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    if !programs.iter().all(is_there) {
        install_packages(programs, way_out);
    }
}

/// Installs Debian packages, if this is root.
///
/// # Panics
///
/// If they cannot be installed, with the command that would, and the `way_out`.
pub(crate) fn install_packages(names: &[&str], way_out: &str) {
    let list = names.join(" ");
    let advice = format!("this test needs {list}; on Debian: apt-get install {list}; {way_out}");
    assert!(rustix::process::geteuid().is_root(), "{advice}");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // apt-get does not wait for another one.
    let _turn = lock("apt-get");
    run(apt(&["update"]), &advice);
    run(apt(&[&["install", "--yes"], names].concat()), &advice);
}

/// Runs it to its end, which has to be a good one.
///
/// # Panics
///
/// If it was not, with what it printed.
pub fn run(mut command: Command, doing: &str) -> Output {
    let output = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; {doing}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({doing}):\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The stock `wasmtime` command, as every developer of components has it.
///
/// One of the right version on the `PATH` will do; otherwise cargo installs it, which takes minutes.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn wasmtime_cli() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if is_wanted_wasmtime(Path::new("wasmtime")) {
            return PathBuf::from("wasmtime");
        }
        let root = cache().join(format!("wasmtime-{WASMTIME_VERSION}"));
        let program = root.join("bin/wasmtime");
        install(&program, "wasmtime", |_| {
            // Puts the program in place by a rename of its own, when it is whole.
            let mut cargo = cargo();
            cargo
                .args(["install", "wasmtime-cli", "--version", WASMTIME_VERSION, "--locked"])
                .arg("--root")
                .arg(&root);
            run(cargo, NEEDS_REGISTRY);
        });
        program
    })
}

/// AWS's Runtime Interface Emulator, in the version of the SAM CLI [`SAM_VERSION`].
///
/// # Panics
///
/// If it cannot be downloaded, with what is missing.
pub fn runtime_interface_emulator() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86_64"
        };
        let program = cache().join(format!("aws-lambda-rie-{SAM_VERSION}-{architecture}"));
        install(&program, "AWS's Runtime Interface Emulator", |scratch| {
            let needed = "python3 with pip and access to PyPI; on Debian: apt-get install python3-pip";
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
                .arg(scratch);
            pip.arg(format!("aws-sam-cli=={SAM_VERSION}"));
            run(pip, needed);
            let downloads = fs::read_dir(scratch).expect("the scratch folder can be listed");
            let mut downloads = downloads.map(|entry| entry.expect("the listing stays readable").path());
            let wheel = downloads.find(|path| path.extension() == Some(OsStr::new("whl")));
            let mut unzip = Command::new("python3");
            unzip
                .args(["-m", "zipfile", "-e"])
                .arg(wheel.expect("pip downloads a wheel"))
                .arg(scratch);
            run(unzip, needed);
            let emulator = scratch
                .join("samcli/local/rapid")
                .join(format!("aws-lambda-rie-{architecture}"));
            fs::set_permissions(&emulator, Permissions::from_mode(0o755)).expect("the wheel carries the emulator");
            fs::rename(&emulator, &program).expect("a file can be renamed within the cache");
        });
        program
    })
}

/// The server of `moto`, which plays AWS; it takes arguments such as `--port`.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn moto_server() -> Command {
    of_python("moto_server")
}

/// `cfn-lint`, which checks templates of CloudFormation and SAM.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn cfn_lint() -> Command {
    of_python("cfn-lint")
}

/// A program of these packages; they are installed together, because one needs the other.
fn of_python(program: &str) -> Command {
    let folder = python_packages(
        &format!("moto-{MOTO_VERSION}-cfn-lint-{CFN_LINT_VERSION}"),
        &[
            &format!("moto[server]=={MOTO_VERSION}"),
            &format!("cfn-lint=={CFN_LINT_VERSION}"),
        ],
    );
    python_program(&folder, program)
}

/// The AWS CLI, without credentials and without the user's settings.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn aws_cli() -> Command {
    aws_client(|packages| python_program(packages, "aws"))
}

/// Python with `boto3`, without credentials and without the user's settings.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn python_with_boto3() -> Command {
    aws_client(|packages| {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", packages);
        python
    })
}

/// Python with `h11`.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn python_with_h11() -> Command {
    let packages = python_packages(&format!("h11-{H11_VERSION}"), &[&format!("h11=={H11_VERSION}")]);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages);
    python
}

/// A folder for `PYTHONPATH` with AWS's runtime interface client for Python.
///
/// # Panics
///
/// If it cannot be installed, with what is missing.
pub fn awslambdaric() -> PathBuf {
    let version = AWSLAMBDARIC_VERSION;
    python_packages(
        &format!("awslambdaric-{version}"),
        &[&format!("awslambdaric=={version}")],
    )
}

fn aws_client(command: impl FnOnce(&Path) -> Command) -> Command {
    let packages = python_packages(
        &format!("awscli-{AWS_CLI_VERSION}-boto3-{BOTO3_VERSION}"),
        &[
            &format!("awscli=={AWS_CLI_VERSION}"),
            &format!("boto3=={BOTO3_VERSION}"),
        ],
    );
    let mut command = command(&packages);
    command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "none")
        .env("AWS_SECRET_ACCESS_KEY", "none")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

/// Installs packages from PyPI into a folder of the cache, which is returned.
fn python_packages(folder: &str, packages: &[&str]) -> PathBuf {
    let path = cache().join(folder);
    install(&path, &packages.join(" and "), |scratch| {
        let fresh = scratch.join("packages");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&fresh)
            .args(packages);
        run(
            pip,
            "python3 with pip and access to PyPI; on Debian: apt-get install python3-pip",
        );
        fs::rename(fresh, &path).expect("a folder can be renamed within the cache");
    });
    path
}

fn python_program(packages: &Path, program: &str) -> Command {
    let mut command = Command::new(packages.join("bin").join(program));
    command.env("PYTHONPATH", packages);
    command
}

/// Cargo as a user would run it, whatever this build was told; for builds with output directories of their own.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // There rust-toolchain.toml says which compiler.
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in OUTER_BUILD {
        cargo.env_remove(name);
    }
    cargo
}

/// Makes `path` exist in the cache, a file or a folder; `make` gets a folder for what it needs on the way, and runs in
/// one process at a time. It has to put `path` in place by a rename.
pub(crate) fn install(path: &Path, name: &str, make: impl FnOnce(&Path)) {
    if path.exists() {
        return;
    }
    let _turn = lock(&path.file_name().unwrap_or_default().to_string_lossy());
    if path.exists() {
        return;
    }
    let cache = cache();
    eprintln!("installing {name} into {}", cache.display());
    let scratch = TempDir::new_in(&cache).expect("the cache can be written");
    make(scratch.path());
    assert!(path.exists(), "{name} was installed without {}", path.display());
}

/// Waits until nobody else on this machine holds the lock of that name; it is held as long as the file is open.
fn lock(name: &str) -> File {
    let cache = cache();
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("cannot make {}: {error}", cache.display()));
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("the cache can be written");
    lock.lock().expect("files can be locked");
    lock
}

fn is_wanted_wasmtime(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("--version").output() else {
        return false;
    };
    // `wasmtime 48.0.8 (…)`
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1) == Some(WASMTIME_VERSION)
}

/// Where tools and what is built with them are kept.
pub(crate) fn cache() -> PathBuf {
    let below = |name, folder| variable(name).map(|directory| directory.join(folder));
    let directory = below("ORLOP_TEST_TOOLS", "")
        .or_else(|| below("XDG_CACHE_HOME", "orlop-tests"))
        .or_else(|| below("HOME", ".cache/orlop-tests"));
    let directory = directory.expect("one of ORLOP_TEST_TOOLS, XDG_CACHE_HOME and HOME says where to keep tools");
    // What builds there does so from other directories.
    std::path::absolute(directory).expect("the current directory is known")
}

#[expect(
    clippy::disallowed_methods,
    reason = "where a user keeps caches is said by the environment"
)]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
