//! Loads a component into the engine: mapped, copied, or compiled. The one place where machine code that was made before enters
//! the process.

use std::error::Error;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::iter;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::stamp::{FOOTER_BYTES, MAX_STAMP_BYTES, Misfit, Stamp};
use super::{Bounds, Located, MAX_ARTIFACT_BYTES, artifact_name};
#[cfg(feature = "compiler")]
use crate::engine::Target;
use crate::engine::{self, Engines, Execution, Features};
use crate::error::InitError;
use crate::shortage;

/// When an artifact's digest is checked before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Wherever the file could have changed since it was made. On a read-only mount, as in a Lambda image, stamp and length
    /// have to fit and the file is mapped as it is: hashing it would undo what mapping gains.
    WhereChangeable,
    /// Always.
    Always,
}

/// A component in the engine.
pub struct Loaded {
    /// The component.
    pub component: Component,
    /// What it needs beyond the features of stock toolchains, and what its engine therefore has.
    pub features: Features,
    /// The kind of its code.
    pub code: Execution,
    /// Where it came from.
    pub origin: Origin,
    /// How long that took.
    pub elapsed: Duration,
}

/// How a component came into the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The artifact's file was mapped into memory.
    Mapped,
    /// The artifact was read, its digest checked, and copied into memory.
    Copied,
    /// The component was compiled.
    Compiled {
        /// Why no artifact was used.
        reason: String,
    },
}

impl Origin {
    /// Its name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Copied => "copied",
            Self::Compiled { .. } => "compiled",
        }
    }
}

/// Why a component could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be used by anyone.
    Unusable(InitError),
    /// There is a component, no artifact that fits, and no compiler in this program.
    NeedsCompiler {
        /// The component's file name, without its extension.
        name: String,
        /// Why no artifact fits.
        reason: String,
        /// How guests will be run.
        execution: Execution,
    },
}

impl From<InitError> for LoadError {
    fn from(error: InitError) -> Self {
        Self::Unusable(error)
    }
}

impl LoadError {
    /// The same where there is no compiler to be had.
    pub fn without_compiler(self) -> InitError {
        match self {
            Self::Unusable(error) => error,
            Self::NeedsCompiler {
                name,
                reason,
                execution,
            } => InitError::InvalidComponent {
                reason: format!(
                    "{reason}, and this program has no compiler; precompile it with `{}`, or put `orlop` beside `bootstrap`",
                    command(&name, execution, None)
                ),
                name,
            },
        }
    }
}

/// What makes the artifact that a process needs which runs guests in that way.
fn command(name: &str, execution: Execution, option: Option<String>) -> String {
    let artifact = artifact_name(name, execution);
    let for_it = match execution {
        Execution::Sequential => String::new(),
        Execution::Concurrent => format!(" --execution {}", execution.name()),
    };
    let option = option.map_or_else(String::new, |option| format!(" {option}"));
    format!("orlop compile {name}.wasm -o {artifact}{for_it}{option}")
}

/// Loads the artifact if there is one that fits, else compiles the component, within these bounds.
///
/// # Errors
///
/// [`LoadError`].
pub fn load(
    engines: &Engines,
    located: &Located,
    verification: Verification,
    bounds: &Bounds,
) -> Result<Loaded, LoadError> {
    let started = Instant::now();
    let reason = match located.artifact_for(engines.execution()) {
        None => "there is no precompiled artifact for it".to_owned(),
        Some(path) => match load_artifact(engines, path, verification) {
            Ok((component, stamp, code, origin)) => {
                return Ok(Loaded {
                    component,
                    features: stamp.features,
                    code,
                    origin,
                    elapsed: started.elapsed(),
                });
            }
            Err(Refusal::Unusable(reason)) => {
                return Err(LoadError::Unusable(InitError::InvalidComponent {
                    name: located.name.clone(),
                    reason,
                }));
            }
            Err(Refusal::Shortage(reason)) => {
                return Err(LoadError::Unusable(InitError::Host {
                    doing: format!("loading the artifact `{}`", file_name(path)),
                    reason,
                }));
            }
            Err(Refusal::Unfit(Misfit { reason, option })) => format!(
                "the artifact `{}` is refused: {reason}; make it again with `{}`",
                file_name(path),
                command(&located.name, engines.execution(), option)
            ),
        },
    };
    match &located.component {
        Some(path) => compile(engines, &located.name, path, bounds, reason, started),
        None => Err(LoadError::Unusable(InitError::InvalidComponent {
            name: located.name.clone(),
            reason,
        })),
    }
}

