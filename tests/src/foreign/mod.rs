//! Components of other toolchains, and programs of other people: what `wasmtime` runs, Orlop has to run.
//!
//! Each is built once per machine, from pinned packages and from the sources in `tests/foreign`, and kept beside the
//! tools. A change of a source, or of the module here that builds it, builds it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Component, tools};

mod c;
mod javascript;
mod python;
mod rust;

pub use c::c_upper;
pub use javascript::{javascript_handler, javascript_web};
pub use python::{python_command, python_handler, python_web};
pub use rust::{
    htmlq, jsonxf, pulldown_cmark, ripgrep, rust_web_03, wasip3_command, wasip3_http, wasip3_http_compat,
    wstd_http_client, wstd_http_server, wstd_http_server_proxy, wstd_tcp_echo_server,
};

/// Components that are built together.
struct Batch {
    name: &'static str,
    /// The text of the module that builds them, versions included.
    recipe: &'static str,
    /// Further files, and folders with the files directly in them, that they are built from; below the workspace.
    sources: &'static [&'static str],
    make: fn(&Workshop),
}

/// Where a batch is built.
struct Workshop {
    /// For whatever is needed on the way.
    scratch: PathBuf,
    /// What is put here is kept.
    output: PathBuf,
}

impl Batch {
    /// One of the batch, built if need be.
    ///
    /// # Panics
    ///
    /// If it cannot be built, with what is missing.
    fn component(&self, name: &'static str) -> Component {
        let kept = tools::cache().join(format!("foreign-{}-{}", self.name, self.digest()));
        tools::install(&kept, self.name, |scratch| {
            let workshop = Workshop {
                scratch: scratch.to_owned(),
                output: scratch.join("components"),
            };
            fs::create_dir(&workshop.output).expect("the cache can be written");
            (self.make)(&workshop);
            fs::rename(&workshop.output, &kept).expect("a folder can be renamed within the cache");
        });
        let path = kept.join(name).with_extension("wasm");
        assert!(path.is_file(), "{} was built without {}", self.name, path.display());
        let path = path.into_os_string().into_string().expect("the cache has a plain name");
        // A few bytes a test, as long as the others live in constants.
        Component::new(name, path.leak())
    }

    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.recipe);
        for source in self.sources {
            files(&workspace().join(source))
                .iter()
                .for_each(|file| add(&mut digest, file));
        }
        let digest = digest.finalize();
        digest.iter().take(8).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        })
    }
}

impl Workshop {
    /// Keeps this file as the component of that name.
    fn keep(&self, file: &Path, name: &str) {
        let kept = self.output.join(name).with_extension("wasm");
        fs::copy(file, kept).unwrap_or_else(|error| panic!("cannot copy {}: {error}", file.display()));
    }
}

/// Adds the name and content of a file.
fn add(digest: &mut Sha256, file: &Path) {
    let content = fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    digest.update(file.file_name().unwrap_or_default().as_encoded_bytes());
    digest.update(content.len().to_le_bytes());
    digest.update(content);
}

/// Copies the files of a folder into another one, which is made.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the cache can be written");
    for file in files(from) {
        let copy = to.join(file.file_name().expect("an entry of a folder has a name"));
        fs::copy(&file, copy).unwrap_or_else(|error| panic!("cannot copy {}: {error}", file.display()));
    }
}

/// The files directly in a folder, or the file itself, in a fixed order; what a build leaves in folders there does not
/// count.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("cannot list {}: {error}", path.display()));
    let mut paths = entries
        .map(|entry| entry.expect("the listing stays readable").path())
        .filter(|path| path.is_file())
        .collect::<Vec<_>>();
    paths.sort();
    paths
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
}

/// The sources of one language.
fn sources(folder: &str) -> PathBuf {
    workspace().join("tests/foreign").join(folder)
}
