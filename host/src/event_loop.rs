//! The event loops of the process.

use crate::engine::Execution;
use crate::error::InitError;
use crate::shortage;

/// Descriptors that are free before an event loop starts in a program where tokio has its signals built in, as in the tool: it
/// panics if there are too few for them. Where it has none, it says so itself.
const LOOP_DESCRIPTORS: usize = if cfg!(feature = "compiler") { 7 } else { 0 };

/// An event loop, with one thread or with one for each processor.
///
/// # Errors
///
/// [`InitError::Host`], when the operating system has nothing left that it needs.
pub(crate) fn new(execution: Execution) -> Result<tokio::runtime::Runtime, InitError> {
    let mut builder = match execution {
        Execution::Sequential => tokio::runtime::Builder::new_current_thread(),
        Execution::Concurrent => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            // Guests that compute keep every thread busy; what arrives for others is looked after whenever one lets go.
            builder.thread_name("guests").event_interval(1);
            builder
        }
    };
    shortage::has_descriptors(LOOP_DESCRIPTORS)
        .and_then(|()| builder.enable_io().enable_time().build())
        .map_err(|error| InitError::host("starting the event loop", &error))
}
