//! What a user points at: a component, an artifact, or the folder of a crate that makes a component.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orlop_host::artifact::compile::{CompileError, read_component};
use orlop_host::artifact::{ARTIFACT_EXTENSION, COMPONENT_EXTENSION};
use serde::Deserialize;

use crate::mistake::Mistake;

/// The target that makes components.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// A file that can be run.
pub(crate) enum Runnable {
    /// A component, and its bytes.
    Component(PathBuf, Vec<u8>),
    /// A precompiled component.
    Artifact(PathBuf),
}

impl Runnable {
    /// Finds out what `path` is, and builds it if it is a crate.
    pub(crate) fn new(path: &Path) -> Result<Self, Mistake> {
        if path.is_dir() {
            let built = build_crate(path)?;
            let bytes = read(&built)?;
            return Ok(Self::Component(built, bytes));
        }
        if path
            .extension()
            .is_some_and(|extension| extension == ARTIFACT_EXTENSION)
        {
            return if path.is_file() {
                Ok(Self::Artifact(path.to_owned()))
            } else {
                Err(Mistake::new(
                    format!("there is no file `{}`", path.display()),
                    "name a .wasm file, a .cwasm file or the folder of a crate",
                ))
            };
        }
        Ok(Self::Component(path.to_owned(), read(path)?))
    }

    /// The file's name without its extension.
    pub(crate) fn name(&self) -> String {
        let (Self::Component(path, _) | Self::Artifact(path)) = self;
        path.file_stem()
            .map_or_else(|| "function".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// The bytes of a component.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Mistake> {
    read_component(path).map_err(|error| {
        let help = match &error {
            CompileError::Unreadable { .. } => "name a .wasm file or the folder of a crate that builds one",
            CompileError::NoComponent { .. } | CompileError::Refused(_) => {
                "build it with `cargo build --release --target wasm32-wasip2`"
            }
        };
        Mistake::caused_by(error, help)
    })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds a guest crate for WebAssembly and returns the component.
fn build_crate(folder: &Path) -> Result<PathBuf, Mistake> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Mistake::new(
            format!("`{}` is a folder without a Cargo.toml", folder.display()),
            format!("name the folder of a guest crate, or a .{COMPONENT_EXTENSION} file"),
        ));
    }
    let metadata = metadata(&manifest)?;
    let wanted = manifest.canonicalize().unwrap_or(manifest.clone());
    let package = metadata.packages.iter().find(|package| package.manifest_path == wanted);
    let programs: Vec<&str> = package
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
        .map(|target| target.name.as_str())
        .collect();
    let [program] = programs.as_slice() else {
        return Err(Mistake::new(
            format!(
                "the crate in `{}` has {} programs; a guest has exactly one",
                folder.display(),
                programs.len()
            ),
            "put the handler into src/main.rs, or build the component yourself and name the file",
        ));
    };
    install_target()?;
    let status = Command::new(cargo())
        .args([
            "build",
            "--release",
            "--target",
            GUEST_TARGET,
            "--bin",
            program,
            "--manifest-path",
        ])
        .arg(&manifest)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| no_cargo(&error))?;
    if !status.success() {
        return Err(Mistake::new(
            format!("the crate in `{}` does not build for {GUEST_TARGET}", folder.display()),
            "mend what cargo reports above",
        ));
    }
    Ok(metadata
        .target_directory
        .join(GUEST_TARGET)
        .join("release")
        .join(format!("{program}.{COMPONENT_EXTENSION}")))
}

fn metadata(manifest: &Path) -> Result<Metadata, Mistake> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|error| no_cargo(&error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Mistake::new(
            format!("cargo cannot read `{}`: {}", manifest.display(), complaint.trim()),
            "mend the manifest",
        )
    })
}

/// Adds the WebAssembly target to the toolchain if rustup manages it and the target is missing.
fn install_target() -> Result<(), Mistake> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    // Without rustup, the toolchain is somebody else's to complete, and cargo will say what it lacks.
    let Ok(installed) = installed else { return Ok(()) };
    if String::from_utf8_lossy(&installed.stdout)
        .lines()
        .any(|target| target == GUEST_TARGET)
    {
        return Ok(());
    }
    eprintln!("installing the Rust target {GUEST_TARGET}");
    let status = Command::new("rustup")
        .args(["target", "add", GUEST_TARGET])
        .stdin(Stdio::null())
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Mistake::new(
        format!("the Rust target {GUEST_TARGET} could not be installed"),
        format!("run `rustup target add {GUEST_TARGET}`"),
    ))
}

fn no_cargo(error: &std::io::Error) -> Mistake {
    Mistake::new(
        format!("cannot run cargo: {error}"),
        "install Rust with rustup, or name a built component",
    )
}

fn cargo() -> &'static str {
    "cargo"
}
