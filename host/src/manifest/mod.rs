//! The file `orlop.toml` in the task root: which functions there are, what each may do, and which events are for it.
//!
//! The file is optional, and so is everything in it. What it says comes after the defaults and before the variables
//! `ORLOP_*`. An unknown key is an error, so that a misspelt limit is never a missing limit.

mod complaint;
mod facts;
mod function;
pub mod grants;
mod outbound;
mod patterns;
pub mod routes;
mod values;

#[cfg(feature = "schema")]
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

pub use complaint::ManifestError;
use complaint::{Document, element, nearest_of};
pub use facts::EventFacts;
pub use function::{BatchMode, Function, LimitSettings, ResponseMode, World};
pub use grants::Grants;
pub use outbound::{Outbound, Scheme};
pub use patterns::{ArnPattern, Methods, PathPattern, Source};
pub use routes::{Route, Routes};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use values::{Argument, Count, Name, Size, Timeout, UrlPath, VariableName, Variables};

use crate::error::InitError;

/// The file's name.
pub const FILE_NAME: &str = "orlop.toml";
/// The largest file that is read, in bytes: room for some ten thousand functions.
const LARGEST_FILE: u64 = 4 << 20;

/// What the file says. Without a file, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "orlop.toml"))]
pub struct Manifest {
    /// What holds for every function that does not say otherwise. Tables are merged key by key; a list is replaced as a
    /// whole.
    #[cfg_attr(feature = "schema", schemars(extend("not" = { "required": ["component"] })))]
    pub defaults: Function,
    /// The functions, by name: a handler's name.
    pub functions: BTreeMap<Name, Function>,
    /// Which function an event is for: that of the first route whose every condition holds.
    pub routes: Routes,
}

impl Manifest {
    /// Reads the file of a task root. Without one, the manifest is empty.
    ///
    /// # Errors
    ///
    /// If there is something of that name that is no readable file of UTF-8, or as [`Manifest::parse`].
    pub fn load(task_root: &Path) -> Result<Self, ManifestError> {
        let path = task_root.join(FILE_NAME);
        let unreadable = |error: std::io::Error| ManifestError::of_the_file(format!("it cannot be read: {error}"));
        match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if !metadata.is_file() => return Err(ManifestError::of_the_file("it is not a file")),
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        file.take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        check_size(bytes.len())?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            ManifestError {
                line: Some(1 + before.filter(|byte| **byte == b'\n').count()),
                message: "there are bytes that are not UTF-8; save the file as UTF-8".to_owned(),
            }
        })?;
        Self::parse(text)
    }

    /// Reads the text of the file. The functions have their defaults filled in.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line, key and value, and the form that would be accepted.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        check_size(text.len())?;
        let document = Document::new(text)?;
        let mut table = document.table();
        fill_in_defaults(&mut table);
        let manifest = Self::deserialize(ValueDeserializer::from(table)).map_err(|error| document.explain(&error))?;
        manifest.check(&document)?;
        Ok(manifest)
    }

    /// What holds for the function of a handler's name, which may carry the extension of a component.
    pub fn function(&self, handler: &str) -> &Function {
        let name = values::without_extension(handler);
        self.functions.get(name).unwrap_or(&self.defaults)
    }

    /// What no single value shows to be wrong.
    fn check(&self, document: &Document<'_>) -> Result<(), ManifestError> {
        let path = |steps: &[&str]| steps.iter().map(ToString::to_string).collect::<Vec<String>>();
        if self.defaults.component.is_some() {
            return Err(document.complain(
                &path(&["defaults", "component"]),
                "a component is for one function: name it in [functions.NAME]",
            ));
        }
        check_grants(&self.defaults, &path(&["defaults"]), document)?;
        for (name, function) in &self.functions {
            check_grants(function, &path(&["functions", name.as_str()]), document)?;
        }
        for (index, route) in self.routes.iter().enumerate() {
            let element = element(index);
            if !self.functions.contains_key(&route.function) {
                let names = self.functions.keys().map(Name::as_str);
                let says = match nearest_of(route.function.as_str(), names) {
                    Some(nearest) => format!("there is no [functions.{}]; the nearest is {nearest}", route.function),
                    None => format!("there is no [functions.{}], nor any other", route.function),
                };
                return Err(document.complain(&path(&["routes", &element, "function"]), &says));
            }
            if let Some(reason) = route.contradiction() {
                let says = format!("has conditions that never hold together: {reason}");
                return Err(document.complain(&path(&["routes", &element]), &says));
            }
        }
        Ok(())
    }
}

impl From<ManifestError> for InitError {
    fn from(error: ManifestError) -> Self {
        Self::InvalidConfiguration(error.to_string())
    }
}

fn check_size(bytes: usize) -> Result<(), ManifestError> {
    if bytes as u64 > LARGEST_FILE {
        return Err(ManifestError::of_the_file(format!(
            "it is larger than {LARGEST_FILE} bytes; is it the right file?"
        )));
    }
    Ok(())
}

fn check_grants(function: &Function, path: &[String], document: &Document<'_>) -> Result<(), ManifestError> {
    let misplaced = |grant: &grants::AwsGrant| grant.bucket.is_some() && grant.service.as_str() != "s3";
    match function.grants.aws.iter().position(misplaced) {
        None => Ok(()),
        Some(index) => {
            let steps = ["grants", "aws", &element(index), "bucket"].map(str::to_owned);
            let path: Vec<String> = path.iter().cloned().chain(steps).collect();
            Err(document.complain(&path, "only the service \"s3\" has buckets"))
        }
    }
}

/// Gives every function the keys of `[defaults]` that it does not have. What is not of the right type is left for the
/// types to complain about.
fn fill_in_defaults(file: &mut Spanned<DeValue<'_>>) {
    let DeValue::Table(file) = file.get_mut() else {
        return;
    };
    let Some(DeValue::Table(defaults)) = file.get("defaults").map(|value| value.get_ref().clone()) else {
        return;
    };
    let Some(DeValue::Table(functions)) = file.get_mut("functions").map(Spanned::get_mut) else {
        return;
    };
    for (_, function) in functions.iter_mut() {
        if let DeValue::Table(function) = function.get_mut() {
            inherit(function, &defaults);
        }
    }
}

fn inherit<'a>(table: &mut DeTable<'a>, defaults: &DeTable<'a>) {
    for (key, default) in defaults.iter() {
        match (
            table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut),
            default.get_ref(),
        ) {
            (None, _) => {
                table.insert(key.clone(), default.clone());
            }
            (Some(DeValue::Table(table)), DeValue::Table(default)) => inherit(table, default),
            (Some(_), _) => {}
        }
    }
}
