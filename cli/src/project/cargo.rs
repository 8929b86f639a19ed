//! Cargo: which packages there are, and what it makes of them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orlop_host::artifact::COMPONENT_EXTENSION;
use serde::Deserialize;

use super::progress::Progress;
use crate::mistake::Mistake;

/// The target that makes components.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";
/// The file that makes a folder a crate.
pub(super) const FILE_NAME: &str = "Cargo.toml";

/// A crate, or the crates of a workspace, that make components.
#[derive(Clone, Debug)]
pub(super) struct Crate {
    /// The package's name; the folder's, for a workspace without a package of its own.
    pub(super) name: String,
    /// Its `Cargo.toml`.
    pub(super) manifest: PathBuf,
    /// Where cargo puts what it builds.
    pub(super) target_directory: PathBuf,
    /// The folders of the packages and of all they depend on by path.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files of the workspace that a build depends on.
    pub(super) workspace_files: Vec<PathBuf>,
    /// The manifests of the packages whose programs are components.
    packages: Vec<PathBuf>,
    /// What of them is built.
    selection: Selection,
}

/// What makes a component of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    Programs,
    /// Where there is no program: the library, as tools that generate bindings make it.
    Library,
}

impl Selection {
    fn kind(self) -> &'static str {
        match self {
            Self::Programs => "bin",
            Self::Library => "cdylib",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Programs => "--bins",
            Self::Library => "--lib",
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    #[serde(default)]
    workspace_default_members: Vec<String>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
    kind: Option<String>,
}

/// One line of what cargo reports on stdout.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

impl Target {
    fn is(&self, selection: Selection) -> bool {
        self.kind.iter().any(|kind| kind == selection.kind())
    }
}

impl Crate {
    /// The crate in an absolute folder that has a `Cargo.toml`.
    pub(super) fn find(folder: &Path) -> Result<Self, Mistake> {
        let manifest = folder.join(FILE_NAME);
        let metadata = metadata(&manifest)?;
        let own = metadata
            .packages
            .iter()
            .find(|package| package.manifest_path == manifest);
        let chosen: Vec<&Package> = match own {
            Some(package) => vec![package],
            None => metadata
                .packages
                .iter()
                .filter(|package| metadata.workspace_default_members.contains(&package.id))
                .collect(),
        };
        let with = |selection: Selection| -> Vec<&Package> {
            let makes = |package: &&&Package| package.targets.iter().any(|target| target.is(selection));
            chosen.iter().filter(makes).copied().collect()
        };
        let (packages, selection) = match with(Selection::Programs) {
            packages if packages.is_empty() => (with(Selection::Library), Selection::Library),
            packages => (packages, Selection::Programs),
        };
        if packages.is_empty() {
            return Err(Mistake::new(
                format!("the crate in `{}` has no program", folder.display()),
                "put the handler into src/main.rs, or build the component yourself and name the file",
            ));
        }
        let name = match own {
            Some(package) => package.name.clone(),
            None => super::name_of(folder),
        };
        Ok(Self {
            name,
            folders: folders(&packages, &metadata)?,
            packages: packages.iter().map(|package| package.manifest_path.clone()).collect(),
            workspace_files: [FILE_NAME, "Cargo.lock", ".cargo/config.toml"]
                .map(|file| metadata.workspace_root.join(file))
                .to_vec(),
            target_directory: metadata.target_directory,
            manifest,
            selection,
        })
    }

    /// Builds it for WebAssembly, and returns the components.
    pub(super) fn build(&self, progress: &Progress) -> Result<Vec<PathBuf>, Mistake> {
        let folder = self.folder();
        install_target(folder, progress)?;
        let mut cargo = cargo_in(folder);
        cargo.args(["build", "--release", "--message-format=json-render-diagnostics"]);
        cargo.args(["--target", GUEST_TARGET, self.selection.flag(), "--manifest-path"]);
        cargo.arg(&self.manifest).stdout(Stdio::piped());
        progress.instruct(&mut cargo);
        let mut child = cargo.spawn().map_err(|error| no_cargo(&error))?;
        let listener = progress.listen(child.stderr.take());
        let reports = child
            .stdout
            .take()
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines());
        let components = reports
            .map_while(Result::ok)
            .filter_map(|report| self.component_in(&report))
            .collect();
        let status = child.wait().map_err(|error| no_cargo(&error))?;
        if let Some(listener) = listener {
            // It only passes lines on.
            let _ = listener.join();
        }
        if !status.success() {
            return Err(Mistake::new(
                format!("the crate in `{}` does not build for {GUEST_TARGET}", folder.display()),
                "mend what cargo reports above",
            ));
        }
        Ok(components)
    }

