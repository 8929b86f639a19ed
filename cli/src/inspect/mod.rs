//! `orlop inspect`: what a component or an artifact is, or what a folder with an `orlop.toml` deploys.

mod artifact;
mod component;
mod deployment;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use orlop_host::artifact::{ARTIFACT_EXTENSION, Bounds};
use orlop_host::manifest;

use crate::component::read;
use crate::mistake::Mistake;
use crate::output;
use crate::project::{Progress, Project};

/// Say what a component is and what the sandbox denies it, what an artifact is for, or what an orlop.toml means.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A component (.wasm), the folder of a crate that builds one, an artifact (.cwasm), an orlop.toml, or the folder
    /// that holds one and its components
    path: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let path = &arguments.path;
    let report = match deployment_in(path) {
        Some(folder) => deployment::describe(&folder)?,
        None if path.is_dir() => {
            let components = Project::find(path)?.components(&Progress::unobtrusive())?;
            let reports: Vec<String> = components.iter().map(|path| describe(path)).collect::<Result<_, _>>()?;
            reports.join("\n")
        }
        None => describe(path)?,
    };
    output::write(&mut std::io::stdout(), &[report.as_bytes()])?;
    Ok(ExitCode::SUCCESS)
}

fn describe(path: &Path) -> Result<String, Mistake> {
    if path
        .extension()
        .is_some_and(|extension| extension == ARTIFACT_EXTENSION)
    {
        return artifact::describe(path);
    }
    component::describe(path, &read(path, &Bounds::default())?)
}

/// The folder of the orlop.toml that is meant, if one is.
fn deployment_in(path: &Path) -> Option<PathBuf> {
    if path.file_name().is_some_and(|name| name == manifest::FILE_NAME) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        return Some(folder.unwrap_or(Path::new(".")).to_owned());
    }
    path.join(manifest::FILE_NAME).is_file().then(|| path.to_owned())
}
