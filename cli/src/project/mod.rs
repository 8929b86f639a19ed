//! What a user points at, and the task root that is made of it: a folder of components as on Lambda.

mod apart;
mod built;
mod cargo;
mod progress;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use orlop_host::artifact::{ARTIFACT_EXTENSION, Bounds, COMPONENT_EXTENSION, component_of};
use orlop_host::engine::{Cpu, Execution};
use orlop_host::manifest::{self, Manifest};

use apart::Apart;
use built::Code;
pub(crate) use built::{Built, Component};
use cargo::Crate;
pub(crate) use cargo::GUEST_TARGET;
pub(crate) use progress::Progress;
pub(crate) use snapshot::Snapshots;

use crate::mistake::Mistake;
use crate::processor;

/// The folder of task roots in cargo's target directory.
const TASK_ROOTS: &str = "orlop";
/// The folder among them that is for the tool alone.
const KEPT: &str = ".kept";
/// Where temporary files go if not below `/tmp`.
const BESIDE_TMP: &str = "/var/tmp";

/// Crates that make components, components that lie in a folder, or one file.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    name: String,
    /// Absolute.
    folder: PathBuf,
    /// One, as a rule; several, if they lie in the folder of an `orlop.toml`.
    crates: Vec<Crate>,
    files: Vec<PathBuf>,
    /// Whether the user named a file, and not the folder.
    is_file: bool,
    /// What compiling one of its components may take.
    bounds: Bounds,
}

/// What asks for a new build when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Folders with all that is in them; none lies in another.
    pub(crate) folders: Vec<PathBuf>,
    /// Files outside of these folders, which need not be there.
    pub(crate) files: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
}

impl Project {
    /// Finds out what `path` is: the folder of a crate or a workspace, a folder of components, a folder with an `orlop.toml`
    /// and crates below it, or a file. Nothing is built.
    pub(crate) fn find(path: &Path) -> Result<Self, Mistake> {
        let absolute = path.canonicalize().map_err(|error| {
            Mistake::new(
                format!("cannot read `{}`: {error}", path.display()),
                "name a .wasm file or the folder of a crate that builds one",
            )
        })?;
        if absolute.is_dir() {
            Self::in_folder(path, absolute)
        } else {
            Self::of_file(path, &absolute)
        }
    }

    /// The same, with other bounds than the default for compiling a component.
    pub(crate) fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// The package's name; else that of the folder, or of the file without its extension.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where `orlop.toml` and the example events lie. Absolute.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `orlop.toml`, if there is one now.
    pub(crate) fn manifest(&self) -> Option<PathBuf> {
        Some(self.folder.join(manifest::FILE_NAME)).filter(|path| path.is_file())
    }

    /// Whether there are artifacts alone.
    pub(crate) fn is_built(&self) -> bool {
        self.crates.is_empty() && self.files.iter().all(|file| has_extension(file, ARTIFACT_EXTENSION))
    }

    /// What a change in asks for a new build.
    pub(crate) fn watched(&self) -> Watched {
        let mut folders: BTreeSet<PathBuf> = self.crates.iter().flat_map(|found| found.folders.clone()).collect();
        let mut files = vec![self.folder.join(manifest::FILE_NAME)];
        files.extend(self.crates.iter().flat_map(|found| found.workspace_files.clone()));
        files.extend(self.files.iter().filter_map(|file| std::path::absolute(file).ok()));
        if self.crates.is_empty() && !self.is_file {
            folders.insert(self.folder.clone());
        }
        let all = folders.clone();
        folders.retain(|folder| !all.iter().any(|other| other != folder && folder.starts_with(other)));
        files.retain(|file| !folders.iter().any(|folder| file.starts_with(folder)));
        Watched {
            folders: folders.into_iter().collect(),
            files,
            outputs: self.crates.iter().map(|found| found.target_directory.clone()).collect(),
        }
    }

    /// The folder that `orlop build` fills: below cargo's target directory for crates, else where the components lie.
    pub(crate) fn default_task_root(&self) -> PathBuf {
        match self.crates.first() {
            Some(first) => first.target_directory.join(TASK_ROOTS).join(&self.name),
            None => self.folder.clone(),
        }
    }

