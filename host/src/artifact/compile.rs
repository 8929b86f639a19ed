//! Makes artifacts: a component in, stamped machine code out, also for another processor. The work is done in a
//! [child process with limits](super::jail).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use wasmparser::{Encoding, Parser, Payload};

use super::Bounds;
use super::jail::{self, Order};
use super::stamp::{Stamp, sha256};
use crate::engine::{self, Cpu, Execution, Features};

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
    /// The file is larger than [`Bounds::component_bytes`].
    #[error(
        "`{}` is larger than {}, the limit for components; raise ORLOP_LIMIT_COMPONENT if that is right",
        path.display(), ByteSize(*limit_bytes).display().iec()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The compiler refused it.
    #[error("cannot compile: {0}")]
    Refused(String),
    /// Compiling was ended at [`Bounds::memory_bytes`].
    #[error(
        "compiling it takes more than {} of memory; raise ORLOP_LIMIT_COMPILE_MEMORY if that is right",
        ByteSize(*.0).display().iec()
    )]
    OutOfMemory(u64),
    /// Compiling was ended at [`Bounds::time`].
    #[error(
        "compiling it takes longer than {}; raise ORLOP_LIMIT_COMPILE_TIME if that is right",
        humantime::format_duration(*.0)
    )]
    TooSlow(Duration),
    /// The compiler could not be run, or did not come to an end of its own.
    #[error("{0}")]
    Broken(String),
}

/// Reads a component. A core module of WASI's first preview becomes one: it is wrapped in the adapter that toolchains use.
///
/// # Errors
///
/// Any [`CompileError`].
pub fn read_component(path: &Path, bounds: &Bounds) -> Result<Vec<u8>, CompileError> {
    let unreadable = |source| CompileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let mut bytes = Vec::new();
    let limit_bytes = bounds.component_bytes;
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit_bytes {
        let path = path.to_owned();
        return Err(CompileError::TooLarge { path, limit_bytes });
    }
    let no_component = |reason| CompileError::NoComponent {
        path: path.to_owned(),
        reason,
    };
    match kind_of(&bytes).map_err(no_component)? {
        Kind::Component => Ok(bytes),
        Kind::Module => match jail::run(Order::Lift, &bytes, bounds) {
            Err(CompileError::Refused(reason)) => Err(no_component(reason)),
            lifted => lifted,
        },
    }
}

/// What a file begins as.
enum Kind {
    Component,
    Module,
}

fn kind_of(bytes: &[u8]) -> Result<Kind, String> {
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
pub(super) fn lift_here(module: &[u8]) -> Result<Vec<u8>, String> {
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

/// Compiles a component into that kind of code for that processor, and stamps the result.
///
/// # Errors
///
/// [`CompileError::Refused`] with the compiler's reason; the limit that compiling ran into; or how else the compiler ended.
pub fn compile(component: &[u8], cpu: Cpu, code: Execution, bounds: &Bounds) -> Result<Vec<u8>, CompileError> {
    jail::run(Order::Compile(cpu, code), component, bounds)
}

/// As [`compile`], in this very process.
pub(super) fn compile_here(component: &[u8], cpu: Cpu, code: Execution) -> Result<Vec<u8>, String> {
    let refused = |error: wasmtime::Error| uncompilable(&error);
    let features = Features::needed_by(component);
    let engine = engine::for_compiling(cpu, features, code).map_err(refused)?;
    let machine_code = engine.precompile_component(component).map_err(refused)?;
    Ok(stamp_of(component, features, cpu, code, machine_code.len()).seal(machine_code))
}

/// Whether this artifact is whole, and is what this program makes of that component in that kind of code for that processor.
/// Then compiling the component again would give the same.
pub fn is_current(artifact: &[u8], component: &[u8], cpu: Cpu, code: Execution) -> bool {
    // The features are what the same engine found the same component to need.
    Stamp::verify(artifact)
        .is_ok_and(|(stamp, machine_code)| stamp == stamp_of(component, stamp.features, cpu, code, machine_code.len()))
}

fn stamp_of(component: &[u8], features: Features, cpu: Cpu, code: Execution, code_bytes: usize) -> Stamp {
    Stamp {
        engine: engine::version(),
        target: cpu.target().triple().to_owned(),
        cpu: cpu.name().to_owned(),
        kind: code.name().to_owned(),
        features,
        source_sha256: sha256(component),
        code_bytes: code_bytes as u64,
    }
}
