//! The artifacts in a folder: whether they would be loaded here, and whether they are what their components are now.

use std::fs;
use std::path::Path;

use orlop_host::artifact::stamp::{Stamp, sha256};
use orlop_host::artifact::{
    ARTIFACT_EXTENSION, Bounds, COMPONENT_EXTENSION, Exposure, artifact_name, component_of, exposure,
};
use orlop_host::config::Functions;
use orlop_host::engine::Execution;
use orlop_host::manifest;

use super::Finding;
use crate::component::read;
use crate::mistake::Mistake;
use crate::project::{entries, has_extension};

pub(super) fn examine(folder: &Path) -> Result<Vec<Finding>, Mistake> {
    if !folder.is_dir() {
        return Err(Mistake::new(
            format!("`{}` is no folder", folder.display()),
            "name a folder of components and artifacts",
        ));
    }
    let files = entries(folder);
    let artifacts = files.iter().filter(|file| has_extension(file, ARTIFACT_EXTENSION));
    let functions = match Functions::all_in(folder) {
        Ok(functions) => functions,
        Err(error) => {
            let help = "mend it; `orlop schema` helps editors to find mistakes";
            return Ok(vec![Finding::problem(manifest::FILE_NAME, error.to_string(), help)]);
        }
    };
    let findings: Vec<Finding> = artifacts.map(|path| examine_one(path, &functions)).collect();
    if findings.is_empty() {
        return Ok(vec![Finding::good(
            "artifacts",
            format!("none in `{}`", folder.display()),
        )]);
    }
    Ok(findings)
}

fn examine_one(path: &Path, functions: &Functions) -> Finding {
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
    let exposed = |exposure: Exposure| {
        let what = match exposure {
            Exposure::File => path,
            Exposure::Folder => path.parent().unwrap_or(path),
        };
        let help = format!("chmod o-w {}", what.display());
        Finding::problem(&*about, format!("{exposure}, and it is refused for that"), help)
    };
    match exposure(path) {
        Ok(None) => {}
        Ok(Some(exposure)) => return exposed(exposure),
        Err(error) => return Finding::problem(about, format!("cannot be read: {error}"), "check who may read it"),
    }
    if let Err(error) = functions.refuse_what_they_could_write(path) {
        return Finding::problem(about, error.to_string(), "keep it where only the deployment writes");
    }
    Finding::good(about, format!("runs here; {}, {}", stamp.engine, stamp.cpu))
}
