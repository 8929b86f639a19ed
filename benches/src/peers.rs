//! What others use in place of a compiled function: AWS's runtime client for Python, a loop in JavaScript, a loop in bash. Their
//! sources are in `benches/peers`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use orlop_tests::{foreign, tools};

use crate::contestant::ContestantBuilder;

/// The name of the measurement that has all of them greet.
pub(crate) const GREETERS: &str = "peers";
/// The names of the measurements of components that bring an interpreter along.
pub(crate) const PYTHON: &str = "python";
pub(crate) const JAVASCRIPT: &str = "javascript";

/// What it takes to start them.
pub(crate) struct Peers {
    folder: PathBuf,
    python_packages: PathBuf,
}

impl Peers {
    /// Installs AWS's client for Python, once per machine.
    pub(crate) fn install() -> Self {
        tools::require(&["node"], "node 20 or newer from elsewhere will do");
        Self {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"),
            python_packages: tools::awslambdaric(),
        }
    }

    /// The component of the tests that is written in that language, which answers with its event.
    pub(crate) fn component(language: &str) -> PathBuf {
        let component = match language {
            PYTHON => foreign::python_handler(),
            _ => foreign::javascript_handler(),
        };
        component.path().to_owned()
    }

    /// AWS's runtime client for Python, with that function of `app.py`.
    pub(crate) fn python(&self, function: &str) -> ContestantBuilder {
        ContestantBuilder::interpreter("python3", &self.folder.join("python"))
            .variable("PYTHONPATH", &self.python_packages)
            .argument("-m")
            .argument("awslambdaric")
            .argument(format!("app.{function}"))
    }

    /// A loop in JavaScript, with that function of `loop.mjs`.
    pub(crate) fn node(&self, function: &str) -> ContestantBuilder {
        ContestantBuilder::interpreter("node", &self.folder.join("node"))
            .argument("loop.mjs")
            .argument(function)
    }

    /// The loop of `docs/bash-bootstrap.md`.
    pub(crate) fn bash(&self) -> anyhow::Result<ContestantBuilder> {
        let folder = self.folder.join("bash");
        let builder = ContestantBuilder::new(&folder.join("bootstrap"), &folder).context("the loop in bash")?;
        Ok(builder.starts_programs())
    }
}
