//! A task root: what is in it, and how it is written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use orlop_host::artifact::compile::is_current;
use orlop_host::artifact::{ARTIFACT_EXTENSION, Bounds, COMPONENT_EXTENSION, artifact_name, without_extension};
use orlop_host::engine::{Cpu, Execution};
use orlop_host::manifest::{self, Manifest};

use super::apart::Apart;
use super::snapshot::{Original, Snapshot, Snapshots, Wish};
use super::{Progress, Project, has_extension};
use crate::compile::{compile_or_explain, write_whole};
use crate::component::read;
use crate::mistake::Mistake;

/// What code is made for.
#[derive(Clone, Copy)]
pub(super) struct Code<'a> {
    /// The least processor that has to run it.
    pub(super) cpu: Cpu,
    /// The kinds of execution, with an artifact for each.
    pub(super) executions: &'a [Execution],
    /// Whether components are made into snapshots first.
    pub(super) snapshots: Snapshots,
}

/// A task root that holds the artifact of each component, the component where there is one, and the `orlop.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    task_root: PathBuf,
    components: Vec<Component>,
    functions: Vec<String>,
    missing: Vec<String>,
    /// Keeps the folder until the last clone goes.
    _temporary: Option<Arc<Apart>>,
}

/// A component of a task root.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    /// Its file below the task root, without an extension.
    pub(crate) name: String,
    /// The size of the component; `None` if there is an artifact alone.
    pub(crate) component_bytes: Option<u64>,
    /// The size of the artifact.
    pub(crate) artifact_bytes: u64,
    /// How long it took to compile; `None` if an earlier artifact was still good.
    pub(crate) compiled_in: Option<Duration>,
    /// What every sandbox of it starts from, if that is a snapshot.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Built {
    /// Where it is: what `LAMBDA_TASK_ROOT` has to be.
    pub(crate) fn task_root(&self) -> &Path {
        &self.task_root
    }

    /// Sorted by name.
    pub(crate) fn components(&self) -> &[Component] {
        &self.components
    }

    /// The handlers that can be asked for: the functions of `orlop.toml` whose components are here, else the components.
    pub(crate) fn functions(&self) -> &[String] {
        &self.functions
    }

    /// The functions of `orlop.toml` whose components are not here.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Fills a task root. One process at a time does so.
    pub(super) fn make(
        project: &Project,
        sources: Vec<(String, PathBuf)>,
        task_root: &Path,
        code: Code<'_>,
        earlier: &[&Path],
        progress: &Progress,
    ) -> Result<Self, Mistake> {
        let manifest = project.read_manifest()?;
        fs::create_dir_all(task_root).map_err(|error| cannot_write(task_root, &error))?;
        let _turn = take_turn(task_root, progress);
        let folders: Vec<&Path> = [task_root].into_iter().chain(earlier.iter().copied()).collect();
        let pack = |(name, source): (String, PathBuf)| {
            Packing {
                wish: code.snapshots.of(&name, &manifest),
                name,
                source,
                task_root,
                code,
                bounds: &project.bounds,
            }
            .run(&folders, progress)
        };
        let components: Vec<Component> = sources.into_iter().map(pack).collect::<Result<_, _>>()?;
        copy_manifest(project, task_root)?;
        if project.owns(task_root) {
            remove_others(project, task_root, &components, code.executions);
        }
        let (functions, missing) = functions(&manifest, &components);
        Ok(Self {
            task_root: task_root.to_owned(),
            components,
            functions,
            missing,
            _temporary: None,
        })
    }

    /// Takes over how long the components were compiled in the build that this one is a copy of.
    pub(super) fn compiled_with(self, original: &Self) -> Self {
        Self {
            components: original.components.clone(),
            ..self
        }
    }

    pub(super) fn in_temporary(self, folder: Apart) -> Self {
        Self {
            _temporary: Some(Arc::new(folder)),
            ..self
        }
    }
}

/// The functions of the file whose components are there, and the others; without any, every component is a function.
fn functions(manifest: &Manifest, components: &[Component]) -> (Vec<String>, Vec<String>) {
    let is_there = |name: &str| components.iter().any(|component| component.name == name);
    let names = manifest.functions.iter().map(|(name, function)| {
        let component = function.component.as_ref().unwrap_or(name).as_str();
        (name.as_str().to_owned(), is_there(without_extension(component)))
    });
    let (present, missing): (Vec<_>, Vec<_>) = names.partition(|(_, is_there)| *is_there);
    let names = |functions: Vec<(String, bool)>| functions.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    match present.is_empty() {
        true => (
            components.iter().map(|component| component.name.clone()).collect(),
            names(missing),
        ),
        false => (names(present), names(missing)),
    }
}

/// One component on its way into a task root.
struct Packing<'a> {
    name: String,
    wish: Wish,
    source: PathBuf,
    task_root: &'a Path,
    code: Code<'a>,
    bounds: &'a Bounds,
}

