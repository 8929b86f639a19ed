//! What building a guest in Rust needs. Components of other toolchains need none of it.

use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::project::GUEST_TARGET;

pub(super) fn examine() -> Vec<Finding> {
    let Some(version) = said(Command::new("cargo").arg("--version")) else {
        return vec![Finding::warning(
            "toolchain",
            "there is no cargo; `build`, `invoke` and `dev` take components, and no crates",
            "install Rust (https://rustup.rs)",
        )];
    };
    let library = said(Command::new("rustc").args(["--print", "target-libdir", "--target", GUEST_TARGET]));
    let target = match library {
        Some(path) if Path::new(&path).is_dir() => Finding::good("target", format!("{GUEST_TARGET} is installed")),
        Some(_) | None => Finding::warning(
            "target",
            format!("{GUEST_TARGET} is not installed, so no crate of a guest can be built"),
            format!("rustup target add {GUEST_TARGET}"),
        ),
    };
    vec![Finding::good("toolchain", version), target]
}

/// What a command says on stdout, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
