//! C, compiled by Debian's clang against Debian's wasi-libc: a core module, no component.

use std::path::Path;
use std::process::Command;

use super::{Batch, Workshop, sources};
use crate::{Component, tools};

/// As Debian 12 calls them, whatever the version of clang.
const PACKAGES: &[&str] = &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];

static C: Batch = Batch {
    name: "c",
    recipe: include_str!("c.rs"),
    sources: &["tests/foreign/c"],
    make,
};

/// A core `wasip1` module. It prints the variable `NAME`, if there is one, and stdin in upper case; on stderr the
/// number of bytes. Its exit status is its first argument.
pub fn c_upper() -> Component {
    C.component("c-upper")
}

fn make(workshop: &Workshop) {
    let module = workshop.output.join("c-upper.wasm");
    let is_compiled = clang(&module).output().is_ok_and(|output| output.status.success());
    if !is_compiled {
        tools::install_packages(PACKAGES, "no other compiler is tried");
        tools::run(clang(&module), "clang that can compile for wasm32-wasi");
    }
}

fn clang(module: &Path) -> Command {
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-wasi", "-O2", "-o"]).arg(module);
    clang.arg(sources("c").join("upper.c"));
    clang
}
