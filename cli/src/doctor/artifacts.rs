//! The artifacts in a folder: whether they would be loaded here, and whether they are what their components are now.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orlop_host::artifact::stamp::{Stamp, sha256};
use orlop_host::artifact::{
    self, ARTIFACT_EXTENSION, Bounds, COMPONENT_EXTENSION, Exposure, artifact_name, component_of, exposure,
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
    let mut artifacts = entries(folder);
    artifacts.retain(|file| has_extension(file, ARTIFACT_EXTENSION));
    let names: Vec<String> = artifacts.iter().map(|path| component_in(path)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let functions = match Functions::all_in_and(folder, &names) {
        Ok(functions) => functions,
        Err(error) => {
            let help = "mend it; `orlop schema` helps editors to find mistakes";
            return Ok(vec![Finding::problem(manifest::FILE_NAME, error.to_string(), help)]);
        }
    };
    artifacts.extend(named_elsewhere(folder, &functions));
    let findings: Vec<Finding> = artifacts
        .iter()
        .map(|path| examine_one(folder, path, &functions))
        .collect();
    if findings.is_empty() {
        return Ok(vec![Finding::good(
            "artifacts",
            format!("none in `{}`", folder.display()),
        )]);
    }
    Ok(findings)
}

/// The artifacts of functions whose components are named by a path below the folder.
fn named_elsewhere(folder: &Path, functions: &Functions) -> BTreeSet<PathBuf> {
    let named = functions.functions.iter().flat_map(|function| &function.component);
    let located = named.filter_map(|component| artifact::find(folder, Some(component)).ok());
    let artifacts = located.flat_map(|located| [located.artifact, located.concurrent_artifact]);
    artifacts
        .flatten()
        .filter(|path| path.parent() != Some(folder))
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of the component that an artifact was made of.
fn component_in(artifact: &Path) -> String {
    let name = file_name(artifact);
    component_of(&name).unwrap_or(&name).to_owned()
}

fn examine_one(folder: &Path, path: &Path, functions: &Functions) -> Finding {
    let about = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let name = component_in(path);
    let component = path.with_file_name(format!("{name}.{COMPONENT_EXTENSION}"));
    let kind = match path == path.with_file_name(artifact_name(&name, Execution::Concurrent)) {
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
