//! Runs a component's `init` when it is built, and makes a component of the memory that this leaves.
//!
//! ```text
//!   component ─► instrument ─► run in the sandbox of a build ─► read memories and globals ─► write them into the component
//!                              start-up code, then `init`                                     `init` is exported no more
//! ```
//!
//! All of this is done in a [child process with limits](super::jail): it compiles the component, and runs it.
//!
//! The result is a component like any other: it runs wherever the first one did, and every sandbox of it starts where `init`
//! had come to. What would be true of the build alone ends it with an error; see [`crate::sandbox::build_time`].

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasm_encoder::reencode::{ReencodeComponent, RoundtripReencoder};
use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, Instance, Lift, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::compile::{CompileError, uncompilable};
use super::jail::{self, Order};
use super::stamp::sha256;
use super::{Bounds, InitBounds};
use crate::engine::{self, Features};
use crate::error::FunctionError;
use crate::sandbox::State;
use crate::sandbox::build_time::{BuildTime, Refusal};
use crate::worlds::{INITIALISED_INTERFACE, Kind, LIFECYCLE_INTERFACE, StartError, World};

/// The section in which a snapshot says where it comes from.
const SECTION: &str = "orlop:snapshot";

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// [`engine::version`] of the program that has taken it.
    pub engine: String,
    /// SHA-256 of the component whose `init` was run, in hexadecimal digits.
    pub source_sha256: String,
    /// How much memory every sandbox has from the start, in bytes.
    pub memory_bytes: u64,
}

/// Why there is no snapshot of a component. The child process says so in JSON.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum SnapshotError {
    /// There is nothing to run.
    #[error("it exports no `init` to run: {LIFECYCLE_INTERFACE} is missing")]
    WithoutInit,
    /// It is built of what cannot be written down.
    #[error("no snapshot can be taken of it: {0}")]
    Unsupported(String),
    /// It is no component that could be run.
    #[error("{0}")]
    Unusable(String),
    /// The guest's `init` returned an error.
    #[error("its `init` failed with {error_type}: {message}")]
    Failed {
        /// The guest's error type.
        error_type: String,
        /// The guest's message.
        message: String,
    },
    /// The guest's `init`, or its start-up code, did not return.
    #[error("its `init` failed: {0}")]
    Broken(String),
    /// It asked for something that is not the same in every sandbox.
    #[error("its `init` depends on the build{}: {refusal}", place.as_ref().map(|place| format!(" in {place}")).unwrap_or_default())]
    Refused {
        /// The guest's function that did, if its name is known.
        place: Option<String>,
        /// What it was, and what to do.
        refusal: String,
    },
    /// It holds on to a stream or the like, which no sandbox would have.
    #[error(
        "its `init` leaves a stream or another resource open, which a sandbox that starts from the snapshot would not have; \
         standard output and standard error stay open once something was printed, so print nothing in `init`"
    )]
    LeftOpen,
    /// It takes too much memory.
    #[error(
        "its `init` takes {bytes} bytes of memory, and may take {limit}; raise ORLOP_LIMIT_SNAPSHOT_MEMORY if that is right"
    )]
    TooLarge {
        /// What it takes, in bytes.
        bytes: u64,
        /// What it may take, in bytes.
        limit: u64,
    },
    /// It did not come to an end.
    #[error("its `init` was still running after {}; raise ORLOP_LIMIT_SNAPSHOT_TIME if that is right", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The child process ran into one of its limits, or did not come to an end of its own.
    #[serde(skip)]
    #[error("{0}")]
    Ended(CompileError),
}

/// Runs the component's `init` and takes a snapshot of what it leaves.
///
/// The same component gives the same snapshot, byte for byte.
///
/// # Errors
///
/// [`SnapshotError`].
pub fn snapshot(component: &[u8], bounds: &Bounds) -> Result<Vec<u8>, SnapshotError> {
    let reason = match jail::ask(Order::Snapshot(bounds.init), component, bounds) {
        Ok(Ok(snapshot)) => return Ok(snapshot),
        Ok(Err(reason)) => reason,
        Err(error) => return Err(SnapshotError::Ended(error)),
    };
    Err(match serde_json::from_str(&reason) {
        Ok(SnapshotError::Unusable(reason)) if jail::is_about_memory(&reason) => {
            SnapshotError::Ended(CompileError::OutOfMemory(bounds.memory_bytes))
        }
        Ok(error) => error,
        Err(error) => SnapshotError::Ended(CompileError::Broken(format!(
            "cannot read why there is no snapshot, `{reason}`: {error}"
        ))),
    })
}