    /// Where artifacts for this machine are kept from one [`Self::build_apart`] to the next. Not the folder that a user
    /// takes files from, which may be for another machine.
    fn kept(&self) -> Option<PathBuf> {
        let first = self.crates.first()?;
        Some(first.target_directory.join(TASK_ROOTS).join(KEPT).join(&self.name))
    }

    /// Whether nobody but the tool writes to this folder.
    fn owns(&self, task_root: &Path) -> bool {
        !self.crates.is_empty() && (task_root == self.default_task_root() || Some(task_root) == self.kept().as_deref())
    }

    /// Builds into `task_root`, which is made if it is not there: an artifact for each of the `executions`. One that lies there
    /// already is taken if the component is still the same.
    pub(crate) fn build_into(
        &self,
        task_root: &Path,
        cpu: Cpu,
        executions: &[Execution],
        snapshots: Snapshots,
        progress: &Progress,
    ) -> Result<Built, Mistake> {
        let sources = self.sources(progress)?;
        let code = Code {
            cpu,
            executions,
            snapshots,
        };
        Built::make(self, sources, task_root, code, &[], progress)
    }

    /// Builds for this machine and that kind of execution, into a fresh folder that goes with the last clone of what is
    /// returned. Artifacts that are still good are taken from `before`, an earlier build, and for crates from the last one that
    /// anybody made here.
    pub(crate) fn build_apart(
        &self,
        execution: Execution,
        before: Option<&Built>,
        progress: &Progress,
    ) -> Result<Built, Mistake> {
        let code = Code {
            cpu: processor::baseline()?,
            executions: &[execution],
            snapshots: Snapshots::AsConfigured,
        };
        let sources = self.sources(progress)?;
        let apart = self.fresh_folder()?;
        let Some(kept) = self.kept() else {
            let earlier: Vec<&Path> = before.map(Built::task_root).into_iter().collect();
            return Ok(Built::make(self, sources, apart.path(), code, &earlier, progress)?.in_temporary(apart));
        };
        let last = Built::make(self, sources.clone(), &kept, code, &[], progress)?;
        let built = Built::make(self, sources, apart.path(), code, &[&kept], progress)?;
        Ok(built.in_temporary(apart).compiled_with(&last))
    }

    /// Builds the crates, and returns the components, or artifacts, as files.
    pub(crate) fn components(&self, progress: &Progress) -> Result<Vec<PathBuf>, Mistake> {
        Ok(self.sources(progress)?.into_iter().map(|(_, file)| file).collect())
    }

    fn in_folder(path: &Path, folder: PathBuf) -> Result<Self, Mistake> {
        let has_manifest = folder.join(manifest::FILE_NAME).is_file();
        let manifests = match (is_crate(&folder), has_manifest) {
            (true, _) => vec![folder.clone()],
            (false, true) => crates_below(&folder),
            (false, false) => Vec::new(),
        };
        let crates: Vec<Crate> = manifests
            .iter()
            .map(|folder| Crate::find(folder))
            .collect::<Result<_, _>>()?;
        let files = match crates.is_empty() {
            true => files_in(&folder),
            false => Vec::new(),
        };
        if crates.is_empty() && files.is_empty() {
            return Err(Mistake::new(
                format!("`{}` is a folder without a {}", path.display(), cargo::FILE_NAME),
                format!("name the folder of a guest crate, or a .{COMPONENT_EXTENSION} file"),
            ));
        }
        let name = match crates.as_slice() {
            [only] => only.name.clone(),
            _ => name_of(&folder),
        };
        Ok(Self {
            name,
            folder,
            crates,
            files,
            is_file: false,
            bounds: Bounds::default(),
        })
    }

    fn of_file(path: &Path, file: &Path) -> Result<Self, Mistake> {
        let folder = file.parent().map(Path::to_owned).ok_or_else(|| {
            Mistake::new(
                format!("`{}` lies in no folder", path.display()),
                "name a .wasm file or the folder of a crate that builds one",
            )
        })?;
        Ok(Self {
            name: stem_of(path),
            folder,
            crates: Vec::new(),
            // As the user has written it, for messages.
            files: vec![path.to_owned()],
            is_file: true,
            bounds: Bounds::default(),
        })
    }

