//! The project's images, built as its users build them, and containers of them under Lambda's constraints.
//!
//! podman builds and runs them. The image that the `Dockerfile` starts from comes from a registry, which a test does
//! without: a stand-in is made of Debian's packages and the toolchain that runs the test, once per machine.
//! `ORLOP_TEST_IMAGE_BASE` names a real one to be used in its place. `ORLOP_TEST_IMAGE=skip` leaves these tests out.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::FakeRuntimeApi;
use crate::process::Process;
use crate::tools::{require, run};

/// The stand-in for the official Rust image; the number changes with what is in it.
const STAND_IN: &str = "localhost/orlop-test-base:1";
const STAND_IN_DISTRIBUTION: &str = "bookworm";
const STAND_IN_PACKAGES: &str = "ca-certificates,gcc,libc6-dev";
/// Where the stand-in expects the toolchain, which is mounted: it is large, and its version changes.
const STAND_IN_TOOLCHAIN: &str = "/usr/local/rust";
const STAND_IN_PATH: &str = "/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// The one rustup command of the `Dockerfile`, for a toolchain that has its targets already.
const STAND_IN_RUSTUP: &str = r#"#!/bin/sh
[ "$1 $2" = "target add" ] && test -d "$(rustc --print target-libdir --target "$3")"
"#;

/// What builds and runs images. Of the two container runtimes that podman knows, this is the one that takes every layout of
/// control groups.
const PODMAN: &[&str] = &["podman", "runc"];
/// The way out where they cannot be had.
const LEAVE_OUT: &str = "ORLOP_TEST_IMAGE=skip leaves the tests of images out";
/// What makes the stand-in.
const DEBOOTSTRAP: &[&str] = &["debootstrap"];

/// The official Rust image, as the `Dockerfile` of a new project names it.
const RUST: &str = "docker.io/library/rust:1.95-bookworm";

/// Lambda's limits of files and threads; podman's own are higher than some machines let it set.
const LIMITS: &[&str] = &["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

/// What an environment of 128 MB allows its runtime on Lambda, beside the [`LIMITS`].
const LAMBDA: &[&str] = &[
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--memory",
    "128m",
    "--user",
    "993:990",
    "--cap-drop",
    "all",
    "--network=host",
];

/// A built image, removed when dropped.
#[derive(Debug)]
pub struct Image {
    name: String,
    builder: Builder,
}

/// A running or ended container: the process is `podman run`, which passes on its output and its exit code.
///
/// It is removed when dropped.
#[derive(Debug)]
pub struct Container {
    name: String,
    builder: Builder,
    process: Process,
}

/// Builds images; what it downloads and compiles is kept in its folder for the next run.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: PathBuf,
}

/// Whether the user has left these tests out, which is said on stderr.
pub fn is_skipped() -> bool {
    let is_skipped = variable("ORLOP_TEST_IMAGE").is_some_and(|value| value == "skip");
    if is_skipped {
        // Not `eprintln`: the harness would keep back what a passing test prints.
        writeln!(
            std::io::stderr(),
            "skipped: ORLOP_TEST_IMAGE=skip leaves out the tests of images"
        )
        .ok();
    }
    is_skipped
}

