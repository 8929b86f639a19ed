//! Calls the hooks of a guest that exports `orlop:function/snap-start`.

use wasmtime::component::Instance;
use wasmtime::{Result, Store};

use super::bindings::function::orlop::function::types;
use super::bindings::snap_start::SnapStartHooks;
use super::outcome::{classify, reported};
use crate::error::FunctionError;
use crate::sandbox::State;

/// The hooks of one instance.
pub(super) struct Hooks(SnapStartHooks);

impl Hooks {
    pub(super) fn load(store: &mut Store<State>, instance: &Instance) -> Result<Self> {
        SnapStartHooks::new(store, instance).map(Self)
    }

    pub(super) async fn before_snapshot(&self, store: &mut Store<State>) -> Result<(), FunctionError> {
        let hooks = self.0.orlop_function_snap_start();
        let outcome = hooks.call_before_snapshot(&mut *store).await;
        judge(outcome, store)
    }

    pub(super) async fn after_restore(&self, store: &mut Store<State>) -> Result<(), FunctionError> {
        let hooks = self.0.orlop_function_snap_start();
        let outcome = hooks.call_after_restore(&mut *store).await;
        judge(outcome, store)
    }
}

fn judge(outcome: Result<Result<(), types::FunctionError>>, store: &Store<State>) -> Result<(), FunctionError> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(reported(error)),
        Err(error) => Err(classify(&error, store)),
    }
}