impl Packing<'_> {
    fn run(self, folders: &[&Path], progress: &Progress) -> Result<Component, Mistake> {
        if has_extension(&self.source, ARTIFACT_EXTENSION) {
            return self.copy();
        }
        let component_path = self.task_root.join(format!("{}.{COMPONENT_EXTENSION}", self.name));
        let original = Original {
            name: &self.name,
            path: &self.source,
            bytes: read(&self.source, self.bounds)?,
            is_destination: is_same_file(&component_path, &self.source),
        };
        let earlier: Vec<PathBuf> = folders
            .iter()
            .map(|folder| folder.join(format!("{}.{COMPONENT_EXTENSION}", self.name)))
            .collect();
        let (component, snapshot) = self.wish.fulfil(original, &earlier, self.bounds, progress)?;
        let (mut artifact_bytes, mut compiled_in) = (0, None);
        for &execution in self.code.executions {
            let (artifact, time) = self.artifact(&component, execution, folders, progress)?;
            write_changed(&self.task_root.join(artifact_name(&self.name, execution)), &artifact)?;
            artifact_bytes += artifact.len() as u64;
            compiled_in = [compiled_in, time]
                .into_iter()
                .flatten()
                .reduce(|one, other| one + other);
        }
        if !is_same_file(&component_path, &self.source) {
            write_changed(&component_path, &component)?;
        }
        Ok(Component {
            name: self.name,
            component_bytes: Some(component.len() as u64),
            artifact_bytes,
            compiled_in,
            snapshot,
        })
    }

    /// Takes over artifacts whose component is not there.
    fn copy(self) -> Result<Component, Mistake> {
        let mut artifact_bytes = 0;
        for execution in Execution::ALL {
            let file_name = artifact_name(&self.name, execution);
            let source = self
                .source
                .with_file_name(Path::new(&file_name).file_name().unwrap_or_default());
            if !source.is_file() {
                continue;
            }
            let artifact = fs::read(&source).map_err(|error| cannot_read(&source, &error))?;
            write_changed(&self.task_root.join(file_name), &artifact)?;
            artifact_bytes += artifact.len() as u64;
        }
        Ok(Component {
            name: self.name,
            component_bytes: None,
            artifact_bytes,
            compiled_in: None,
            snapshot: None,
        })
    }

    /// An artifact from an earlier build that is still good, else a new one and how long it took.
    fn artifact(
        &self,
        component: &[u8],
        execution: Execution,
        folders: &[&Path],
        progress: &Progress,
    ) -> Result<(Vec<u8>, Option<Duration>), Mistake> {
        let Code { cpu, .. } = self.code;
        let file_name = artifact_name(&self.name, execution);
        let beside = self
            .source
            .with_file_name(artifact_name(&super::stem_of(&self.source), execution));
        let mut kept = folders
            .iter()
            .map(|folder| folder.join(&file_name))
            .chain([beside])
            .filter_map(|path| fs::read(path).ok());
        if let Some(artifact) = kept.find(|artifact| is_current(artifact, component, cpu, execution)) {
            return Ok((artifact, None));
        }
        let _step = progress.step(&format!(
            "compiling {} ({}) for {cpu}",
            self.name,
            ByteSize(component.len() as u64).display().iec(),
        ));
        let started = Instant::now();
        let artifact = compile_or_explain(&self.source, component, cpu, execution, self.bounds)?;
        Ok((artifact, Some(started.elapsed())))
    }
}

/// Waits until no other process fills this folder; it is ours as long as the file is open. Where folders cannot be locked,
/// everybody has a turn: each file is written in one step all the same.
fn take_turn(folder: &Path, progress: &Progress) -> Option<File> {
    let file = File::open(folder).ok()?;
    if file.try_lock().is_err() {
        let _step = progress.step(&format!("waiting for another build into {}", folder.display()));
        file.lock().ok()?;
    }
    Some(file)
}

fn copy_manifest(project: &Project, task_root: &Path) -> Result<(), Mistake> {
    let copy = task_root.join(manifest::FILE_NAME);
    match project.manifest() {
        Some(original) if !is_same_file(&copy, &original) => {
            let text = fs::read(&original).map_err(|error| cannot_read(&original, &error))?;
            write_changed(&copy, &text)
        }
        Some(_) | None => Ok(()),
    }
}

/// Removes what an earlier build left in a folder that is ours alone: a component that is made no more would still be served.
fn remove_others(project: &Project, task_root: &Path, components: &[Component], executions: &[Execution]) {
    let copied = project.manifest().map(|_| task_root.join(manifest::FILE_NAME));
    let is_ours = |path: &Path| {
        let is_of = |Component { name, .. }: &Component| {
            let artifacts = executions.iter().map(|execution| artifact_name(name, *execution));
            let mut files = artifacts.chain([format!("{name}.{COMPONENT_EXTENSION}")]);
            files.any(|file| path == task_root.join(file))
        };
        copied.as_deref() == Some(path) || components.iter().any(is_of)
    };
    for path in super::entries(task_root) {
        if path.is_file() && !is_ours(&path) {
            // Whoever was quicker has removed it.
            let _ = fs::remove_file(path);
        }
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Writes a file, unless it is like this already.
fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), Mistake> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| write_whole(path, bytes))
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_read(path: &Path, error: &io::Error) -> Mistake {
    Mistake::new(
        format!("cannot read `{}`: {error}", path.display()),
        "check that it is there, and who may read it",
    )
}

fn cannot_write(path: &Path, error: &io::Error) -> Mistake {
    Mistake::new(
        format!("cannot write `{}`: {error}", path.display()),
        "choose another folder, or make room",
    )
}
