//! Which interface a component exports, decided once, when it is loaded. Calling it is one file per world.

mod bindings;
mod command;
mod handler;
mod http;
mod outcome;
mod snap_start;
mod start;

use bytes::Bytes;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};

pub use crate::manifest::{ResponseMode, World as Kind};
pub use http::NotFound;
pub use start::StartError;

use crate::error::FunctionError;
use crate::events::RequestSettings;
use crate::invocation::{Context, FunctionIdentity};
use crate::runtime_api::{Answer, Responder};
use crate::sandbox::{State, Stdio};

/// The interface that makes a component a function.
pub const HANDLER_INTERFACE: &str = "orlop:function/handler@0.1.0";
/// The optional interface of a component that prepares itself.
pub const LIFECYCLE_INTERFACE: &str = "orlop:function/lifecycle@0.1.0";
/// The optional interface of a component that knows of Lambda's snapshots.
pub const SNAP_START_INTERFACE: &str = "orlop:function/snap-start@0.1.0";
/// What [`LIFECYCLE_INTERFACE`] is called in a snapshot. Nobody calls it any more: its work is done.
pub const INITIALISED_INTERFACE: &str = "orlop:function/initialised@0.1.0";

impl Kind {
    /// All of them, in the order in which they are looked for: plain HTTP servers often export a program, too.
    pub const ALL: [Self; 3] = [Self::Handler, Self::Http, Self::Command];

    /// Its name in settings and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Http => "http",
            Self::Command => "command",
        }
    }

    /// The interfaces that make a component one of these, up to their patch versions.
    fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Handler => &[HANDLER_INTERFACE],
            Self::Http => &["wasi:http/incoming-handler@0.2.", "wasi:http/handler@0.3."],
            Self::Command => &["wasi:cli/run@0.2.", "wasi:cli/run@0.3."],
        }
    }

    fn is_exported(self, exports: &[impl AsRef<str>]) -> bool {
        exports.iter().any(|export| {
            self.interfaces()
                .iter()
                .any(|interface| export.as_ref().starts_with(interface))
        })
    }

    /// The world of a component with those exports: the one that is wanted, else the first that there is.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing, with what was found instead.
    pub fn choose(exports: &[impl AsRef<str>], wanted: Option<Self>) -> Result<Self, String> {
        match wanted {
            Some(kind) if kind.is_exported(exports) => return Ok(kind),
            Some(kind) => return Err(missing(kind.interfaces(), exports)),
            None => {}
        }
        let found = Self::ALL.into_iter().find(|kind| kind.is_exported(exports));
        let interfaces: Vec<&str> = Self::ALL.iter().flat_map(|kind| kind.interfaces()).copied().collect();
        found.ok_or_else(|| missing(&interfaces, exports))
    }

    /// The world of that component.
    ///
    /// # Errors
    ///
    /// As [`Self::choose`].
    pub fn of(engine: &Engine, component: &Component, wanted: Option<Self>) -> Result<Self, String> {
        let component_type = component.component_type();
        let exports: Vec<&str> = component_type.exports(engine).map(|(name, _)| name).collect();
        Self::choose(&exports, wanted)
    }

    /// Where a guest's stdin and stdout lead.
    pub fn stdio(self) -> Stdio {
        match self {
            Self::Handler | Self::Http => Stdio::Log,
            Self::Command => Stdio::Event,
        }
    }
}

fn missing(interfaces: &[&str], exports: &[impl AsRef<str>]) -> String {
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| match name.strip_suffix('.') {
            Some(prefix) => format!("{prefix}.x"),
            None => (*name).to_owned(),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let exports: Vec<&str> = exports.iter().map(AsRef::as_ref).collect();
    let found = if exports.is_empty() {
        "nothing".to_owned()
    } else {
        exports.join(", ")
    };
    let hint = if Kind::ALL.iter().any(|kind| kind.is_exported(&exports)) {
        "; leave out the setting `world`, or name the one that it exports"
    } else if exports.iter().any(|name| name.starts_with("orlop:function/handler@")) {
        "; it was built for another version of Orlop: rebuild it with the SDK of this version"
    } else {
        "; build a program or a server for wasm32-wasip2, or use the orlop-sdk crate"
    };
    format!("it exports none of {}; it exports {found}{hint}", names(interfaces))
}

impl ResponseMode {
    /// Its name in settings and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Streaming => "streaming",
        }
    }
}

/// One call of a guest.
pub struct Call<'a> {
    /// The payload.
    pub event: &'a Bytes,
    /// Its metadata.
    pub context: &'a Context,
    /// What the platform calls the function.
    pub identity: &'a FunctionIdentity,
    /// How the answer leaves.
    pub mode: ResponseMode,
    /// What a streamed answer leaves through.
    pub responder: &'a Responder,
    /// How events become requests.
    pub http: &'a RequestSettings,
}

/// A component, linked and ready to be instantiated.
pub struct World {
    linked: InstancePre<State>,
    has_init: bool,
    has_snap_start: bool,
    exports: Exports,
}

