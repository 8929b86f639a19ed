//! The Invoke phase, one event at a time: next, invoke, answer, again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument, debug, error, info_span, warn};

use crate::deployment::Deployment;
use crate::error::FunctionError;
use crate::function::Enforcement;
use crate::invocation::Invocation;
use crate::runtime_api::{Client, Error, Responder};
use crate::watchdog::{LAST_CALL, Task, Watch};

/// How often what a guest has left on the event loop is looked after before the next event.
const MAX_LEFT_OVER_ROUNDS: u32 = 16;

/// The least time for an answer to be accepted and the next sandbox to be ready, however near Lambda's deadline.
pub const SHORTEST_COMPLETION: Duration = Duration::from_secs(1);

/// Serves events, first of all one that the process has to resume, until the Runtime API fails, or until a termination signal
/// arrives while none is being served.
///
/// # Errors
///
/// [`Error`] of the Runtime API. Whatever a guest does ends its event only.
pub async fn run(
    client: &mut Client,
    deployment: &mut Deployment,
    watch: &Watch,
    resumed: Option<(Invocation, Responder)>,
) -> Result<(), Error> {
    let mut resumed = resumed;
    while !watch.is_shutting_down() {
        let (invocation, responder) = match resumed.take() {
            Some(resumed) => resumed,
            None => {
                finish_left_over_tasks().await;
                // The wait itself blocks, and ends with an error when it is interrupted. Pauses between two tries do not.
                let next = tokio::select! {
                    biased;
                    next = client.next() => next,
                    () = last_call(watch) => break,
                };
                match next {
                    Err(Error::Interrupted) => break,
                    next => next?,
                }
            }
        };
        let context = &invocation.context;
        let span = info_span!(
            "invocation",
            request_id = context.request_id,
            tenant_id = context.tenant_id
        );
        async {
            if let Some(remark) = &context.deadline.remark {
                warn!("{remark}");
            }
            let mut choice = deployment.choose(&invocation);
            let (output, timeout) = match choice.function() {
                Some(function) => (Some(Arc::clone(function.output())), function.behaviour().timeout),
                None => (None, None),
            };
            let task = Task::Invocation {
                responder: responder.clone(),
                output,
                since: Instant::now(),
                platform: context.deadline.platform,
            };
            let watched = watch.begin(task, context.deadline.sooner(timeout));
            let enforcement = Enforcement::Watchdog(&watched);
            let answer = choice.invoke(&invocation, &responder, enforcement).await;
            watched.finish();
            let limit = context.deadline.platform.max(Instant::now() + SHORTEST_COMPLETION);
            let watched = watch.begin(Task::Completion, limit);
            match answer {
                Ok(answer) => {
                    debug!("answered");
                    responder.respond(client, answer).await?;
                }
                Err(error) => {
                    log_failure(&error);
                    responder.fail(client, &error.report()).await?;
                }
            }
            // The next sandbox is made while nobody waits for it.
            if let Some(function) = choice.function() {
                function.prepare().await;
            }
            watched.finish();
            Ok(())
        }
        .instrument(span)
        .await?;
    }
    Ok(())
}

/// Lets what a guest has left on the event loop, such as a connection that is to be closed, come to its end. While the
/// thread waits for Lambda, nothing else on it goes on.
async fn finish_left_over_tasks() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..MAX_LEFT_OVER_ROUNDS {
        // This one is a task itself.
        if tasks() <= 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Resolves a moment after a termination signal: an event that Lambda had sent by then has arrived and is served.
async fn last_call(watch: &Watch) {
    watch.shutdown().await;
    tokio::time::sleep(LAST_CALL).await;
}

/// One line for the operator: what the caller was told, with the guest's frames.
pub fn log_failure(error: &FunctionError) {
    let report = error.report();
    error!(
        error_type = report.error_type,
        error_message = report.error_message,
        stack_trace = report.stack_trace.join("\n"),
        "the invocation failed"
    );
}
