//! The bytes of a component that a user names.

use std::path::Path;

use orlop_host::artifact::Bounds;
use orlop_host::artifact::compile::{CompileError, read_component};

use crate::mistake::Mistake;

/// The bytes of a component.
pub(crate) fn read(path: &Path, bounds: &Bounds) -> Result<Vec<u8>, Mistake> {
    read_component(path, bounds).map_err(|error| {
        let help = match &error {
            CompileError::Unreadable { .. } => "name a .wasm file or the folder of a crate that builds one",
            CompileError::TooLarge { .. } => "a trusted component may be larger with `--component-size SIZE`",
            CompileError::OutOfMemory(_) => "a trusted module gets more with `--compile-memory SIZE`",
            CompileError::TooSlow(_) => "a trusted module gets more with `--compile-time DURATION`",
            CompileError::NoComponent { .. } | CompileError::Refused(_) | CompileError::Broken(_) => {
                "build it with `cargo build --release --target wasm32-wasip2`"
            }
        };
        Mistake::caused_by(error, help)
    })
}
