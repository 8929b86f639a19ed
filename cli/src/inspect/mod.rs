//! `orlop inspect`: what a component is, or what a folder with an `orlop.toml` deploys.

mod component;
mod deployment;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use orlop_host::manifest;

use crate::component::Runnable;
use crate::mistake::Mistake;
use crate::output;

/// Say which world a component belongs to, what it imports, and what the sandbox denies it; or what an orlop.toml means.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A component (.wasm), the folder of a crate that builds one, an orlop.toml, or the folder that holds one and its components
    path: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let path = &arguments.path;
    let report = match deployment_in(path) {
        Some(folder) => deployment::describe(&folder)?,
        None => match Runnable::new(path)? {
            Runnable::Component(path, bytes) => component::describe(&path, &bytes)?,
            Runnable::Artifact(path) => {
                return Err(Mistake::new(
                    format!(
                        "`{}` is machine code, which hides what the component was",
                        path.display()
                    ),
                    "inspect the .wasm it was made of",
                ));
            }
        },
    };
    output::write(&mut std::io::stdout(), &[report.as_bytes()])?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of the orlop.toml that is meant, if one is.
fn deployment_in(path: &Path) -> Option<PathBuf> {
    if path.file_name().is_some_and(|name| name == manifest::FILE_NAME) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        return Some(folder.unwrap_or(Path::new(".")).to_owned());
    }
    path.join(manifest::FILE_NAME).is_file().then(|| path.to_owned())
}
