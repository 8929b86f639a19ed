//! The artifacts in a folder: whether they would be loaded here, and whether they are what their components are now.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orlop_host::artifact::stamp::{Stamp, sha256};
use orlop_host::artifact::{ARTIFACT_EXTENSION, Bounds, COMPONENT_EXTENSION, artifact_name, component_of};
use orlop_host::engine::Execution;

use super::Finding;
use crate::component::read;
use crate::mistake::Mistake;
use crate::project::{entries, has_extension};

/// That others than the owner and the group may write a file.
const OTHERS_WRITE: u32 = 0o002;

pub(super) fn examine(folder: &Path) -> Result<Vec<Finding>, Mistake> {
    if !folder.is_dir() {
        return Err(Mistake::new(
            format!("`{}` is no folder", folder.display()),
            "name a folder of components and artifacts",
        ));
    }
    let files = entries(folder);
    let artifacts = files.iter().filter(|file| has_extension(file, ARTIFACT_EXTENSION));
    let findings: Vec<Finding> = artifacts.map(|path| examine_one(path)).collect();
    if findings.is_empty() {
        return Ok(vec![Finding::good(
            "artifacts",
            format!("none in `{}`", folder.display()),
        )]);
    }
    Ok(findings)
}

fn examine_one(path: &Path) -> Finding {
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let about = file_name(path);
    let name = component_of(&about).unwrap_or(&about);
    let component = path.with_file_name(format!("{name}.{COMPONENT_EXTENSION}"));
    let kind = match path == path.with_file_name(artifact_name(name, Execution::Concurrent)) {
        true => " --execution concurrent",
        false => "",
    };
    let again = format!("orlop compile {}{kind}", component.display());
    let artifact = match fs::read(path) {
        Ok(artifact) => artifact,
        Err(error) => return Finding::problem(about, format!("cannot be read: {error}"), "check who may read it"),
    };
    let stamp = match Stamp::verify(&artifact) {
        Ok((stamp, _)) => stamp,
        Err(error) => return Finding::problem(about, error.to_string(), again),
    };
    let execution = Execution::named(&stamp.kind).unwrap_or(Execution::Sequential);
    if let Err(misfit) = stamp.check_fit(execution) {
        let option = misfit.option.map_or_else(String::new, |option| format!(" {option}"));
        return Finding::problem(about, misfit.reason, format!("{again}{option}"));
    }
    if component.is_file() {
        match read(&component, &Bounds::default()) {
            Ok(bytes) if sha256(&bytes) == stamp.source_sha256 => {}
            Ok(_) => {
                let what = format!("was made of another {} than the one beside it", file_name(&component));
                return Finding::problem(about, what, again);
            }
            Err(_) => {
                let what = format!("the {} beside it cannot be read", file_name(&component));
                return Finding::problem(about, what, "check who may read it, and whether it is whole");
            }
        }
    }
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & OTHERS_WRITE != 0 {
        let help = format!("chmod o-w {}", path.display());
        return Finding::problem(about, "can be written by everybody, and is refused for it", help);
    }
    Finding::good(about, format!("runs here; {}, {}", stamp.engine, stamp.cpu))
}
