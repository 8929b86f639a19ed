//! Answers and reports from the main thread, in place of a worker that cannot give them any more.

use std::future::Future;
use std::time::{Duration, Instant};

use tracing::{info_span, warn};

use crate::config::{Config, RuntimeApi};
use crate::engine::Execution;
use crate::error::{FunctionError, InitError};
use crate::event_loop;
use crate::events::batch::Tally;
use crate::function::SharedProgress;
use crate::invocation::DeadlinePolicy;
use crate::invoke_loop;
use crate::runtime_api::{self, Answer, Client, Responder};

/// How long the Runtime API may take, at least, to accept an answer that the worker could not give.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers an event whose guest never returned: with what is done of it, if it is a batch, else with the error.
pub(crate) fn answer(
    config: &Config,
    responder: Responder,
    error: &FunctionError,
    patience: Instant,
) -> Result<(), runtime_api::Error> {
    let Some(progress) = responder.progress().cloned() else {
        return fail(config, responder, error, patience);
    };
    let span = info_span!("invocation", request_id = responder.request_id());
    span.in_scope(|| invoke_loop::log_failure(error));
    answer_batch(config, responder, &progress)
}

/// Ends a batch where it is.
pub(crate) fn answer_batch(
    config: &Config,
    responder: Responder,
    progress: &SharedProgress,
) -> Result<(), runtime_api::Error> {
    let (answer, tally) = progress.give_up();
    let Tally {
        succeeded,
        failed,
        not_run,
    } = tally;
    let span = info_span!("invocation", request_id = responder.request_id());
    span.in_scope(|| {
        warn!(
            succeeded,
            failed, not_run, "the batch was ended; what had not succeeded is reported as failed and comes again"
        );
    });
    answer_from_here(config, progress.deadline().platform, async |client| {
        responder.respond(client, Answer::Whole(answer)).await
    })
}

/// Answers an event from the main thread, when the worker cannot.
pub(crate) fn fail(
    config: &Config,
    responder: Responder,
    error: &FunctionError,
    patience: Instant,
) -> Result<(), runtime_api::Error> {
    let span = info_span!("invocation", request_id = responder.request_id());
    span.in_scope(|| invoke_loop::log_failure(error));
    let report = error.report();
    answer_from_here(config, patience, async |client| responder.fail(client, &report).await)
}

/// Posts an answer. The Runtime API, or who reads a stream behind it, may take until then to accept it, and
/// [`ANSWER_TIMEOUT`] at least.
fn answer_from_here(
    config: &Config,
    patience: Instant,
    post: impl AsyncFnOnce(&mut Client) -> Result<(), runtime_api::Error>,
) -> Result<(), runtime_api::Error> {
    let patience = patience.max(Instant::now() + ANSWER_TIMEOUT);
    let mut client = Client::new(&config.runtime_api, &config.deadlines, config.max_event_bytes);
    let post = async {
        match tokio::time::timeout_at(patience.into(), post(&mut client)).await {
            Ok(posted) => posted,
            Err(_) => {
                warn!("the Runtime API did not confirm the answer in time");
                Ok(())
            }
        }
    };
    // Without an event loop nothing can be posted; the successor will find the event unanswered.
    block_on(post).unwrap_or(Ok(()))
}

/// Posts to `/init/error`.
pub(crate) fn report_init_error(runtime_api: &RuntimeApi, error: &InitError) {
    report(runtime_api, async |client| client.init_error(&error.report()).await);
}

/// Has a client of its own report why the process ends.
pub(crate) fn report(runtime_api: &RuntimeApi, post: impl AsyncFnOnce(&mut Client)) {
    let policy = DeadlinePolicy {
        margin: Duration::ZERO,
        default_timeout: Duration::ZERO,
    };
    let mut client = Client::new(runtime_api, &policy, 0);
    block_on(post(&mut client));
}

fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    match event_loop::new(Execution::Sequential) {
        Ok(runtime) => Some(runtime.block_on(work)),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "cannot reach the Runtime API");
            None
        }
    }
}