#[cfg(feature = "compiler")]
fn compile(
    engines: &Engines,
    name: &str,
    path: &Path,
    bounds: &Bounds,
    reason: String,
    started: Instant,
) -> Result<Loaded, LoadError> {
    let unusable = |reason| {
        LoadError::Unusable(InitError::InvalidComponent {
            name: name.to_owned(),
            reason,
        })
    };
    let cpu = Target::host()
        .map(Target::baseline)
        .ok_or_else(|| unusable("Orlop does not compile for processors like this machine's".to_owned()))?;
    let code = engines.execution();
    let artifact = super::compile::read_component(path, bounds)
        .and_then(|component| super::compile::compile(&component, cpu, code, bounds))
        .map_err(|error| unusable(crate::error::chain(&error)))?;
    let (component, stamp, _) = checked(engines, &artifact).map_err(|refusal| unusable(refusal.reason()))?;
    let features = stamp.features;
    Ok(Loaded {
        component,
        features,
        code,
        origin: Origin::Compiled { reason },
        elapsed: started.elapsed(),
    })
}

#[cfg(not(feature = "compiler"))]
fn compile(
    engines: &Engines,
    name: &str,
    _path: &Path,
    _bounds: &Bounds,
    reason: String,
    _started: Instant,
) -> Result<Loaded, LoadError> {
    Err(LoadError::NeedsCompiler {
        name: name.to_owned(),
        reason,
        execution: engines.execution(),
    })
}

/// Why an artifact is not used.
enum Refusal {
    /// It is not ours, not whole, or not for this machine.
    Unfit(Misfit),
    /// It needs more than a sandbox may have, or than this program has, and so would the component it was made of.
    Unusable(String),
    /// This process has too little to load it; see [`shortage`].
    Shortage(String),
}

#[cfg(feature = "compiler")]
impl Refusal {
    fn reason(self) -> String {
        match self {
            Self::Unfit(misfit) => misfit.reason,
            Self::Unusable(reason) | Self::Shortage(reason) => reason,
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Unfit(Misfit { reason, option: None })
    }
}

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Self {
        Self::Unfit(misfit)
    }
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        if let Some(reason) = engine::limit_behind(&error) {
            return Self::Unusable(reason);
        }
        match shortage::behind(error.chain()) {
            Some(reason) => Self::Shortage(reason),
            None => format!("{error:#}").into(),
        }
    }
}