    /// Builds the crates, and returns all components by name: what cargo made, what lies in the folder, and what else
    /// `orlop.toml` names.
    fn sources(&self, progress: &Progress) -> Result<Vec<(String, PathBuf)>, Mistake> {
        let mut sources: Vec<(String, PathBuf)> = Vec::new();
        for found in &self.crates {
            for component in found.build(progress)? {
                let name = stem_of(&component);
                if let Some((_, other)) = sources.iter().find(|(taken, _)| *taken == name) {
                    return Err(Mistake::new(
                        format!(
                            "two programs are called {name}: `{}` and `{}`",
                            other.display(),
                            component.display()
                        ),
                        "give one of them another name in its Cargo.toml",
                    ));
                }
                sources.push((name, component));
            }
        }
        let files = self.files.iter().map(|file| (stem_of(file), file.clone()));
        let named = if self.is_file { Vec::new() } else { self.named_files()? };
        for (name, file) in files.chain(named) {
            // The component beside an artifact is the original of the two.
            if !sources.iter().any(|(taken, _)| *taken == name) {
                sources.push((name, file));
            }
        }
        sources.sort();
        Ok(sources)
    }

    /// The files that `orlop.toml` names, wherever below the folder they lie.
    fn named_files(&self) -> Result<Vec<(String, PathBuf)>, Mistake> {
        let manifest = self.read_manifest()?;
        let names = manifest
            .functions
            .iter()
            .map(|(name, function)| function.component.as_ref().unwrap_or(name).as_str());
        let located = names.filter_map(|name| {
            let located = orlop_host::artifact::find(&self.folder, Some(name)).ok()?;
            Some((
                orlop_host::artifact::without_extension(name).to_owned(),
                located.component.or(located.artifact).or(located.concurrent_artifact)?,
            ))
        });
        Ok(located.collect())
    }

    fn read_manifest(&self) -> Result<Manifest, Mistake> {
        Manifest::load(&self.folder).map_err(|error| {
            Mistake::new(
                error,
                format!("mend `{}`", self.folder.join(manifest::FILE_NAME).display()),
            )
        })
    }

    /// A folder for one run: with what cargo made, else with other temporary files; but not below `/tmp`. A function may be
    /// granted all of that, and is then not loaded from there.
    fn fresh_folder(&self) -> Result<Apart, Mistake> {
        let below_target = self.crates.first().map(|first| first.target_directory.join(TASK_ROOTS));
        let places = [
            below_target,
            Some(std::env::temp_dir()),
            Some(PathBuf::from(BESIDE_TMP)),
        ];
        let mut made = places
            .into_iter()
            .flatten()
            .filter(|place| !place.starts_with("/tmp"))
            .filter_map(|place| Apart::new(&place).ok());
        let anywhere = || Apart::new(&std::env::temp_dir());
        made.next().map_or_else(anywhere, Ok).map_err(|error| {
            Mistake::new(
                format!("cannot write a temporary file: {error}"),
                "make room in the temporary directory",
            )
        })
    }
}

impl Watched {
    /// Whether a change of this file can matter: not what a build writes, nor what editors and git keep for themselves.
    pub(crate) fn is_source(&self, path: &Path) -> bool {
        let Some(inside) = self.folders.iter().find_map(|folder| path.strip_prefix(folder).ok()) else {
            return self.files.iter().any(|file| file == path);
        };
        let is_hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".");
        let is_backup = path.as_os_str().as_encoded_bytes().ends_with(b"~");
        let is_output = self.outputs.iter().any(|output| path.starts_with(output));
        !is_backup && !is_output && !inside.iter().any(is_hidden)
    }
}

fn is_crate(folder: &Path) -> bool {
    folder.join(cargo::FILE_NAME).is_file()
}

/// The folders directly below that hold a crate.
fn crates_below(folder: &Path) -> Vec<PathBuf> {
    let mut crates = entries(folder);
    crates.retain(|entry| is_crate(entry));
    crates
}

/// The components of a folder, and the artifacts that have no component beside them.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|file| {
        file.is_file()
            && (has_extension(file, COMPONENT_EXTENSION)
                || has_extension(file, ARTIFACT_EXTENSION)
                    && !file
                        .with_file_name(format!("{}.{COMPONENT_EXTENSION}", stem_of(file)))
                        .is_file())
    });
    files
}

/// Sorted; none, if the folder cannot be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The name of the component in a file, or that an artifact was made of.
fn stem_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.as_deref()
        .map_or("function", |name| component_of(name).unwrap_or(name))
        .to_owned()
}

fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .map_or_else(|| "functions".to_owned(), |name| name.to_string_lossy().into_owned())
}
