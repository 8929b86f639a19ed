//! From a handler's name to a component that the engine can instantiate.
//!
//! `NAME.cwasm` is a precompiled component: machine code, and therefore loaded only if its stamp says that this very build of
//! the engine made it, for this kind of processor, and if it is what was written. `NAME.wasm` is a component as toolchains
//! make it; it is compiled at Init by programs that contain the compiler.

#[cfg(feature = "compiler")]
pub mod compile;
#[cfg(feature = "compiler")]
pub mod jail;
mod load;
#[cfg(feature = "compiler")]
pub mod snapshot;
pub mod stamp;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use load::{Exposure, LoadError, Loaded, Origin, Verification, exposure, load};

use crate::engine::Execution;
use crate::error::InitError;

/// The file name extension of a precompiled component.
pub const ARTIFACT_EXTENSION: &str = "cwasm";
/// What stands before the extension of an artifact for [`Execution::Concurrent`], so that one folder has room for both kinds.
pub const CONCURRENT_MARK: &str = "concurrent";
/// The file name extension of a component.
pub const COMPONENT_EXTENSION: &str = "wasm";

/// A larger artifact is neither read nor mapped.
const MAX_ARTIFACT_BYTES: u64 = 1 << 30;

/// What compiling a component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The memory that the compiler writes to, in bytes.
    pub memory_bytes: u64,
    /// How long it may take.
    pub time: Duration,
    /// What its `init` may take for a snapshot, beside that.
    pub init: InitBounds,
    /// The largest component that is read, in bytes.
    pub component_bytes: u64,
}

/// What the `init` of a component may take when a snapshot is taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitBounds {
    /// How long it may run.
    pub time: Duration,
    /// The memory that it may leave, in bytes. The compiler's bound holds as well.
    pub memory_bytes: u64,
}

impl Default for Bounds {
    /// Enough for an interpreter of a language with its libraries, on a slow machine.
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            time: Duration::from_secs(120),
            init: InitBounds {
                time: Duration::from_secs(300),
                memory_bytes: 1 << 30,
            },
            component_bytes: 128 << 20,
        }
    }
}

/// The files of one handler; at least one of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The handler's name, without an extension.
    pub name: String,
    /// The precompiled component, `NAME.cwasm`.
    pub artifact: Option<PathBuf>,
    /// The precompiled component for concurrent execution, `NAME.concurrent.cwasm`.
    pub concurrent_artifact: Option<PathBuf>,
    /// The component, `NAME.wasm`.
    pub component: Option<PathBuf>,
}

impl Located {
    /// The artifact that is looked at by a process that runs guests in that way: the one whose name says that it is for it,
    /// else the other one, which may fit all the same.
    pub fn artifact_for(&self, execution: Execution) -> Option<&Path> {
        let [first, second] = match execution {
            Execution::Sequential => [&self.artifact, &self.concurrent_artifact],
            Execution::Concurrent => [&self.concurrent_artifact, &self.artifact],
        };
        first.as_deref().or(second.as_deref())
    }
}

/// The name of the artifact of a component in that kind of code, without its folder: `NAME.cwasm` or
/// `NAME.concurrent.cwasm`.
pub fn artifact_name(component: &str, code: Execution) -> String {
    match code {
        Execution::Sequential => format!("{component}.{ARTIFACT_EXTENSION}"),
        Execution::Concurrent => format!("{component}.{CONCURRENT_MARK}.{ARTIFACT_EXTENSION}"),
    }
}

/// Finds the files of `handler` in `task_root`, or those of the only handler there.
///
/// A handler's name may carry its extension, and may be a path below the task root.
///
/// # Errors
///
/// [`InitError::ComponentNotFound`] with what is there instead; [`InitError::HandlerNotFound`] if nothing was named and there
/// is more than one choice.
pub fn find(task_root: &Path, handler: Option<&str>) -> Result<Located, InitError> {
    let Some(handler) = handler else {
        let names = names_in(task_root)?;
        return match names.as_slice() {
            [name] => Ok(located(task_root, name)),
            [] => Err(InitError::ComponentNotFound {
                handler: "(none given)".to_owned(),
                task_root: task_root.to_owned(),
                found: found(task_root, &names),
            }),
            _ => Err(InitError::HandlerNotFound(format!(
                "no handler was named, and `{}` holds {}: {}; name one as the image's CMD or the function's handler setting",
                task_root.display(),
                names.len(),
                names.join(", ")
            ))),
        };
    };
    let located = located(task_root, without_extension(handler));
    let Located {
        name: _,
        artifact,
        concurrent_artifact,
        component,
    } = &located;
    if artifact.is_none() && concurrent_artifact.is_none() && component.is_none() {
        return Err(InitError::ComponentNotFound {
            handler: handler.to_owned(),
            task_root: task_root.to_owned(),
            found: found(task_root, &names_in(task_root)?),
        });
    }
    Ok(located)
}

/// A handler's name without the extension that it may carry.
pub fn without_extension(handler: &str) -> &str {
    [ARTIFACT_EXTENSION, COMPONENT_EXTENSION]
        .iter()
        .find_map(|extension| handler.strip_suffix(extension)?.strip_suffix('.'))
        .unwrap_or(handler)
}

fn located(task_root: &Path, name: &str) -> Located {
    let file = |name: String| Some(task_root.join(name)).filter(|path| path.is_file());
    Located {
        name: Path::new(name)
            .file_name()
            .map_or(name.to_owned(), |name| name.to_string_lossy().into_owned()),
        artifact: file(artifact_name(name, Execution::Sequential)),
        concurrent_artifact: file(artifact_name(name, Execution::Concurrent)),
        component: file(format!("{name}.{COMPONENT_EXTENSION}")),
    }
}

/// The names of all handlers in a folder, sorted; none if there is no folder.
fn names_in(task_root: &Path) -> Result<Vec<String>, InitError> {
    let entries = match task_root.read_dir() {
        Ok(entries) => entries,
        Err(_) if !task_root.is_dir() => return Ok(Vec::new()),
        Err(error) => {
            let doing = format!("looking for components in `{}`", task_root.display());
            return Err(InitError::host(doing, &error));
        }
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .filter_map(|path| component_of(path.file_name()?.to_str()?).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The name of the component that a file of this name is, or was made of.
pub fn component_of(file_name: &str) -> Option<&str> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    match extension {
        ARTIFACT_EXTENSION => Some(match stem.rsplit_once('.') {
            Some((component, CONCURRENT_MARK)) => component,
            Some(_) | None => stem,
        }),
        COMPONENT_EXTENSION => Some(stem),
        _ => None,
    }
}

fn found(task_root: &Path, names: &[String]) -> String {
    match (task_root.is_dir(), names) {
        (false, _) => "that folder does not exist; set LAMBDA_TASK_ROOT, or copy the component to /var/task".to_owned(),
        (true, []) => "there is no .cwasm or .wasm file in it".to_owned(),
        (true, names) => format!("it holds {}", names.join(", ")),
    }
}
