//! Which interfaces a component is linked with: of those that the sandbox offers, the ones that it imports.
//!
//! Linking an interface makes a host function of each of its members, which costs time and memory at every cold start. All of
//! WASI has some two hundred of them; a component imports a fraction.

use std::collections::HashSet;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
#[cfg(feature = "wasi-0-3")]
use wasmtime_wasi::p3;
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
#[cfg(feature = "wasi-0-3")]
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{WasiView, p2};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

use super::files::HasFiles;
use super::sockets;
use super::wasi::State;
use crate::engine::Features;

/// The version that the engine's library gives to the interfaces of WASI 0.2.
pub(super) const WASI_0_2_VERSION: &str = "0.2.12";

/// A linker with what this component imports and the sandbox offers. Sockets and outgoing HTTP are linked, because toolchains
/// import them into guests that never use them, and refuse when called unless they are granted.
pub(super) fn linker(engine: &Engine, component: &Component, features: Features) -> Result<Linker<State>> {
    let component_type = component.component_type();
    let mut imports = HashSet::new();
    let mut linker = Linker::new(engine);
    for (name, import) in component_type.imports(engine) {
        let interface = without_patch_version(name);
        imports.insert(interface);
        if let (Some(interface), ComponentItem::ComponentInstance(imported)) =
            (interface.strip_suffix("@0.2"), import.ty)
            && interface.starts_with("wasi:sockets/")
        {
            let interface = format!("{interface}@{WASI_0_2_VERSION}");
            sockets::add_to_linker(&mut linker, &interface, &imported, engine)?;
        }
    }
    for (interface, link) in WASI_0_2 {
        if imports.contains(interface) {
            link(&mut linker)?;
        }
    }
    if features.component_model_async {
        for (interface, link) in WASI_0_3 {
            if imports.contains(interface) {
                link(&mut linker)?;
            }
        }
    }
    Ok(linker)
}

/// `wasi:cli/exit@0.2.6` becomes `wasi:cli/exit@0.2`. Versions that differ in the rest are compatible, and the linker takes one
/// for the other.
fn without_patch_version(name: &str) -> &str {
    match name.rsplit_once('@') {
        Some((_, version)) if version.matches('.').count() == 2 => name.rsplit_once('.').map_or(name, |(kept, _)| kept),
        Some(_) | None => name,
    }
}

type Link = fn(&mut Linker<State>) -> Result<()>;

/// Streams and what one waits for, in the table of the sandbox.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(state: &mut State) -> &mut ResourceTable {
    state.ctx().table
}

/// Interfaces by name: their bindings, and how their state is reached; `options` for those that have unstable members.
macro_rules! interfaces {
    ($($name:literal: $bindings:path, $data:ty, $get:expr $(, $options:ident)?;)*) => {
        &[$(($name, {
            use $bindings as interface;
            |linker| interface::add_to_linker::<State, $data>(linker, $(interfaces!(@$options interface),)? $get)
        })),*]
    };
    (@options $interface:ident) => { &$interface::LinkOptions::default() };
}

