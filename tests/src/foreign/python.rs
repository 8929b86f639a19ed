//! Python, made a component by `componentize-py`, which puts an interpreter into each.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Batch, Workshop, copy_files, rust, sources, workspace};
use crate::{Component, tools};

const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";

static PYTHON: Batch = Batch {
    name: "python",
    recipe: include_str!("python.rs"),
    sources: &["tests/foreign/python", "tests/foreign/rust/Cargo.lock", "wit"],
    make,
};

/// The site of `tests/foreign/README.md`, on `wasi:http/incoming-handler@0.2.12`; it imports all of `wasi:http/proxy`.
pub fn python_web() -> Component {
    PYTHON.component("python-web")
}

/// Exports `orlop:function/handler`. It answers `{"event": …, "requestId": …}`, or fails with `Refused` and what the
/// event has as `fail`.
pub fn python_handler() -> Component {
    PYTHON.component("python-handler")
}

/// Exports `wasi:cli/run@0.2.12`. It sorts the lines of stdin, or exits with 3 if one of them is `fail`.
pub fn python_command() -> Component {
    PYTHON.component("python-command")
}

fn make(workshop: &Workshop) {
    let tool = Tool::install(&workshop.scratch.join("packages"));
    // A copy, because Python leaves compiled files beside its sources.
    let folder = workshop.scratch.join("python");
    copy_files(&sources("python"), &folder);
    let wasi = rust::vendor(workshop).join("wasip2/wit");
    for (module, wit, world) in [
        ("web", wasi.as_path(), "wasi:http/proxy@0.2.12"),
        ("command", &wasi, "wasi:cli/command@0.2.12"),
        ("handler", &workspace().join("wit"), "function"),
    ] {
        let component = workshop.output.join(format!("python-{module}.wasm"));
        let mut command = tool.command();
        command.current_dir(&folder).arg("--wit-path").arg(wit);
        command.args(["--world", world, "componentize", module, "--output"]);
        command.arg(component);
        tools::run(command, COMPONENTIZE_PY);
    }
}

struct Tool {
    packages: PathBuf,
}

impl Tool {
    fn install(packages: &Path) -> Self {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(packages)
            .arg(COMPONENTIZE_PY);
        tools::run(
            pip,
            "python3 with pip and access to PyPI; on Debian: apt-get install python3-pip",
        );
        Self {
            packages: packages.to_owned(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.packages.join("bin/componentize-py"));
        command.env("PYTHONPATH", &self.packages);
        command
    }
}
