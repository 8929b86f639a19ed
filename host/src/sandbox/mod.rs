//! One store with its WASI context and its limits: everything that one guest instance can see and use.
//!
//! Only this module makes stores, so a limit that is set here is set everywhere. What the guest may see is in [`wasi`], what
//! of it a component is linked with in [`linking`] and [`sockets`], what it may use in [`limits`], what it prints in [`output`], what
//! a program reads and answers in [`stdio`], its `/tmp` in [`tmp`], [`files`] and [`usage`], what may leave over HTTP in
//! [`outbound`], and what a component may see while it is built in `build_time`.

#[cfg(feature = "compiler")]
pub mod build_time;
mod files;
#[cfg(feature = "outbound")]
mod http;
mod limits;
mod linking;
#[cfg(feature = "outbound")]
pub mod outbound;
#[cfg(not(feature = "outbound"))]
#[path = "sealed.rs"]
pub mod outbound;
mod output;
mod sockets;
mod stdio;
mod tmp;
mod usage;
mod wasi;

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

pub use limits::Limits;
use outbound::Outbound;
pub use output::Output;
pub use stdio::Stdout;
pub use tmp::Workspace;
pub use wasi::State;

use crate::engine::{Execution, Features};
use crate::manifest::grants::Tmp;
use crate::telemetry::Log;

/// What guests of one function can see of the world, the same for every event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Program name and arguments.
    pub arguments: Vec<String>,
    /// Where stdin and stdout lead.
    pub stdio: Stdio,
    /// Whether `/tmp` is a directory of the sandbox's own or the environment's.
    pub tmp: Tmp,
}

/// Where a guest's stdin and stdout lead. Stderr always becomes log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Stdin is closed, stdout becomes log lines.
    Log,
    /// Stdin is the event, stdout the answer.
    Event,
}

/// Makes the sandboxes of one function. Everything that they share is made once, in Init.
pub struct Factory {
    engine: Engine,
    execution: Execution,
    code: Execution,
    limits: Limits,
    visible: Arc<Visible>,
    workspace: Arc<Workspace>,
    outbound: Arc<Outbound>,
    log: Arc<Log>,
}

impl Factory {
    /// A factory for guests of that engine, in a process that runs them in that way; their code is of that kind.
    #[expect(clippy::too_many_arguments, reason = "what a sandbox is made of, each once")]
    pub fn new(
        engine: &Engine,
        execution: Execution,
        code: Execution,
        limits: &Limits,
        visible: Visible,
        outbound: Outbound,
        workspace: &Arc<Workspace>,
        log: &Arc<Log>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            execution,
            code,
            limits: limits.clone(),
            visible: Arc::new(visible),
            workspace: Arc::clone(workspace),
            outbound: Arc::new(outbound),
            log: Arc::clone(log),
        }
    }

    /// A place for what guests write, one guest at a time.
    pub fn output(&self) -> Arc<Output> {
        Arc::new(Output::new(Arc::clone(&self.log), self.limits.output_bytes))
    }

    /// A linker that offers what a sandbox grants to that component.
    ///
    /// # Errors
    ///
    /// Of the engine, if two definitions collide.
    pub fn linker(&self, component: &Component, features: Features) -> wasmtime::Result<Linker<State>> {
        linking::linker(&self.engine, component, features)
    }

    /// A fresh store: nothing of an earlier guest is in it. What its guest writes goes to `output`.
    pub fn store(&self, output: &Arc<Output>) -> Store<State> {
        let state = State::new(self, output);
        let mut store = Store::new(&self.engine, state);
        match (self.execution, self.code) {
            (Execution::Concurrent, _) => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_async_yield_and_update(1);
            }
            // Nothing ticks where the watchdog stops guests, so the checks never find anything.
            (Execution::Sequential, Execution::Concurrent) => store.set_epoch_deadline(u64::MAX / 2),
            (Execution::Sequential, Execution::Sequential) => {}
        }
        store.limiter(State::limiter);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_max_component_handles(self.limits.handles);
        store
    }
}