/// Three of them are our own: an environment that changes from event to event while a sandbox waits for its event, a `/tmp` that
/// costs nothing until it is asked for, and files within its limits.
const WASI_0_2: &[(&str, Link)] = interfaces! {
    "wasi:cli/environment@0.2": p2::bindings::cli::environment, HasSelf<State>, |state| state;
    "wasi:cli/exit@0.2": p2::bindings::cli::exit, WasiCli, State::cli;
    "wasi:cli/stderr@0.2": p2::bindings::cli::stderr, WasiCli, State::cli;
    "wasi:cli/stdin@0.2": p2::bindings::cli::stdin, WasiCli, State::cli;
    "wasi:cli/stdout@0.2": p2::bindings::cli::stdout, WasiCli, State::cli;
    "wasi:cli/terminal-input@0.2": p2::bindings::cli::terminal_input, WasiCli, State::cli;
    "wasi:cli/terminal-output@0.2": p2::bindings::cli::terminal_output, WasiCli, State::cli;
    "wasi:cli/terminal-stderr@0.2": p2::bindings::cli::terminal_stderr, WasiCli, State::cli;
    "wasi:cli/terminal-stdin@0.2": p2::bindings::cli::terminal_stdin, WasiCli, State::cli;
    "wasi:cli/terminal-stdout@0.2": p2::bindings::cli::terminal_stdout, WasiCli, State::cli;
    "wasi:clocks/monotonic-clock@0.2": p2::bindings::clocks::monotonic_clock, WasiClocks, State::clocks;
    "wasi:clocks/wall-clock@0.2": p2::bindings::clocks::wall_clock, WasiClocks, State::clocks;
    "wasi:filesystem/preopens@0.2": p2::bindings::filesystem::preopens, HasSelf<State>, |state| state;
    "wasi:filesystem/types@0.2": p2::bindings::filesystem::types, HasFiles, State::files;
    "wasi:http/outgoing-handler@0.2": wasmtime_wasi_http::p2::bindings::http::outgoing_handler, WasiHttp, State::http;
    "wasi:http/types@0.2": wasmtime_wasi_http::p2::bindings::http::types, WasiHttp, State::http, options;
    "wasi:io/error@0.2": p2::bindings::io::error, Io, table;
    "wasi:io/poll@0.2": p2::bindings::io::poll, Io, table;
    "wasi:io/streams@0.2": p2::bindings::io::streams, Io, table;
    "wasi:random/insecure-seed@0.2": p2::bindings::random::insecure_seed, WasiRandom, State::random;
    "wasi:random/insecure@0.2": p2::bindings::random::insecure, WasiRandom, State::random;
    "wasi:random/random@0.2": p2::bindings::random::random, WasiRandom, State::random;
};

#[cfg(not(feature = "wasi-0-3"))]
const WASI_0_3: &[(&str, Link)] = &[];

#[cfg(feature = "wasi-0-3")]
const WASI_0_3: &[(&str, Link)] = interfaces! {
    "wasi:cli/environment@0.3": p3::bindings::cli::environment, HasSelf<State>, |state| state;
    "wasi:cli/exit@0.3": p3::bindings::cli::exit, WasiCli, State::cli;
    "wasi:cli/stderr@0.3": p3::bindings::cli::stderr, WasiCli, State::cli;
    "wasi:cli/stdin@0.3": p3::bindings::cli::stdin, WasiCli, State::cli;
    "wasi:cli/stdout@0.3": p3::bindings::cli::stdout, WasiCli, State::cli;
    "wasi:cli/terminal-input@0.3": p3::bindings::cli::terminal_input, WasiCli, State::cli;
    "wasi:cli/terminal-output@0.3": p3::bindings::cli::terminal_output, WasiCli, State::cli;
    "wasi:cli/terminal-stderr@0.3": p3::bindings::cli::terminal_stderr, WasiCli, State::cli;
    "wasi:cli/terminal-stdin@0.3": p3::bindings::cli::terminal_stdin, WasiCli, State::cli;
    "wasi:cli/terminal-stdout@0.3": p3::bindings::cli::terminal_stdout, WasiCli, State::cli;
    "wasi:clocks/monotonic-clock@0.3": p3::bindings::clocks::monotonic_clock, WasiClocks, State::clocks;
    "wasi:clocks/system-clock@0.3": p3::bindings::clocks::system_clock, WasiClocks, State::clocks;
    "wasi:clocks/types@0.3": p3::bindings::clocks::types, WasiClocks, State::clocks;
    "wasi:filesystem/preopens@0.3": p3::bindings::filesystem::preopens, HasSelf<State>, |state| state;
    "wasi:filesystem/types@0.3": p3::bindings::filesystem::types, HasFiles, State::files;
    "wasi:http/client@0.3": wasmtime_wasi_http::p3::bindings::http::client, WasiHttp, State::http;
    "wasi:http/types@0.3": wasmtime_wasi_http::p3::bindings::http::types, WasiHttp, State::http;
    "wasi:random/insecure-seed@0.3": p3::bindings::random::insecure_seed, WasiRandom, State::random;
    "wasi:random/insecure@0.3": p3::bindings::random::insecure, WasiRandom, State::random;
    "wasi:random/random@0.3": p3::bindings::random::random, WasiRandom, State::random;
    "wasi:sockets/ip-name-lookup@0.3": p3::bindings::sockets::ip_name_lookup, WasiSockets, State::sockets;
    "wasi:sockets/types@0.3": p3::bindings::sockets::types, WasiSockets, State::sockets;
};
