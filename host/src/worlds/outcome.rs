//! Why a guest call failed: the only place that looks into the engine's errors.

use wasmtime::component::ResourceTableError;
use wasmtime::{FrameInfo, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::function::orlop::function::types;
use crate::error::FunctionError;
use crate::sandbox::State;
use crate::shortage;

/// Parts of engine messages for conditions that have no type of their own. The tests of each limit notice a change.
const ALLOCATION: &str = "realloc";
const OUT_OF_CALL_DATA: &str = "fuel allocated for hostcalls has been exhausted";
const LIMIT_MESSAGES: &[(&str, &str)] = &[
    ("too many component handles", "ORLOP_LIMIT_HANDLES"),
    ("handle limit", "ORLOP_LIMIT_HANDLES"),
    ("requested len", "ORLOP_LIMIT_RANDOM"),
    ("total size of fields", "256 KiB for the names and values of headers"),
    ("resource limit exceeded: instance", "ORLOP_LIMIT_INSTANCES"),
    ("resource limit exceeded: memory", "ORLOP_LIMIT_MEMORIES"),
    ("resource limit exceeded: table", "ORLOP_LIMIT_TABLES"),
];

/// Frames in a report.
const REPORTED_FRAMES: usize = 8;

/// Turns the engine's error into what an operator looks for.
pub(super) fn classify(error: &wasmtime::Error, store: &Store<State>) -> FunctionError {
    let state = store.data();
    state.output().flush();
    let last_output = state.output().last_words();
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return exit(*status, store);
    }
    if let Some(limit_bytes) = state.refused_memory()
        && may_be_about_memory(error)
    {
        return FunctionError::OutOfMemory {
            limit_bytes,
            last_output,
        };
    }
    let message = format!("{:#}", error.root_cause_text());
    if message.contains(OUT_OF_CALL_DATA) {
        // Without frames, the guest had returned: it is the answer that was too much to take over.
        return match error.downcast_ref::<WasmBacktrace>() {
            None => FunctionError::ResponseTooLarge { bytes: None },
            Some(_) => FunctionError::LimitExceeded(format!("{message} (ORLOP_LIMIT_HOST_CALL_DATA)")),
        };
    }
    if let Some(entries) = state.refused_table() {
        return FunctionError::LimitExceeded(format!("{entries} table entries (ORLOP_LIMIT_TABLE_ENTRIES)"));
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return FunctionError::LimitExceeded("open files, streams and pollables (ORLOP_LIMIT_RESOURCES)".to_owned());
    }
    let limit = LIMIT_MESSAGES.iter().find(|(part, _)| message.contains(part));
    if let (None, Some((_, setting))) = (error.downcast_ref::<Trap>(), limit) {
        return FunctionError::LimitExceeded(format!("{message} ({setting})"));
    }
    if let Some(reason) = shortage::behind(error.chain()) {
        return FunctionError::Host(reason);
    }
    FunctionError::Trap {
        reason: message,
        last_output,
        frames: frames(error),
    }
}

/// As [`classify`], for a call that the guest may have returned from: what cannot be taken over then is its answer.
pub(super) fn classify_answer(error: &wasmtime::Error, store: &Store<State>) -> FunctionError {
    let is_from_within = error.downcast_ref::<WasmBacktrace>().is_some() || error.downcast_ref::<Trap>().is_some();
    let failure = classify(error, store);
    if let FunctionError::Trap { reason, .. } = &failure
        && !is_from_within
        && !reason.contains(ALLOCATION)
    {
        return FunctionError::InvalidResponse(reason.clone());
    }
    failure
}

/// Whether a guest that got no memory could have ended like this.
fn may_be_about_memory(error: &wasmtime::Error) -> bool {
    !matches!(
        error.downcast_ref(),
        Some(Trap::StackOverflow | Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger)
    )
}

/// The guest failed by its own account.
pub(super) fn reported(error: types::FunctionError) -> FunctionError {
    let types::FunctionError {
        error_type,
        message,
        stack_trace,
    } = error;
    FunctionError::Guest {
        error_type,
        message,
        stack_trace,
    }
}

/// The guest ended itself with that status.
pub(super) fn exit(status: i32, store: &Store<State>) -> FunctionError {
    let output = store.data().output();
    output.flush();
    FunctionError::Exit {
        status,
        last_output: output.last_words(),
    }
}

trait RootCauseText {
    fn root_cause_text(&self) -> String;
}

impl RootCauseText for wasmtime::Error {
    /// The innermost cause. The outer ones are the backtrace as text, and what the engine was doing.
    fn root_cause_text(&self) -> String {
        match self.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => self.root_cause().to_string(),
        }
    }
}

/// The guest's frames, innermost first: function, and file and line where they are known. The frames of Rust's panic
/// machinery on top of them say nothing and are left out.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    backtrace
        .frames()
        .iter()
        .map(frame)
        .skip_while(|frame| is_panic_machinery(frame))
        .take(REPORTED_FRAMES)
        .collect()
}

fn frame(frame: &FrameInfo) -> String {
    let symbol = frame.symbols().first();
    let function = match symbol.and_then(|symbol| symbol.name()).or_else(|| frame.func_name()) {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("wasm function {}", frame.func_index()),
    };
    let place = symbol.and_then(|symbol| Some((symbol.file()?, symbol.line()?)));
    match (place, frame.module_offset()) {
        (Some((file, line)), _) => format!("{function} ({file}:{line})"),
        (None, Some(offset)) => format!("{function} (wasm offset {offset:#x})"),
        (None, None) => function,
    }
}

fn is_panic_machinery(frame: &str) -> bool {
    [
        "abort ",
        "std::",
        "core::panicking",
        "core::result::unwrap_failed",
        "core::option::",
        "__rustc::",
        "rust_begin_unwind",
    ]
    .iter()
    .any(|start| frame.starts_with(start))
}
