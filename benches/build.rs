//! Makes native functions of the examples, so that a peer runs the very code that the guest runs.
//!
//! An example differs from its native twin in the attribute on its handler only, which would write a `main` for a guest.

use std::path::{Path, PathBuf};
use std::{env, fs};

const EXAMPLES: [&str; 2] = ["hello", "api-gateway"];
const ATTRIBUTE: &str = "#[handler]\n";

fn main() {
    let output = variable("OUT_DIR");
    let examples = variable("CARGO_MANIFEST_DIR").join("../examples");
    for example in EXAMPLES {
        let source = examples.join(example).join("src/main.rs");
        println!("cargo::rerun-if-changed={}", source.display());
        fs::write(output.join(format!("{example}.rs")), native(&source)).expect("OUT_DIR can be written");
    }
}

fn native(source: &Path) -> String {
    let text = fs::read_to_string(source).unwrap_or_else(|error| panic!("cannot read {}: {error}", source.display()));
    assert_eq!(
        text.matches(ATTRIBUTE).count(),
        1,
        "{} should have one line {ATTRIBUTE:?}",
        source.display()
    );
    // A file that is included cannot begin with the documentation of a module.
    text.replace(ATTRIBUTE, "")
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by variables"
)]
fn variable(name: &str) -> PathBuf {
    env::var_os(name).expect("cargo sets it").into()
}
