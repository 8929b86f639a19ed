//! JavaScript, made a component by `componentize-js`, which puts an engine into each. Versions are in its lock file.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Batch, Workshop, copy_files, files, rust, sources, workspace};
use crate::{Component, tools};

/// What the engine speaks, instead of what the WIT at hand has.
const WASI: (&str, &str) = ("0.2.12", "0.2.10");

static JAVASCRIPT: Batch = Batch {
    name: "javascript",
    recipe: include_str!("javascript.rs"),
    sources: &["tests/foreign/javascript", "tests/foreign/rust/Cargo.lock", "wit"],
    make,
};

/// The site of `tests/foreign/README.md`, on `wasi:http/incoming-handler@0.2.10`, by way of the event `fetch`.
pub fn javascript_web() -> Component {
    JAVASCRIPT.component("javascript-web")
}

/// Exports `orlop:function/handler`. It answers `{"event": …, "requestId": …}`, or fails with `Refused` and what the
/// event has as `fail`.
pub fn javascript_handler() -> Component {
    JAVASCRIPT.component("javascript-handler")
}

fn make(workshop: &Workshop) {
    tools::require(&["npm"], "node 20 or newer from elsewhere will do");
    let folder = workshop.scratch.join("javascript");
    copy_files(&sources("javascript"), &folder);
    let mut npm = Command::new("npm");
    npm.current_dir(&folder)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    tools::run(npm, "npm with access to its registry");

    let wit = folder.join("wit");
    copy_files(&rust::vendor(workshop).join("wasip2/wit/deps"), &wit.join("deps"));
    files(&wit.join("deps")).iter().for_each(|file| translate(file));
    fs::rename(folder.join("web.wit"), wit.join("web.wit")).expect("the copy is whole");
    for (source, wit, world) in [
        ("web", wit.as_path(), "web"),
        ("handler", &workspace().join("wit"), "function"),
    ] {
        let mut node = Command::new("node");
        node.current_dir(&folder)
            .args(["build.js", &format!("{source}.js")])
            .arg(wit)
            .arg(world)
            .arg(workshop.output.join(format!("javascript-{source}.wasm")));
        tools::run(node, "node 20 or newer");
    }
}

fn translate(file: &Path) {
    let (old, new) = WASI;
    let text = fs::read_to_string(file).expect("WIT is text");
    fs::write(file, text.replace(old, new)).expect("the cache can be written");
}
