//! Which interface a component exports, decided once, when it is loaded. Calling it is one file per world.

mod bindings;
pub mod handler;
mod outcome;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::sandbox::State;

/// The interface that makes a component a function.
pub const HANDLER_INTERFACE: &str = "orlop:function/handler@0.1.0";
/// The optional interface of a component that prepares itself.
pub const LIFECYCLE_INTERFACE: &str = "orlop:function/lifecycle@0.1.0";

/// A component, linked and ready to be instantiated.
pub enum World {
    /// It exports `orlop:function/handler`.
    Handler(handler::Handler),
}

impl World {
    /// Links the component, so that nothing of this can fail for the first event.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing or does not fit, with what was found instead.
    pub fn new(engine: &Engine, linker: &Linker<State>, component: &Component) -> Result<Self, String> {
        if component.get_export_index(None, HANDLER_INTERFACE).is_none() {
            return Err(missing_handler(engine, component));
        }
        let linked = linker.instantiate_pre(component).map_err(|error| unlinkable(&error))?;
        Ok(Self::Handler(handler::Handler::new(linked)))
    }
}

fn missing_handler(engine: &Engine, component: &Component) -> String {
    let component_type = component.component_type();
    let exports: Vec<&str> = component_type.exports(engine).map(|(name, _)| name).collect();
    let found = if exports.is_empty() {
        "nothing".to_owned()
    } else {
        exports.join(", ")
    };
    let hint = if exports.iter().any(|name| name.starts_with("orlop:function/handler@")) {
        "; it was built for another version of Orlop: rebuild it with the SDK of this version"
    } else {
        "; build it with the orlop-sdk crate, or export that interface"
    };
    format!("it does not export {HANDLER_INTERFACE}, it exports {found}{hint}")
}

fn unlinkable(error: &wasmtime::Error) -> String {
    format!("{error:#}; the sandbox offers WASI 0.2 (cli, clocks, filesystem, io, random, sockets) and nothing else")
}
