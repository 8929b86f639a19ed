//! Calls a guest that exports `orlop:function/handler`.

use bytes::Bytes;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Result, Store};

use super::Call;
use super::bindings::function::orlop::function::types;
use super::bindings::function::{Function, FunctionIndices};
use super::outcome::{classify_answer, reported};
use crate::error::FunctionError;
use crate::sandbox::State;

/// The handler's export.
pub(super) struct Exports(FunctionIndices);

/// The handler of one instance.
pub(super) struct Guest(Function);

impl Exports {
    pub(super) fn new(linked: &InstancePre<State>) -> Result<Self> {
        FunctionIndices::new(linked).map(Self)
    }

    pub(super) fn load(&self, store: &mut Store<State>, instance: &Instance) -> Result<Guest> {
        self.0.load(store, instance).map(Guest)
    }
}

impl Guest {
    pub(super) async fn call(&self, store: &mut Store<State>, call: &Call<'_>) -> Result<Bytes, FunctionError> {
        let Call {
            event,
            context,
            identity,
            mode: _,
            responder: _,
            http: _,
        } = call;
        store
            .data_mut()
            .begin(context.deadline.instant, context.trace_variable());
        let context = types::Context {
            request_id: &context.request_id,
            function_name: &identity.name,
            function_version: &identity.version,
            invoked_function_arn: context.invoked_function_arn.as_deref(),
            deadline_ms: context.deadline.unix_ms,
            memory_limit_mb: identity.memory_mb,
            trace_id: context.trace_id.as_deref(),
            client_context: context.client_context.as_deref(),
            identity: context.identity.as_deref(),
            tenant_id: context.tenant_id.as_deref(),
            log_group: identity.log_group.as_deref(),
            log_stream: identity.log_stream.as_deref(),
        };
        let handler = self.0.orlop_function_handler();
        match handler.call_handle(&mut *store, event, context).await {
            Ok(Ok(answer)) => Ok(answer.into()),
            Ok(Err(error)) => Err(reported(error)),
            Err(error) => Err(classify_answer(&error, store)),
        }
    }
}
