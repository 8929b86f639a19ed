//! The Invoke phase on Managed Instances, several events at a time: pollers, as many as Lambda offers events, each a loop of
//! next, invoke, answer, again (runtime contract §8.1).
//!
//! A poller has a connection and sandboxes of its own; what they share is read only. Guests take turns on as many threads as
//! there are processors. One that runs or waits past its deadline loses its sandbox, and nobody else notices.
//!
//! ```text
//!   poller 1  next ─► invoke ─► answer ─► next …      ticker: a guest that computes lets go of its thread
//!   poller 2  next ─► invoke ─► answer ─► next …      timers: a guest that is over its time is dropped
//!      …                                              shutdown: nobody asks for more, what runs has a moment left
//! ```

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::deployment::{Choice, Deployment};
use crate::engine::Ticker;
use crate::error::{FunctionError, panic_message};
use crate::function::Enforcement;
use crate::invocation::Invocation;
use crate::invoke_loop::{SHORTEST_COMPLETION, log_failure};
use crate::runtime_api::{Answer, Client, Error, Responder};
use crate::watchdog::{LAST_CALL, SHUTDOWN_GRACE, Task, Watch};

/// How long a running guest may go on after a termination signal: long enough before [`SHUTDOWN_GRACE`] is over, with which the
/// watchdog ends the process, for its event to be answered.
const GUEST_GRACE: Duration = Duration::from_millis(80);

/// What pollers share.
struct Shared {
    ticker: Arc<Ticker>,
    /// When a termination signal arrived.
    terminated: watch::Receiver<Option<Instant>>,
    init_timeout: Duration,
}

/// Serves events, `count` at a time, until Lambda itself fails, the Runtime API fails for all pollers, or a termination signal
/// arrives.
///
/// # Errors
///
/// [`Error`] of the Runtime API. Whatever a guest does ends its event only.
pub async fn run(
    client: impl Fn() -> Client,
    deployment: Deployment,
    count: NonZeroU32,
    ticker: Arc<Ticker>,
    init_timeout: Duration,
    watch: &Watch,
) -> Result<(), Error> {
    let (terminate, terminated) = watch::channel(None);
    let shared = Arc::new(Shared {
        ticker,
        terminated,
        init_timeout,
    });
    let mut pollers = JoinSet::new();
    for _ in 1..count.get() {
        let poller = Poller {
            client: client(),
            deployment: deployment.for_another_poller(),
            shared: Arc::clone(&shared),
        };
        pollers.spawn(poller.run());
    }
    let first = Poller {
        client: client(),
        deployment,
        shared,
    };
    pollers.spawn(first.run());
    let mut gave_up = None;
    loop {
        let ended = tokio::select! {
            biased;
            ended = pollers.join_next() => ended,
            () = watch.shutdown() => {
                // If a guest does not let go, the watchdog ends the process.
                let _watched = watch.begin(Task::Completion, Instant::now() + SHUTDOWN_GRACE);
                terminate.send_replace(Some(Instant::now()));
                while pollers.join_next().await.is_some() {}
                return Ok(());
            }
        };
        match ended {
            None => return gave_up.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => {}
            // Lambda itself has failed: it waits for the process to end.
            Some(Ok(Err(error))) if error.is_final() => return Err(error),
            Some(Ok(Err(error))) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a poller gives up; the others go on"
                );
                gave_up = Some(error);
            }
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("nobody cancels a poller: {error}"),
            },
        }
    }
}

struct Poller {
    client: Client,
    deployment: Deployment,
    shared: Arc<Shared>,
}

/// How the work on an event ended.
enum Ended {
    Answered(Result<Answer, FunctionError>),
    Terminated,
}

impl Poller {
    async fn run(mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        {
            let _running = shared.ticker.run();
            let limit = Instant::now() + shared.init_timeout;
            // One that is not ready by then, or failed, begins again with its first event.
            let _ = timeout_at(limit.into(), self.deployment.prepare()).await;
        }
        while shared.terminated.borrow().is_none() {
            let next = tokio::select! {
                biased;
                next = self.client.next() => next,
                () = shared.after_termination(LAST_CALL) => break,
            };
            let (invocation, responder) = match next {
                Ok(next) => next,
                Err(error @ Error::EventLost(_)) => {
                    error!(error = &error as &dyn std::error::Error, "the event is lost");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let context = &invocation.context;
            let span = info_span!(
                "invocation",
                request_id = context.request_id,
                tenant_id = context.tenant_id
            );
            self.serve(&invocation, responder).instrument(span).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, invocation: &Invocation, responder: Responder) -> Result<(), Error> {
        let Self {
            client,
            deployment,
            shared,
        } = self;
        let context = &invocation.context;
        if let Some(remark) = &context.deadline.remark {
            warn!("{remark}");
        }
        let mut choice = deployment.choose(invocation);
        let ended = {
            let _running = shared.ticker.run();
            let call = AssertUnwindSafe(choice.invoke(invocation, &responder, Enforcement::Timer)).catch_unwind();
            tokio::select! {
                biased;
                answer = call => Ended::Answered(answer.unwrap_or_else(|panic| {
                    let message = panic_message(&*panic);
                    Err(FunctionError::Host(format!("a bug in Orlop, please report it: {message}")))
                })),
                () = shared.after_termination(GUEST_GRACE) => Ended::Terminated,
            }
        };
        let answer = match (ended, responder.progress()) {
            (Ended::Answered(answer), _) => answer,
            (Ended::Terminated, Some(progress)) => Ok(Answer::Whole(progress.give_up().0)),
            (Ended::Terminated, None) => Err(FunctionError::ShuttingDown),
        };
        let limit = context.deadline.platform.max(Instant::now() + SHORTEST_COMPLETION);
        let posting = async {
            match answer {
                Ok(answer) => {
                    debug!("answered");
                    responder.respond(client, answer).await
                }
                Err(error) => {
                    log_failure(&error);
                    responder.fail(client, &error.report()).await
                }
            }
        };
        match timeout_at(limit.into(), posting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_final() => return Err(error),
            Ok(Err(error)) => error!(
                error = &error as &dyn std::error::Error,
                "the answer could not be delivered"
            ),
            Err(_) => warn!("the Runtime API did not confirm the answer in time"),
        }
        if let Choice::Function(function) = &mut choice {
            let _running = shared.ticker.run();
            // The next sandbox is made while nobody waits for it; one that takes too long is made for its event.
            let _ = timeout_at(limit.into(), function.prepare()).await;
        }
        Ok(())
    }
}

impl Shared {
    /// Resolves so long after a termination signal.
    async fn after_termination(&self, pause: Duration) {
        let mut terminated = self.terminated.clone();
        let since = terminated.wait_for(Option::is_some).await.ok().and_then(|since| *since);
        match since {
            Some(since) => sleep_until((since + pause).into()).await,
            // Nobody is left who could tell of one.
            None => std::future::pending().await,
        }
    }
}