fn load_artifact(
    engines: &Engines,
    path: &Path,
    verification: Verification,
) -> Result<(Component, Stamp, Execution, Origin), Refusal> {
    let reading = |error: io::Error| match shortage::behind(iter::once(&error as &dyn Error)) {
        Some(reason) => Refusal::Shortage(reason),
        None => format!("reading it failed: {error}").into(),
    };
    let file = File::open(path).map_err(reading)?;
    let metadata = file.metadata().map_err(reading)?;
    let file_bytes = metadata.len();
    if file_bytes > MAX_ARTIFACT_BYTES {
        return Err(format!("it is larger than {MAX_ARTIFACT_BYTES} bytes").into());
    }
    let is_unchangeable = is_unchangeable(&file);
    if !is_unchangeable {
        refuse_what_anybody_writes(path, &metadata)
            .map_err(|exposure| format!("{exposure}; take that away with `chmod o-w`"))?;
    }
    if is_unchangeable && verification == Verification::WhereChangeable {
        let tail_bytes = file_bytes.min((FOOTER_BYTES + MAX_STAMP_BYTES) as u64);
        let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
        file.read_exact_at(&mut tail, file_bytes - tail_bytes)
            .map_err(reading)?;
        let stamp = Stamp::read(&tail, file_bytes).map_err(|error| error.to_string())?;
        let code = stamp.check_fit(engines.execution())?;
        let engine = engine(engines, stamp.features, code)?;
        #[expect(
            unsafe_code,
            reason = "stamped by our own compiler, on a mount that nobody can write"
        )]
        // SAFETY: the stamp says that this build of the engine made the file, and the read-only mount keeps it as it was
        // made while it is mapped.
        let component = unsafe { Component::deserialize_file(engine, path) };
        return Ok((component?, stamp, code, Origin::Mapped));
    }
    let mut artifact = Vec::with_capacity(usize::try_from(file_bytes).unwrap_or(0) + 1);
    file.take(MAX_ARTIFACT_BYTES)
        .read_to_end(&mut artifact)
        .map_err(reading)?;
    let (component, stamp, code) = checked(engines, &artifact)?;
    Ok((component, stamp, code, Origin::Copied))
}

/// What anybody can write who is on this machine, and an artifact is therefore refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exposure {
    /// The artifact.
    #[error("everybody can write it")]
    File,
    /// The place where it lies.
    #[error("everybody can write the folder it lies in")]
    Folder,
}

/// What the artifact at that path would be refused for, if there is anything: see [`Exposure`].
///
/// # Errors
///
/// Of the operating system, if the artifact cannot be opened.
pub fn exposure(path: &Path) -> io::Result<Option<Exposure>> {
    let file = File::open(path)?;
    Ok(match is_unchangeable(&file) {
        true => None,
        false => refuse_what_anybody_writes(path, &file.metadata()?).err(),
    })
}

/// Whether it lies on a read-only mount.
fn is_unchangeable(file: &File) -> bool {
    fstatvfs(file.as_fd()).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Its digest shows that an artifact is whole, and not who made it. Where anybody can write it, or put another in its place,
/// anybody decides what this process runs. In a folder like `/tmp` everybody has files of their own.
fn refuse_what_anybody_writes(path: &Path, metadata: &Metadata) -> Result<(), Exposure> {
    const OTHERS_WRITE: u32 = 0o002;
    const OWN_FILES_ONLY: u32 = 0o1000;
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(Exposure::File);
    }
    let folder = path.parent().and_then(|folder| folder.metadata().ok());
    let mode = folder.map_or(0, |folder| folder.mode());
    if mode & OTHERS_WRITE != 0 && mode & OWN_FILES_ONLY == 0 {
        return Err(Exposure::Folder);
    }
    Ok(())
}

/// Loads an artifact that is in memory, once its digest has been checked.
fn checked(engines: &Engines, artifact: &[u8]) -> Result<(Component, Stamp, Execution), Refusal> {
    let (stamp, machine_code) = Stamp::verify(artifact).map_err(|error| error.to_string())?;
    let code = stamp.check_fit(engines.execution())?;
    let engine = engine(engines, stamp.features, code)?;
    #[expect(unsafe_code, reason = "stamped by our own compiler, and its digest was just checked")]
    // SAFETY: the bytes are the ones that were digested, in memory that nobody else can write; the stamp says that this build
    // of the engine made them.
    let component = unsafe { Component::deserialize(engine, machine_code) };
    Ok((component?, stamp, code))
}

/// The engine for a component with those features, if this program has them.
fn engine(engines: &Engines, features: Features, code: Execution) -> Result<&Engine, Refusal> {
    match features.objection() {
        Some(reason) => Err(Refusal::Unusable(reason.to_owned())),
        None => Ok(engines.with(features, code)?),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
