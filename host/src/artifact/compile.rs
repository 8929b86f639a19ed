//! Makes artifacts: a component in, stamped machine code out, also for another processor.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wasmparser::{Encoding, Parser, Payload};

use super::stamp::{Stamp, sha256};
use crate::engine::{self, Cpu, Features};

/// A larger component is not compiled.
const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// Why no artifact could be made.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is no component.
    #[error("`{}` is no component: {reason}", path.display())]
    NoComponent {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// The compiler refused it.
    #[error("cannot compile: {0}")]
    Refused(String),
}

/// Reads a component. A core module of WASI's first preview becomes one: it is wrapped in the adapter that toolchains use.
///
/// # Errors
///
/// [`CompileError::Unreadable`] or [`CompileError::NoComponent`].
pub fn read_component(path: &Path) -> Result<Vec<u8>, CompileError> {
    let unreadable = |source| CompileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_COMPONENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let no_component = |reason| CompileError::NoComponent {
        path: path.to_owned(),
        reason,
    };
    match kind_of(&bytes).map_err(no_component)? {
        Kind::Component => Ok(bytes),
        Kind::Module => lift(&bytes).map_err(no_component),
    }
}

/// What a file begins as.
enum Kind {
    Component,
    Module,
}

fn kind_of(bytes: &[u8]) -> Result<Kind, String> {
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(format!("it is larger than {MAX_COMPONENT_BYTES} bytes"));
    }
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err("it is machine code; give the .wasm it was made of".to_owned());
    }
    match Parser::new(0).parse(bytes, true) {
        Ok(wasmparser::Chunk::Parsed {
            payload: Payload::Version { encoding, .. },
            ..
        }) => Ok(match encoding {
            Encoding::Component => Kind::Component,
            Encoding::Module => Kind::Module,
        }),
        Ok(_) | Err(_) => Err("it does not begin as WebAssembly does".to_owned()),
    }
}

/// Wraps a core module in the adapter from WASI's first preview to WASI 0.2, as a program.
fn lift(module: &[u8]) -> Result<Vec<u8>, String> {
    use wasi_preview1_component_adapter_provider::{
        WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    };
    let encode = || {
        wit_component::ComponentEncoder::default()
            .module(module)?
            .adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )?
            .validate(true)
            .encode()
    };
    encode().map_err(|error: anyhow::Error| {
        format!(
            "it is a core module, and no program of WASI's first preview ({error:#}); build it for the target \
             wasm32-wasip2, which makes components"
        )
    })
}

/// What the compiler said, or the limit that it ran into.
pub(super) fn uncompilable(error: &wasmtime::Error) -> String {
    engine::limit_behind(error).unwrap_or_else(|| format!("{error:#}"))
}

/// Compiles a component and stamps the result.
///
/// # Errors
///
/// [`CompileError::Refused`] with the compiler's reason.
pub fn compile(component: &[u8], cpu: Cpu) -> Result<Vec<u8>, CompileError> {
    let refused = |error: wasmtime::Error| CompileError::Refused(uncompilable(&error));
    let features = Features::needed_by(component);
    let engine = engine::for_compiling(cpu, features).map_err(refused)?;
    let code = engine.precompile_component(component).map_err(refused)?;
    Ok(stamp_of(component, features, cpu, code.len()).seal(code))
}

/// Whether this artifact is whole, and is what this program makes of that component for that processor. Then compiling the
/// component again would give the same.
pub fn is_current(artifact: &[u8], component: &[u8], cpu: Cpu) -> bool {
    Stamp::verify(artifact)
        .is_ok_and(|(stamp, code)| stamp == stamp_of(component, Features::needed_by(component), cpu, code.len()))
}

fn stamp_of(component: &[u8], features: Features, cpu: Cpu, code_bytes: usize) -> Stamp {
    Stamp {
        engine: engine::version(),
        target: cpu.target().triple().to_owned(),
        cpu: cpu.name().to_owned(),
        kind: engine::KIND.to_owned(),
        features,
        source_sha256: sha256(component),
        code_bytes: code_bytes as u64,
    }
}