impl Builder {
    /// A builder that works below `folder`. Programs that are missing are installed, by root on Debian.
    ///
    /// # Panics
    ///
    /// If a program is missing and cannot be installed, with the command that would.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref().join("images");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let builder = Self { folder };
        let _lock = builder.lock();
        require(PODMAN, LEAVE_OUT);
        builder
    }

    /// The image that the project's `Dockerfile` describes as `target`, or that it makes unless told otherwise.
    ///
    /// # Panics
    ///
    /// If it cannot be built, with what podman said.
    pub fn project(&self, target: Option<&str>) -> Image {
        let mut arguments = self.base();
        if let Some(target) = target {
            arguments.extend(["--target".into(), target.into()]);
        }
        self.build(workspace(), &arguments)
    }

    /// What tells podman where the `Dockerfile` starts from.
    fn base(&self) -> Vec<OsString> {
        if let Some(name) = variable("ORLOP_TEST_IMAGE_BASE") {
            return vec!["--build-arg".into(), joined("RUST=", name)];
        }
        self.require_stand_in();
        let mount = |source: &Path, target: &str| {
            let mut mount = source.as_os_str().to_owned();
            mount.push(format!(":{target}:ro"));
            ["--volume".into(), mount]
        };
        let mut arguments = vec!["--build-arg".into(), joined("RUST=", STAND_IN)];
        arguments.extend(mount(&toolchain(), STAND_IN_TOOLCHAIN));
        // Where the network has a proxy of its own, this machine trusts it and a fresh Debian does not.
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let trusted = variable("SSL_CERT_FILE").map_or_else(|| PathBuf::from(bundle), PathBuf::from);
        if trusted.is_file() {
            arguments.extend(mount(&trusted, bundle));
        }
        arguments
    }

    fn build(&self, context: &Path, arguments: &[OsString]) -> Image {
        let image = Image {
            name: unique("localhost/orlop-test"),
            builder: self.clone(),
        };
        let mut command = self.podman();
        // No layers: they would stay behind, and the cache mount is what makes the next build quick.
        command
            .args(["build", "--layers=false", "--network=host", "--tag", &image.name])
            .args(arguments)
            .arg(context);
        run(command, "building an image");
        image
    }

    fn require_stand_in(&self) {
        let _lock = self.lock();
        let mut exists = self.podman();
        exists.args(["image", "exists", STAND_IN]);
        if exists.status().is_ok_and(|status| status.success()) {
            return;
        }
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can make a stand-in for the Rust image; run the tests as root once, or name an image that podman has, \
             for instance with ORLOP_TEST_IMAGE_BASE=docker.io/library/rust:1.95-bookworm"
        );
        require(DEBOOTSTRAP, LEAVE_OUT);
        let scratch = TempDir::new_in(&self.folder).expect("the target directory can be written");
        let root = scratch.path().join("root");
        let mut debootstrap = Command::new("debootstrap");
        debootstrap
            .args([
                "--variant=minbase",
                "--include",
                STAND_IN_PACKAGES,
                STAND_IN_DISTRIBUTION,
            ])
            .arg(&root);
        run(debootstrap, "installing Debian into a folder");
        let rustup = root.join("usr/local/bin/rustup");
        fs::write(&rustup, STAND_IN_RUSTUP)
            .and_then(|()| fs::set_permissions(&rustup, Permissions::from_mode(0o755)))
            .expect("Debian has a /usr/local/bin");

        let mut tar = Command::new("tar");
        tar.args(["--create", "--directory"])
            .arg(&root)
            .arg(".")
            .stdout(Stdio::piped());
        let mut tar = tar
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {tar:?}: {error}"));
        let mut import = self.podman();
        import
            .args([
                "import",
                "--change",
                &format!("ENV PATH={STAND_IN_PATH}"),
                "-",
                STAND_IN,
            ])
            .stdin(tar.stdout.take().expect("stdout is piped"));
        run(import, "importing Debian as an image");
        // Had it failed, what it wrote would not have been an archive.
        tar.wait().expect("a child can be waited for");
    }

    fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        // Cache mounts lie below this directory.
        command.args(["--runtime", "runc"]).env("TMPDIR", &self.folder);
        command
    }

    /// Held while something is made that all tests share.
    fn lock(&self) -> File {
        let lock = File::create(self.folder.join("lock")).expect("the target directory can be written");
        lock.lock().expect("files can be locked");
        lock
    }
}

impl Image {
    /// An image of a user: these instructions after a `FROM` this image, with `component` beside them as `logic.wasm`.
    ///
    /// # Panics
    ///
    /// If it cannot be built, with what podman said.
    pub fn extended(&self, instructions: &str, component: &Path) -> Self {
        let context = TempDir::new_in(&self.builder.folder).expect("the target directory can be written");
        let file = context.path().join("Dockerfile");
        fs::write(file, format!("FROM {}\n{instructions}\n", self.name)).expect("a fresh folder can be written");
        fs::copy(component, context.path().join("logic.wasm"))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", component.display()));
        self.builder.build(context.path(), &[])
    }

    /// The image of an example, as its own `Dockerfile` makes it of this image, a full one, and a `lean` one.
    ///
    /// # Panics
    ///
    /// If it cannot be built, with what podman said.
    pub fn example(&self, name: &str, lean: &Self) -> Self {
        let file = workspace().join("examples").join(name).join("Dockerfile");
        let mut arguments = self.builder.base();
        arguments.extend(["--file".into(), file.into()]);
        arguments.extend(self.bases(lean));
        self.builder.build(workspace(), &arguments)
    }

