//! Brings an instance up: its start-up code, and its own `init` if it exports one.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::function::orlop::function::types;
use super::bindings::preparation::Preparation;
use super::outcome::classify;
use crate::error::{FunctionError, InitError};
use crate::sandbox::State;

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

pub(super) async fn instantiate(
    linked: &InstancePre<State>,
    has_init: bool,
    store: &mut Store<State>,
) -> Result<Instance, StartError> {
    let instance = match linked.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        Err(error) => return Err(StartError::Failed(classify(&error, store))),
    };
    if has_init {
        let preparation =
            Preparation::new(&mut *store, &instance).map_err(|error| StartError::Mismatched(mismatch(&error)))?;
        match preparation.orlop_function_lifecycle().call_init(&mut *store).await {
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
            Err(error) => return Err(StartError::Failed(classify(&error, store))),
        }
    }
    Ok(instance)
}

pub(super) fn mismatch(error: &wasmtime::Error) -> String {
    format!("an export has another type than this version of Orlop calls: {error:#}")
}