/// What a component says about itself, if it is a snapshot.
pub fn provenance(component: &[u8]) -> Option<Provenance> {
    let own = own_payloads(component).ok()?;
    own.iter().find_map(|payload| {
        let Payload::CustomSection(section) = payload else {
            return None;
        };
        let is_ours = section.name() == SECTION;
        is_ours.then(|| serde_json::from_slice(section.data()).ok()).flatten()
    })
}

/// Whether this is what [`snapshot`] makes of that component. Then taking it again would give the same.
pub fn is_current(snapshot: &[u8], component: &[u8]) -> bool {
    provenance(snapshot).is_some_and(|found| found == Provenance::of(component, found.memory_bytes))
}

/// Whether the component has an `init` that a snapshot would save it.
pub fn has_init(component: &[u8]) -> bool {
    own_payloads(component).is_ok_and(|own| exports(&own, LIFECYCLE_INTERFACE))
}

impl Provenance {
    fn of(component: &[u8], memory_bytes: u64) -> Self {
        Self {
            engine: engine::version(),
            source_sha256: sha256(component),
            memory_bytes,
        }
    }
}

/// As [`snapshot`], in this very process; the reason is the error in JSON.
pub(super) fn snapshot_here(component: &[u8], init: InitBounds) -> Result<Vec<u8>, String> {
    take(component, init).map_err(|error| serde_json::to_string(&error).expect("strings and numbers always serialise"))
}

fn take(component: &[u8], init: InitBounds) -> Result<Vec<u8>, SnapshotError> {
    let unreadable = |error: wasmparser::BinaryReaderError| SnapshotError::Unusable(error.to_string());
    if !exports(&own_payloads(component).map_err(unreadable)?, LIFECYCLE_INTERFACE) {
        return Err(SnapshotError::WithoutInit);
    }
    if Features::needed_by(component) != Features::default() {
        return Err(SnapshotError::Unsupported(
            "it uses WASI 0.3 or the asynchronous component model, whose calls may outlive `init`".to_owned(),
        ));
    }
    let unsupported = |error: wasmtime::Error| SnapshotError::Unsupported(format!("{error:#}"));
    let unusable = |error: wasmtime::Error| SnapshotError::Unusable(uncompilable(&error));
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument_component(component).map_err(unsupported)?;
    let engine = engine::for_snapshots().map_err(unusable)?;
    let instrumented = Component::from_binary(&engine, &instrumented).map_err(unusable)?;
    let build_time = BuildTime::new(&instrumented, init.memory_bytes).map_err(unusable)?;
    let kind = Kind::of(&engine, &instrumented, None).map_err(SnapshotError::Unusable)?;
    let world = World::new(kind, build_time.linker(), &instrumented).map_err(SnapshotError::Unusable)?;

    let mut store = build_time.store();
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| SnapshotError::Unusable(format!("cannot start an event loop: {error}")))?;
    let instance = in_time(&engine, init.time, || event_loop.block_on(world.prepare(&mut store)))
        .ok_or(SnapshotError::TimedOut(init.time))?
        .map_err(|error| explain(error, build_time.refused_call()))?;
    if let Some(refusal) = build_time.missed_environment() {
        let refusal = refusal.to_string();
        return Err(SnapshotError::Refused { place: None, refusal });
    }
    if store.data().holds_resources() {
        return Err(SnapshotError::LeftOpen);
    }
    let memory_bytes = store.data().peak_memory_bytes();
    if memory_bytes > init.memory_bytes {
        return Err(SnapshotError::TooLarge {
            bytes: memory_bytes,
            limit: init.memory_bytes,
        });
    }
    // Looking into the memories takes no time worth watching.
    store.set_epoch_deadline(1);
    let mut inside = Inside { store, instance };
    let taken = event_loop
        .block_on(wizer.snapshot_component(&context, &mut inside))
        .map_err(unsupported)?;
    mark(&taken, &Provenance::of(component, memory_bytes)).map_err(unreadable)
}

/// Does it, and stops the guest if that takes too long: then there is no result.
fn in_time<T>(engine: &Engine, limit: Duration, run: impl FnOnce() -> T) -> Option<T> {
    let started = Instant::now();
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        let result = run();
        drop(done);
        (started.elapsed() < limit).then_some(result)
    })
}

