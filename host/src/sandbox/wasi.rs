//! What a guest can see: WASI 0.2 and 0.3 with a private `/tmp`, a filtered environment, and no network but what is granted.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tracing::error;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
#[cfg(feature = "wasi-0-3")]
use wasmtime_wasi::p3;
use wasmtime_wasi::{FsPerms, OpenMode, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::files::{Disk, Files};
#[cfg(feature = "outbound")]
use super::http::Hooks;
use super::limits::Limiter;
#[cfg(not(feature = "outbound"))]
use super::outbound::Hooks;
use super::output::{Output, OutputEnd};
use super::stdio::{Stdin, Stdout};
use super::tmp::GuestTmp;
use super::{Factory, Stdio, Visible};
use crate::engine::Execution;
use crate::telemetry::Stream;

/// What the headers of one request or response may take of the host's memory, in bytes: room for 2,000 short ones, of which
/// the host's own bookkeeping is the larger part.
const MAX_HEADERS_BYTES: usize = 256 << 10;

/// The host's side of one sandbox.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    limiter: Limiter,
    visible: Arc<Visible>,
    /// Variables of the current event.
    event_variables: Vec<(String, String)>,
    tmp: GuestTmp,
    output: Arc<Output>,
    stdin: Stdin,
    stdout: Stdout,
    may_block: bool,
    random_bytes: u64,
    is_abandoned: bool,
}

impl State {
    pub(super) fn new(factory: &Factory, output: &Arc<Output>) -> Self {
        let Factory {
            engine: _,
            execution,
            code: _,
            limits,
            visible,
            workspace,
            outbound,
            log: _,
        } = factory;
        let (stdin, stdout) = (Stdin::default(), Stdout::default());
        // Host calls may block a thread that serves one guest at a time, because the watchdog watches it from another one.
        let may_block = match execution {
            Execution::Sequential => true,
            Execution::Concurrent => false,
        };
        let mut wasi = wasi(limits.random_bytes, may_block, visible.stdio, output, &stdin, &stdout);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_HEADERS_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            wasi: wasi.build(),
            http,
            hooks: Hooks::new(outbound),
            table,
            limiter: Limiter::new(limits, output),
            visible: Arc::clone(visible),
            event_variables: Vec::new(),
            tmp: GuestTmp::new(workspace, visible.tmp, limits),
            output: Arc::clone(output),
            stdin,
            stdout,
            may_block,
            random_bytes: limits.random_bytes,
            is_abandoned: false,
        }
    }

    /// For a sandbox that comes out of a snapshot of the process: its random numbers and its clock are those of now.
    pub fn renew(&mut self) {
        let mut wasi = wasi(
            self.random_bytes,
            self.may_block,
            self.visible.stdio,
            &self.output,
            &self.stdin,
            &self.stdout,
        );
        // The library's own generator, by our name for it: were it of another version than ours, this would not compile, and
        // `snap_start` would seed the wrong one.
        self.wasi = wasi.secure_random(StdRng::from_rng(&mut rand::rng())).build();
        self.hooks.set_start_up_deadline();
    }

    /// Gives the sandbox to one event, which ends at `deadline` and has variables of its own.
    pub fn begin(&mut self, deadline: Instant, variables: Vec<(String, String)>) {
        self.hooks.set_deadline(deadline);
        self.event_variables = variables;
        self.limiter.begin();
    }

    /// Lets go of everything that the host holds for the guest, which must not run any more.
    pub fn abandon_resources(&mut self) {
        self.table = ResourceTable::new();
        self.is_abandoned = true;
    }

    /// Whether the guest has lost its resources.
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Whether the host holds a stream, a file or anything else for the guest.
    #[cfg(feature = "compiler")]
    pub fn holds_resources(&self) -> bool {
        !self.table.is_empty()
    }

    /// What a program reads.
    pub fn set_stdin(&mut self, event: Bytes) {
        self.stdin.set(event);
    }

    /// Where a program's answer goes.
    pub fn stdout(&self) -> &Stdout {
        &self.stdout
    }

    /// What the guest writes.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// The memory limit in bytes, if the guest ran into it and, as far as can be told, could not go on.
    pub fn refused_memory(&self) -> Option<u64> {
        self.limiter.refused_memory()
    }

    pub(super) fn files(&mut self) -> Files<'_> {
        let disk = Disk {
            usage: self.tmp.usage().clone(),
            may_block: self.may_block,
        };
        Files {
            wasi: self.filesystem(),
            disk,
        }
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

/// What WASI is made of for one guest. The builder's defaults are a closed stdin, no arguments, no variables, no preopens and
/// no network.
fn wasi(
    random_bytes: u64,
    may_block: bool,
    stdio: Stdio,
    output: &Arc<Output>,
    stdin: &Stdin,
    stdout: &Stdout,
) -> WasiCtxBuilder {
    let end = |stream| OutputEnd {
        output: Arc::clone(output),
        stream,
    };
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_blocking_current_thread(may_block)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(random_bytes)
        .stderr(end(Stream::Stderr));
    match stdio {
        Stdio::Log => wasi.stdout(end(Stream::Stdout)),
        Stdio::Event => wasi.stdin(stdin.clone()).stdout(stdout.clone()),
    };
    wasi
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

impl environment::Host for State {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        let variables = self.visible.environment.iter();
        Ok(variables.chain(&self.event_variables).cloned().collect())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(self.visible.arguments.clone())
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
        let (permissions, mode) = (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE);
        let directory = Dir::new(directory, permissions, mode, self.may_block);
        let descriptor = self.table.push(Descriptor::Dir(directory))?;
        Ok(vec![(descriptor, "/tmp".to_owned())])
    }
}

#[cfg(feature = "wasi-0-3")]
impl p3::bindings::cli::environment::Host for State {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        environment::Host::get_environment(self)
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        environment::Host::get_arguments(self)
    }

    fn get_initial_cwd(&mut self) -> Result<Option<String>> {
        environment::Host::initial_cwd(self)
    }
}

#[cfg(feature = "wasi-0-3")]
impl p3::bindings::filesystem::preopens::Host for State {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(self)
    }
}