    /// The image of a new project from that template, as its own `Dockerfile` makes it of this image and a `lean` one.
    ///
    /// # Panics
    ///
    /// As [`Self::example`].
    pub fn new_project(&self, template: &str, lean: &Self) -> Self {
        let folder = TempDir::new_in(&self.builder.folder).expect("the target directory can be written");
        let mut volume = folder.path().as_os_str().to_owned();
        volume.push(":/var/task");
        let mut new = self.builder.podman();
        new.args(["run", "--rm", "--entrypoint", "orlop"]).args(LIMITS);
        new.arg("--volume").arg(volume).arg(&self.name);
        new.args(["new", "project", "--template", template]);
        run(new, "making a new project");

        let mut arguments = self.builder.base();
        let rust = variable("ORLOP_TEST_IMAGE_BASE").unwrap_or_else(|| STAND_IN.into());
        arguments.extend(stands_for(RUST, rust));
        arguments.extend(self.bases(lean));
        self.builder.build(&folder.path().join("project"), &arguments)
    }

    /// What tells podman that this image and the `lean` one are those that users build upon. Tags would be seen by others
    /// on the machine.
    fn bases(&self, lean: &Self) -> Vec<OsString> {
        [stands_for("orlop", &self.name), stands_for("orlop-lean", &lean.name)].concat()
    }

    /// The size of all its files, in bytes.
    ///
    /// # Panics
    ///
    /// If podman does not know it.
    pub fn bytes(&self) -> u64 {
        let mut command = self.builder.podman();
        command.args(["image", "inspect", "--format", "{{.Size}}", &self.name]);
        let output = run(command, "inspecting an image");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim()
            .parse()
            .unwrap_or_else(|error| panic!("podman calls {text:?} a size: {error}"))
    }

    /// Starts it as Lambda would, with 128 MB, against this Runtime API.
    pub fn start(&self, lambda: &FakeRuntimeApi) -> Container {
        let name = unique("orlop-test");
        let mut command = self.builder.podman();
        command
            .args(["run", "--rm", "--name", &name])
            .args(LIMITS)
            .args(LAMBDA)
            .args(["--env", &format!("AWS_LAMBDA_RUNTIME_API={}", lambda.address())])
            .args(["--env", "AWS_LAMBDA_FUNCTION_NAME=test"])
            .args(["--env", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST"])
            .args(["--env", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128"])
            .arg(&self.name);
        Container {
            name,
            builder: self.builder.clone(),
            process: Process::start(command),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut command = self.builder.podman();
        command.args(["rmi", "--force", &self.name]);
        // One that was not built whole is not there.
        command.output().ok();
    }
}

impl Container {
    /// Sends a signal to the container's first process, as `docker stop` does with `TERM`.
    ///
    /// # Panics
    ///
    /// If the container has ended.
    pub fn kill(&self, signal: &str) {
        let mut command = self.builder.podman();
        command.args(["kill", "--signal", signal, &self.name]);
        run(command, "signalling a container");
    }
}

impl Deref for Container {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut command = self.builder.podman();
        command.args(["rm", "--force", "--ignore", "--time", "0", &self.name]);
        command.output().ok();
    }
}

/// What tells podman to take an image that it has wherever a `Dockerfile` says `name`.
fn stands_for(name: &str, image: impl AsRef<OsStr>) -> [OsString; 2] {
    let context = format!("{name}=container-image://");
    ["--build-context".into(), joined(&context, image)]
}

fn workspace() -> &'static Path {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.expect("this crate is a folder of the workspace")
}

/// The folder of the Rust toolchain that runs the test.
fn toolchain() -> PathBuf {
    let mut command = Command::new("rustc");
    command.args(["--print", "sysroot"]);
    let output = run(command, "asking rustc for its folder");
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        path.join("bin/cargo").is_file() && path != Path::new("/usr"),
        "the toolchain in {} is part of its distribution and cannot be lent to another; use one that rustup installed, or name \
         an image with ORLOP_TEST_IMAGE_BASE",
        path.display()
    );
    // A mount of a link would be one of a link that leads nowhere.
    path.canonicalize().expect("rustc's folder is there")
}

/// A name that no other test uses.
fn unique(prefix: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", process::id())
}

fn joined(start: &str, end: impl AsRef<OsStr>) -> OsString {
    let mut text = OsString::from(start);
    text.push(end);
    text
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a test may use on this machine is said by its environment"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
