//! A sandbox for a component that is being built: what it would learn here must not become part of it.
//!
//! A snapshot is run for years, in every sandbox, by anybody. So there is no environment, no file and no network; and a call
//! whose answer would be true here and now alone (a clock, a random number) ends the build. All of this is linked by the names
//! that the engine's library gives it: a guest that was built against another patch version of WASI 0.2 finds it as well.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Error, Result, Store};

use super::linking::{self, WASI_0_2_VERSION};
use super::outbound::{Outbound, Platform};
use super::wasi::State;
use super::{Factory, Limits, Stdio, Visible, Workspace};
use crate::engine::{Execution, Features};
use crate::manifest::Grants;
use crate::manifest::grants::Tmp;
use crate::telemetry::{self, Format, Level, Log};

/// Room for the pages that looking into a memory takes.
const SPARE_BYTES: u64 = 4 << 20;
/// What `init` may say of itself, and what is copied out of its memory, in bytes.
const HOST_CALL_BYTES: usize = 4 << 30;

const RANDOM: &str = "the same numbers would come out in every sandbox; ask for them in the handler";
const SEED: &str = "this is what a HashMap or HashSet with the default hasher does, and all sandboxes would share its seed, so that \
                    a caller could send keys that collide; in `init` use a BTreeMap, a sorted Vec, or a hasher of your own";
const CLOCK: &str = "it would be the time of the build in every sandbox; read clocks in the handler";
const FILES: &str =
    "no file of the build is there when it runs; put the data into the component, for example with include_bytes!";
const NETWORK: &str =
    "there is no network while it is built; put the data into the component, or fetch them in the handler";

/// Interface, function, and what is wrong with calling it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("wasi:random/random", "get-random-bytes", RANDOM),
    ("wasi:random/random", "get-random-u64", RANDOM),
    ("wasi:random/insecure", "get-insecure-random-bytes", RANDOM),
    ("wasi:random/insecure", "get-insecure-random-u64", RANDOM),
    ("wasi:random/insecure-seed", "insecure-seed", SEED),
    ("wasi:clocks/monotonic-clock", "now", CLOCK),
    ("wasi:clocks/monotonic-clock", "resolution", CLOCK),
    ("wasi:clocks/monotonic-clock", "subscribe-instant", CLOCK),
    ("wasi:clocks/monotonic-clock", "subscribe-duration", CLOCK),
    ("wasi:clocks/wall-clock", "now", CLOCK),
    ("wasi:clocks/wall-clock", "resolution", CLOCK),
    ("wasi:filesystem/preopens", "get-directories", FILES),
    ("wasi:sockets/instance-network", "instance-network", NETWORK),
    ("wasi:sockets/tcp-create-socket", "create-tcp-socket", NETWORK),
    ("wasi:sockets/udp-create-socket", "create-udp-socket", NETWORK),
    ("wasi:http/outgoing-handler", "handle", NETWORK),
];

/// The interface of environment variables and arguments.
const ENVIRONMENT: &str = "wasi:cli/environment";

/// A call that ends the build of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it calls `{function}` of {interface}: {advice}")]
pub struct Refusal {
    /// The interface, without its version.
    pub interface: &'static str,
    /// The function.
    pub function: &'static str,
    /// What is wrong with that, and what to do.
    pub advice: &'static str,
}

/// What a guest has asked for.
#[derive(Debug, Default)]
struct Asked {
    refused: OnceLock<Refusal>,
    /// The first function of [`ENVIRONMENT`] that it called.
    environment: OnceLock<&'static str>,
}

/// What the sandbox of a component that is being built is made from.
pub struct BuildTime {
    sandboxes: Factory,
    linker: Linker<State>,
    asked: Arc<Asked>,
}

impl BuildTime {
    /// A sandbox for that component, which may have so many bytes of memory when its `init` is done.
    ///
    /// # Errors
    ///
    /// Of the engine, if definitions of imports collide.
    pub fn new(component: &Component, memory_bytes: u64) -> Result<Self> {
        let limits = Limits {
            memory_bytes: memory_bytes.saturating_add(SPARE_BYTES),
            host_call_bytes: HOST_CALL_BYTES,
            ..Limits::default()
        };
        let visible = Visible {
            environment: Vec::new(),
            arguments: Vec::new(),
            stdio: Stdio::Log,
            tmp: Tmp::Private,
        };
        // Nothing is to be heard of a build that succeeds. If `init` fails, the error repeats what it last said.
        let log = Log::new(&telemetry::Config {
            format: Format::Json,
            level: Level::Fatal,
            frame_descriptor: None,
        });
        let nowhere = Outbound::new("", &Grants::default(), &Arc::new(Platform::default()));
        // Nobody gets to ask for it.
        let workspace = Arc::new(Workspace::new(Path::new("/tmp")));
        let (linker, asked) = linker(component)?;
        Ok(Self {
            sandboxes: Factory::new(
                component.engine(),
                Execution::Sequential,
                Execution::Concurrent,
                &limits,
                visible,
                nowhere,
                &workspace,
                &log,
            ),
            linker,
            asked,
        })
    }

    /// Offers what a sandbox offers, and refuses what the guest must not call yet.
    pub fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// A fresh store, whose guest is stopped by the next step of the engine's epoch.
    pub fn store(&self) -> Store<State> {
        let mut store = self.sandboxes.store(&self.sandboxes.output());
        store.set_epoch_deadline(1);
        store
    }

    /// The call that has ended its guest, if one has.
    pub fn refused_call(&self) -> Option<&Refusal> {
        self.asked.refused.get()
    }

    /// What keeps a guest out of a snapshot although it has run to its end.
    ///
    /// The environment is answered, with nothing, and complained about afterwards: Rust asks for it when it panics, and the
    /// panic's message has to come out.
    pub fn missed_environment(&self) -> Option<Refusal> {
        self.asked.environment.get().map(|function| Refusal {
            interface: ENVIRONMENT,
            function,
            advice: "the build has none, and the guest would never see another; read variables and arguments in the handler",
        })
    }
}

/// A linker for that component, with what it must not call.
fn linker(component: &Component) -> Result<(Linker<State>, Arc<Asked>)> {
    let mut linker = linking::linker(component.engine(), component, Features::default())?;
    let asked = Arc::new(Asked::default());
    linker.allow_shadowing(true);
    for &(interface, function, advice) in REFUSED {
        let refusal = Refusal {
            interface,
            function,
            advice,
        };
        let asked = Arc::clone(&asked);
        linker
            .instance(&format!("{interface}@{WASI_0_2_VERSION}"))?
            .func_new(function, move |_, _, _, _| {
                Err(Error::new(asked.refused.get_or_init(|| refusal.clone()).clone()))
            })?;
    }
    let mut environment = linker.instance(&format!("{ENVIRONMENT}@{WASI_0_2_VERSION}"))?;
    for (function, nothing) in [
        ("get-environment", Val::List(Vec::new())),
        ("get-arguments", Val::List(Vec::new())),
        ("initial-cwd", Val::Option(None)),
    ] {
        let asked = Arc::clone(&asked);
        environment.func_new(function, move |_, _, _, results| {
            asked.environment.get_or_init(|| function);
            results.fill(nothing.clone());
            Ok(())
        })?;
    }
    linker.allow_shadowing(false);
    Ok((linker, asked))
}
