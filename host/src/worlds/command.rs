//! Calls a guest that is a program: the event on stdin, the context in environment variables, the answer on stdout.

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Result, Store};
#[cfg(feature = "wasi-0-3")]
use wasmtime_wasi::p3;
use wasmtime_wasi::{I32Exit, p2};

use super::outcome::{classify, exit};
use super::{Call, ResponseMode};
use crate::error::FunctionError;
use crate::runtime_api::Answer;
use crate::sandbox::State;

/// The program's `run`.
pub(super) enum Exports {
    Wasi02(p2::bindings::CommandIndices),
    #[cfg(feature = "wasi-0-3")]
    Wasi03(p3::bindings::CommandIndices),
}

/// The program of one instance. It runs once.
pub(super) enum Guest {
    Wasi02(p2::bindings::Command),
    #[cfg(feature = "wasi-0-3")]
    Wasi03(p3::bindings::Command),
}

impl Exports {
    pub(super) fn new(linked: &InstancePre<State>) -> Result<Self> {
        let exports = p2::bindings::CommandIndices::new(linked).map(Self::Wasi02);
        #[cfg(feature = "wasi-0-3")]
        let exports = exports.or_else(|_| p3::bindings::CommandIndices::new(linked).map(Self::Wasi03));
        exports
    }

    pub(super) fn load(&self, store: &mut Store<State>, instance: &Instance) -> Result<Guest> {
        match self {
            Self::Wasi02(indices) => indices.load(store, instance).map(Guest::Wasi02),
            #[cfg(feature = "wasi-0-3")]
            Self::Wasi03(indices) => indices.load(store, instance).map(Guest::Wasi03),
        }
    }
}

impl Guest {
    pub(super) async fn call(&self, store: &mut Store<State>, call: &Call<'_>) -> Result<Answer, FunctionError> {
        let state = store.data_mut();
        state.begin(call.context.deadline.instant, call.context.variables());
        state.set_stdin(call.event.clone());
        match call.mode {
            ResponseMode::Buffered => state.stdout().collect(),
            ResponseMode::Streaming => state.stdout().stream(call.responder.clone()),
        }
        let run = match self {
            Self::Wasi02(command) => command.wasi_cli_run().call_run(&mut *store).await,
            #[cfg(feature = "wasi-0-3")]
            Self::Wasi03(command) => {
                let run = store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await);
                run.await.flatten()
            }
        };
        let status = match run {
            Ok(Ok(())) => 0,
            // The interface tells success and failure apart, no more.
            Ok(Err(())) => 1,
            Err(error) => match error.downcast_ref() {
                Some(I32Exit(status)) => *status,
                None => return Err(classify(&error, store)),
            },
        };
        match status {
            0 => store.data().stdout().finish(),
            status => Err(exit(status, store)),
        }
    }
}