/// The exports of a component's world, looked up.
enum Exports {
    Handler(handler::Exports),
    Http(http::Exports),
    Command(command::Exports),
}

/// An instance of it, alive in its sandbox.
pub struct Instance {
    store: Store<State>,
    guest: Guest,
    snap_start: Option<snap_start::Hooks>,
}

enum Guest {
    Handler(handler::Guest),
    Http(http::Guest),
    Command(command::Guest),
}

impl World {
    /// Links the component, so that nothing of this can fail for the first event.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing or does not fit.
    pub fn new(kind: Kind, linker: &Linker<State>, component: &Component) -> Result<Self, String> {
        let linked = linker.instantiate_pre(component).map_err(|error| unlinkable(&error))?;
        let has_init = component.get_export_index(None, LIFECYCLE_INTERFACE).is_some();
        let has_snap_start = component.get_export_index(None, SNAP_START_INTERFACE).is_some();
        let exports = match kind {
            Kind::Handler => handler::Exports::new(&linked).map(Exports::Handler),
            Kind::Http => http::Exports::new(&linked).map(Exports::Http),
            Kind::Command => command::Exports::new(&linked).map(Exports::Command),
        };
        Ok(Self {
            exports: exports.map_err(|error| start::mismatch(&error))?,
            linked,
            has_init,
            has_snap_start,
        })
    }

    /// Whether an instance may serve a second event.
    pub fn is_reusable(&self) -> bool {
        match self.exports {
            Exports::Handler(_) | Exports::Http(_) => true,
            Exports::Command(_) => false,
        }
    }

    /// Whether the guest prepares itself, which is how it asks to be kept.
    pub fn has_init(&self) -> bool {
        self.has_init
    }

    /// Whether the guest has hooks for Lambda's snapshots, which is how it asks to be in them.
    pub fn has_snap_start(&self) -> bool {
        self.has_snap_start
    }

    /// As [`Self::start`], for somebody who wants to look into the instance.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    #[cfg(feature = "compiler")]
    pub async fn prepare(&self, store: &mut Store<State>) -> Result<wasmtime::component::Instance, StartError> {
        start::instantiate(&self.linked, self.has_init, store).await
    }

    /// Makes an instance in `store`, and lets it prepare itself.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the store is gone.
    pub async fn start(&self, mut store: Store<State>) -> Result<Instance, StartError> {
        let instance = start::instantiate(&self.linked, self.has_init, &mut store).await?;
        let guest = match &self.exports {
            Exports::Handler(exports) => exports.load(&mut store, &instance).map(Guest::Handler),
            Exports::Http(exports) => exports.load(&mut store, &instance).map(Guest::Http),
            Exports::Command(exports) => exports.load(&mut store, &instance).map(Guest::Command),
        };
        let snap_start = match self.has_snap_start {
            true => snap_start::Hooks::load(&mut store, &instance).map(Some),
            false => Ok(None),
        };
        match guest.and_then(|guest| Ok((guest, snap_start?))) {
            Ok((guest, snap_start)) => Ok(Instance {
                store,
                guest,
                snap_start,
            }),
            Err(error) => Err(StartError::Mismatched(start::mismatch(&error))),
        }
    }
}

fn unlinkable(error: &wasmtime::Error) -> String {
    format!(
        "{error:#}; the sandbox offers WASI 0.2 and 0.3 (cli, clocks, filesystem, http, io, random, sockets) and nothing else"
    )
}

impl Instance {
    /// The most memory the guest has used, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.store.data().peak_memory_bytes()
    }

    /// Whether it may serve another event, if nothing went wrong.
    pub fn is_reusable(&self) -> bool {
        !self.store.data().is_abandoned()
    }

    /// Lets the guest get ready for a snapshot of this process, if it has a hook for that. After an error, the instance must
    /// not be used again.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`].
    pub async fn before_snapshot(&mut self) -> Result<(), FunctionError> {
        match &self.snap_start {
            Some(hooks) => hooks.before_snapshot(&mut self.store).await,
            None => Ok(()),
        }
    }

    /// Gives the guest, whose memory comes from a snapshot, random numbers that no other copy of it has, and calls its hook.
    /// After an error, the instance must not be used again.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`].
    pub async fn after_restore(&mut self) -> Result<(), FunctionError> {
        self.store.data_mut().renew();
        match &self.snap_start {
            Some(hooks) => hooks.after_restore(&mut self.store).await,
            None => Ok(()),
        }
    }

    /// Calls the guest with one event. After an error other than the guest's own, the instance must not be used again.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`].
    pub async fn call(&mut self, call: &Call<'_>) -> Result<Answer, FunctionError> {
        let Self { store, guest, .. } = self;
        match guest {
            Guest::Handler(guest) => guest.call(store, call).await.map(Answer::Whole),
            Guest::Http(guest) => guest.call(store, call).await,
            Guest::Command(guest) => guest.call(store, call).await,
        }
    }
}
