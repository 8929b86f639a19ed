//! One store with its WASI context and its limits: everything that one guest instance can see and use.
//!
//! Only this module makes stores, so a limit that is set here is set everywhere. What the guest may see is in [`wasi`], what
//! it may use in [`limits`], what it prints in [`output`], and its `/tmp` in [`tmp`].

mod limits;
mod output;
mod tmp;
mod wasi;

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Engine, Store};

pub use limits::Limits;
pub use output::Output;
pub use tmp::Workspace;
pub use wasi::State;

use crate::telemetry::Log;

/// Makes sandboxes. Everything that they share is made once, in Init.
pub struct Factory {
    engine: Engine,
    limits: Limits,
    environment: Arc<Vec<(String, String)>>,
    workspace: Arc<Workspace>,
    output: Arc<Output>,
}

impl Factory {
    /// A factory for guests of that engine.
    pub fn new(
        engine: &Engine,
        limits: &Limits,
        environment: &Arc<Vec<(String, String)>>,
        workspace: Workspace,
        log: &Arc<Log>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            limits: limits.clone(),
            environment: Arc::clone(environment),
            workspace: Arc::new(workspace),
            output: Arc::new(Output::new(Arc::clone(log), limits.output_bytes)),
        }
    }

    /// What the guests write. They share it, because they run one at a time.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// A linker that offers what a sandbox grants.
    ///
    /// # Errors
    ///
    /// Of the engine, if two definitions collide.
    pub fn linker(&self) -> wasmtime::Result<Linker<State>> {
        wasi::linker(&self.engine)
    }

    /// A fresh store: nothing of an earlier guest is in it.
    pub fn store(&self) -> Store<State> {
        let state = State::new(&self.limits, &self.environment, &self.workspace, &self.output);
        let mut store = Store::new(&self.engine, state);
        store.limiter(State::limiter);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_max_component_handles(self.limits.handles);
        store
    }
}