    /// The component that a report of cargo's tells of.
    fn component_in(&self, report: &str) -> Option<PathBuf> {
        let Message::CompilerArtifact {
            manifest_path,
            target,
            filenames,
        } = serde_json::from_str(report).ok()?
        else {
            return None;
        };
        if !self.packages.contains(&manifest_path) || !target.is(self.selection) {
            return None;
        }
        filenames.into_iter().find(|file| {
            file.extension()
                .is_some_and(|extension| extension == COMPONENT_EXTENSION)
        })
    }

    fn folder(&self) -> &Path {
        folder_of(&self.manifest)
    }
}

/// The folders of these packages and of what they depend on by path, tests aside.
fn folders(packages: &[&Package], metadata: &Metadata) -> Result<BTreeSet<PathBuf>, Mistake> {
    let dependencies = |package: &Package| -> Vec<PathBuf> {
        let counts = |dependency: &&Dependency| dependency.kind.as_deref() != Some("dev");
        let used = package.dependencies.iter().filter(counts);
        used.filter_map(|dependency| dependency.path.clone()).collect()
    };
    let mut folders = BTreeSet::new();
    let mut to_visit = Vec::new();
    for package in packages {
        folders.insert(folder_of(&package.manifest_path).to_owned());
        to_visit.extend(dependencies(package));
    }
    while let Some(folder) = to_visit.pop() {
        if !folders.insert(folder.clone()) {
            continue;
        }
        let manifest = folder.join(FILE_NAME);
        let is_here = |package: &&Package| package.manifest_path == manifest;
        match metadata.packages.iter().find(is_here) {
            Some(package) => to_visit.extend(dependencies(package)),
            None => {
                let elsewhere = self::metadata(&manifest)?;
                to_visit.extend(
                    elsewhere
                        .packages
                        .iter()
                        .find(is_here)
                        .iter()
                        .flat_map(|package| dependencies(package)),
                );
            }
        }
    }
    Ok(folders)
}

fn folder_of(manifest: &Path) -> &Path {
    manifest.parent().expect("a manifest lies in a folder")
}

fn metadata(manifest: &Path) -> Result<Metadata, Mistake> {
    let output = cargo_in(folder_of(manifest))
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|error| no_cargo(&error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.trim();
        Mistake::new(
            format!(
                "cargo cannot read `{}`: {}",
                manifest.display(),
                complaint.strip_prefix("error: ").unwrap_or(complaint)
            ),
            "mend the manifest",
        )
    })
}

/// Adds the WebAssembly target to the toolchain of a folder, if rustup manages it and the target is missing.
fn install_target(folder: &Path, progress: &Progress) -> Result<(), Mistake> {
    let rustup = || {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(folder).stdin(Stdio::null());
        rustup
    };
    // Without rustup, the toolchain is somebody else's to complete, and cargo will say what it lacks.
    let Ok(installed) = rustup().args(["target", "list", "--installed"]).output() else {
        return Ok(());
    };
    let is_there = String::from_utf8_lossy(&installed.stdout)
        .lines()
        .any(|target| target == GUEST_TARGET);
    if is_there || !installed.status.success() {
        return Ok(());
    }
    progress.tell(&format!("installing the Rust target {GUEST_TARGET}"));
    let mut add = rustup();
    add.args(["target", "add", GUEST_TARGET]).stdout(Stdio::null());
    let added = add.spawn().and_then(|mut child| child.wait());
    if added.is_ok_and(|status| status.success()) {
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

/// Cargo as it would run in that folder, with the toolchain and the settings that count there.
fn cargo_in(folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).stdin(Stdio::null());
    cargo
}
