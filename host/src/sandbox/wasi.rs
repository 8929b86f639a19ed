//! What a guest can see: WASI 0.2 with a private `/tmp`, a filtered environment, closed stdin, and no network.

use std::sync::Arc;

use tracing::error;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Result};
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::{FsPerms, OpenMode, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::limits::{Limiter, Limits};
use super::output::{Output, OutputEnd};
use super::tmp::{GuestTmp, Workspace};
use crate::telemetry::Stream;

/// Lambda's name for the trace header of the current event.
const TRACE_VARIABLE: &str = "_X_AMZN_TRACE_ID";

/// The host's side of one sandbox.
pub struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limiter: Limiter,
    environment: Arc<Vec<(String, String)>>,
    trace_id: Option<String>,
    tmp: GuestTmp,
    output: Arc<Output>,
}

impl State {
    pub(super) fn new(
        limits: &Limits,
        environment: &Arc<Vec<(String, String)>>,
        workspace: &Arc<Workspace>,
        output: &Arc<Output>,
    ) -> Self {
        let end = |stream| OutputEnd {
            output: Arc::clone(output),
            stream,
        };
        // The builder's defaults are a closed stdin, no arguments, no variables, no preopens and no network. Host calls may
        // block this thread: it serves one guest at a time, and the watchdog watches it from another one.
        let wasi = WasiCtxBuilder::new()
            .allow_blocking_current_thread(true)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(limits.random_bytes)
            .stdout(end(Stream::Stdout))
            .stderr(end(Stream::Stderr))
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            wasi,
            table,
            limiter: Limiter::new(limits),
            environment: Arc::clone(environment),
            trace_id: None,
            tmp: GuestTmp::new(workspace),
            output: Arc::clone(output),
        }
    }

    /// Gives the sandbox to one event.
    pub fn begin(&mut self, trace_id: Option<String>) {
        self.trace_id = trace_id;
        self.limiter.begin();
    }

    /// What the guest writes.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// The memory limit in bytes, if the guest ran into it.
    pub fn refused_memory(&self) -> Option<u64> {
        self.limiter.refused_memory()
    }

    /// The limit of table entries, if the guest ran into it.
    pub fn refused_table(&self) -> Option<usize> {
        self.limiter.refused_table()
    }

    /// The most memory the guest has used, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.limiter.peak_memory_bytes()
    }

    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }
}

/// A linker with everything a sandbox grants. Sockets are linked, because toolchains import them into guests that never use
/// them, and refuse when called.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Two interfaces are our own: an environment that changes from event to event while a sandbox waits for its event, and a
    // `/tmp` that costs nothing until it is asked for.
    linker.allow_shadowing(true);
    environment::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    preopens::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl environment::Host for State {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        let trace = self
            .trace_id
            .iter()
            .map(|trace_id| (TRACE_VARIABLE.to_owned(), trace_id.clone()));
        Ok(self.environment.iter().cloned().chain(trace).collect())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(vec!["handler".to_owned()])
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl preopens::Host for State {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let directory = match self.tmp.open() {
            Ok(Some(directory)) => directory,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "cannot make a guest's temporary directory"
                );
                return Ok(Vec::new());
            }
        };
        let directory = Dir::new(directory, FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE, true);
        let descriptor = self.table.push(Descriptor::Dir(directory))?;
        Ok(vec![(descriptor, "/tmp".to_owned())])
    }
}