fn explain(error: StartError, refused: Option<&Refusal>) -> SnapshotError {
    match (error, refused) {
        (StartError::Failed(error), Some(refusal)) => SnapshotError::Refused {
            place: place_in(&error),
            refusal: refusal.to_string(),
        },
        (StartError::Failed(error), None) => SnapshotError::Broken(error.to_string()),
        (StartError::Mismatched(reason), _) => SnapshotError::Unusable(reason),
        (
            StartError::Refused {
                error_type,
                message,
                stack_trace: _,
            },
            _,
        ) => SnapshotError::Failed { error_type, message },
    }
}

/// The innermost function that is the guest's own: not of Rust's library, nor of the bindings under it.
fn place_in(error: &FunctionError) -> Option<String> {
    let FunctionError::Trap { frames, .. } = error else {
        return None;
    };
    let is_own = |frame: &&String| {
        let path = frame.trim_start_matches(['<', '&']);
        let libraries = [
            "std",
            "core",
            "alloc",
            "hashbrown",
            "wasi",
            "wasip2",
            "wit_bindgen",
            "wasm",
        ];
        let is_library = libraries.iter().any(|library| {
            path.strip_prefix(library)
                .is_some_and(|rest| rest.starts_with("::") || rest.starts_with(' '))
        });
        !is_library && path.contains("::")
    };
    let frame = frames.iter().find(is_own)?;
    Some(frame.split(" (wasm offset").next().unwrap_or(frame).to_owned())
}

/// An instance that can be looked into, through what was added to its component for that.
struct Inside {
    store: Store<State>,
    instance: Instance,
}

impl Inside {
    async fn read<R: Lift + 'static>(&mut self, instance: &str, function: &str) -> R {
        let Self {
            store,
            instance: inside,
        } = self;
        let accessors = inside.get_export_index(&mut *store, None, instance);
        let accessor = inside.get_export_index(&mut *store, accessors.as_ref(), function);
        let accessor = accessor.expect("the instrumentation exports what it reads");
        let accessor = inside
            .get_typed_func::<(), (R,)>(&mut *store, accessor)
            .expect("the instrumentation knows its own types");
        let (value,) = accessor
            .call_async(&mut *store, ())
            .await
            .expect("there is room for the page that reading a memory takes");
        value
    }
}

impl ComponentInstanceState for Inside {
    async fn call_func_ret_list_u8(&mut self, instance: &str, function: &str, contents: impl FnOnce(&[u8]) + Send) {
        let list: WasmList<u8> = self.read(instance, function).await;
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.read(instance, function).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.read(instance, function).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        self.read::<f32>(instance, function).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        self.read::<f64>(instance, function).await.to_bits()
    }
}

/// The component with its `init` under the name of one that has run, and with its provenance.
fn mark(component: &[u8], provenance: &Provenance) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let mut marked = wasm_encoder::Component::new();
    for payload in own_payloads(component)? {
        if let Payload::ComponentExportSection(section) = payload {
            let mut exports = wasm_encoder::ComponentExportSection::new();
            for export in section {
                let mut export = export?;
                if export.name.name == LIFECYCLE_INTERFACE {
                    export.name.name = INITIALISED_INTERFACE;
                }
                RoundtripReencoder
                    .parse_component_export(&mut exports, export)
                    .expect("an export that was parsed can be written");
            }
            marked.section(&exports);
        } else if let Some((id, range)) = payload.as_section() {
            marked.section(&wasm_encoder::RawSection {
                id,
                data: &component[range],
            });
        }
    }
    let json = serde_json::to_vec(provenance).expect("strings always serialise");
    marked.section(&wasm_encoder::CustomSection {
        name: SECTION.into(),
        data: json.into(),
    });
    Ok(marked.finish())
}

/// The parts of a component, without what is inside of the modules and components that are nested in it.
fn own_payloads(component: &[u8]) -> Result<Vec<Payload<'_>>, wasmparser::BinaryReaderError> {
    let mut own = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        let is_beginning = matches!(
            payload,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. }
        );
        let is_end = matches!(payload, Payload::End(_)) && depth > 0;
        if depth == 0 {
            own.push(payload);
        }
        depth = depth + usize::from(is_beginning) - usize::from(is_end);
    }
    Ok(own)
}

fn exports(own: &[Payload<'_>], name: &str) -> bool {
    own.iter().any(|payload| {
        let Payload::ComponentExportSection(exports) = payload else {
            return false;
        };
        let mut exports = exports.clone().into_iter().flatten();
        exports.any(|export| export.name.name == name)
    })
}
