//! Calls a guest that exports `orlop:function/handler`, and `lifecycle` if it exports that too.

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::LIFECYCLE_INTERFACE;
use super::bindings::function::Function;
use super::bindings::function::orlop::function::types;
use super::bindings::preparation::Preparation;
use super::outcome::classify;
use crate::error::{FunctionError, InitError};
use crate::invocation::{Context, FunctionIdentity};
use crate::sandbox::State;

/// A linked component of the handler world.
pub struct Handler {
    linked: InstancePre<State>,
    has_init: bool,
}

/// An instance of it, alive in its sandbox.
pub struct Instance {
    store: Store<State>,
    function: Function,
}

/// Why an instance could not be made ready.
#[derive(Debug, Clone)]
pub enum StartError {
    /// Its start-up code failed.
    Failed(FunctionError),
    /// An export has another type than it is called with.
    Mismatched(String),
    /// Its own `init` returned an error.
    Refused {
        /// The guest's error type.
        error_type: String,
        /// The guest's message.
        message: String,
        /// The guest's stack trace.
        stack_trace: Vec<String>,
    },
}

impl StartError {
    /// The same in the Init phase, of the component with that name.
    pub fn into_init_error(self, name: &str) -> InitError {
        match self {
            Self::Failed(error) => InitError::Guest(error),
            Self::Mismatched(reason) => InitError::InvalidComponent {
                name: name.to_owned(),
                reason,
            },
            Self::Refused {
                error_type,
                message,
                stack_trace,
            } => InitError::InitFailed {
                error_type,
                message,
                stack_trace,
            },
        }
    }
}

impl From<StartError> for FunctionError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Failed(error) => error,
            StartError::Mismatched(reason) => Self::Host(reason),
            StartError::Refused {
                error_type,
                message,
                stack_trace,
            } => Self::Guest {
                error_type,
                message,
                stack_trace,
            },
        }
    }
}

impl Handler {
    pub(super) fn new(linked: InstancePre<State>) -> Self {
        let has_init = linked.component().get_export_index(None, LIFECYCLE_INTERFACE).is_some();
        Self { linked, has_init }
    }

    /// Whether the guest prepares itself, which is how it asks to be kept.
    pub fn has_init(&self) -> bool {
        self.has_init
    }

    /// Makes an instance in `store`, and lets it prepare itself.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the store is gone.
    pub async fn start(&self, mut store: Store<State>) -> Result<Instance, StartError> {
        let instance = match self.linked.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(StartError::Failed(classify(&error, &store))),
        };
        if self.has_init {
            let preparation = Preparation::new(&mut store, &instance).map_err(|error| mismatch(&error))?;
            match preparation.orlop_function_lifecycle().call_init(&mut store).await {
                Ok(Ok(())) => {}
                Ok(Err(types::FunctionError {
                    error_type,
                    message,
                    stack_trace,
                })) => {
                    return Err(StartError::Refused {
                        error_type,
                        message,
                        stack_trace,
                    });
                }
                Err(error) => return Err(StartError::Failed(classify(&error, &store))),
            }
        }
        let function = Function::new(&mut store, &instance).map_err(|error| mismatch(&error))?;
        Ok(Instance { store, function })
    }
}

impl Instance {
    /// The most memory the guest has used, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.store.data().peak_memory_bytes()
    }

    /// Calls the guest with one event. After an error other than the guest's own, the instance must not be used again.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`].
    pub async fn handle(
        &mut self,
        event: &[u8],
        context: &Context,
        identity: &FunctionIdentity,
    ) -> Result<Bytes, FunctionError> {
        self.store.data_mut().begin(context.trace_id.clone());
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
        let handler = self.function.orlop_function_handler();
        match handler.call_handle(&mut self.store, event, context).await {
            Ok(Ok(answer)) => Ok(answer.into()),
            Ok(Err(types::FunctionError {
                error_type,
                message,
                stack_trace,
            })) => Err(FunctionError::Guest {
                error_type,
                message,
                stack_trace,
            }),
            Err(error) => Err(classify(&error, &self.store)),
        }
    }
}

fn mismatch(error: &wasmtime::Error) -> StartError {
    StartError::Mismatched(format!(
        "an export has another type than this version of Orlop calls: {error:#}"
    ))
}
