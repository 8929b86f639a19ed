//! Runs a batch record by record: one call, one sandbox and one verdict for each.
//!
//! What has succeeded so far is kept where the watchdog finds it, so that a record that never returns takes nothing with it:
//! the watchdog then answers with what is not done.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout_at;
use tracing::{error, info, info_span, warn};

use super::{Enforcement, Recipe};
use crate::error::FunctionError;
use crate::events::batch::{Batch, Progress, Tally, Undivided, record_outcome};
use crate::handover::InterruptedBatch;
use crate::invocation::{Context, Deadline, Invocation};
use crate::manifest::ResponseMode;
use crate::runtime_api::{Answer, Responder};
use crate::sandbox::Output;
use crate::telemetry::Origin;

/// Less time than this is not worth going on for with a batch that was interrupted.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// How far a batch is, for the worker and for whoever answers in its place.
#[derive(Debug, Clone)]
pub struct SharedProgress {
    state: Arc<Mutex<State>>,
    event: Bytes,
    context: Context,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    under_way: Vec<UnderWay>,
}

/// A record that a guest is running.
#[derive(Debug)]
struct UnderWay {
    index: usize,
    output: Arc<Output>,
    since: Instant,
}

impl SharedProgress {
    fn new(progress: Progress, invocation: &Invocation) -> Self {
        let state = State {
            progress,
            under_way: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            event: invocation.event.clone().unwrap_or_default(),
            context: invocation.context.clone(),
        }
    }

    /// How far the batch is that an earlier run of this process began; `None` if it is no such batch.
    pub fn resumed(invocation: &Invocation) -> Option<Self> {
        let batch = Batch::parse(invocation.event.as_ref().ok()?).ok()?;
        let progress = Progress::resume(&batch, NonZeroUsize::MIN, invocation.standing.clone()?)?;
        Some(Self::new(progress, invocation))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the event has to be answered.
    pub fn deadline(&self) -> &Deadline {
        &self.context.deadline
    }

    /// The event.
    pub fn event(&self) -> &Bytes {
        &self.event
    }

    /// Fails the records that are under way, which never return. What is needed to go on with the others, if there are any
    /// and there is time for them.
    pub fn interrupt(&self, responder: &Responder) -> Option<InterruptedBatch> {
        let span = info_span!(
            "invocation",
            request_id = self.context.request_id,
            tenant_id = self.context.tenant_id
        );
        let _entered = span.entered();
        let State { progress, under_way } = &mut *self.lock();
        for UnderWay { index, output, since } in under_way.drain(..) {
            let report = super::overrun(since, Some(&output)).report();
            error!(
                record = progress.identifier(index),
                error_type = report.error_type,
                error_message = report.error_message,
                "a record of the batch did not return in time"
            );
        }
        let standing = progress.interrupt();
        let left = self.context.deadline.instant.saturating_duration_since(Instant::now());
        if progress.is_complete() || left < SHORTEST_REST {
            return None;
        }
        let left = self.context.deadline.platform.saturating_duration_since(Instant::now());
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + left;
        Some(InterruptedBatch {
            request_id: self.context.request_id.clone(),
            invocation_id: responder.invocation_id(),
            deadline_unix_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            invoked_function_arn: self.context.invoked_function_arn.clone(),
            trace_id: self.context.trace_id.clone(),
            client_context: self.context.client_context.clone(),
            identity: self.context.identity.clone(),
            tenant_id: self.context.tenant_id.clone(),
            standing,
        })
    }

    /// Ends the batch where it is: the answer that names everything that has not succeeded, and how many did what.
    pub fn give_up(&self) -> (Bytes, Tally) {
        let State { progress, under_way } = &mut *self.lock();
        for UnderWay { output, .. } in under_way.drain(..) {
            output.flush();
        }
        progress.give_up();
        (progress.answer(), progress.tally())
    }

    /// The next record that may run, if there is time for it. It writes to `output`.
    fn start(&self, output: &Arc<Output>) -> Option<usize> {
        let State { progress, under_way } = &mut *self.lock();
        if Instant::now() >= self.context.deadline.instant {
            progress.give_up();
        }
        let index = progress.start()?;
        under_way.push(UnderWay {
            index,
            output: Arc::clone(output),
            since: Instant::now(),
        });
        Some(index)
    }

    fn finished(&self, index: usize, succeeded: bool) {
        let State { progress, under_way } = &mut *self.lock();
        under_way.retain(|record| record.index != index);
        progress.finished(index, succeeded);
    }
}

/// The batch in an event, if its records can be run and reported one by one.
pub(super) fn divided(event: &Bytes) -> Option<Batch> {
    match Batch::parse(event) {
        Ok(batch) => Some(batch),
        Err(Undivided::NoBatch) => None,
        Err(Undivided::Unreportable(reason)) => {
            warn!(
                reason,
                "the batch goes to the guest as a whole, because its records cannot be reported one by one"
            );
            None
        }
    }
}

impl Recipe {
    /// Calls the guest once for each record, `at_a_time` of them together, and answers with those that failed.
    pub(super) async fn invoke_records(
        &self,
        batch: &Batch,
        at_a_time: usize,
        invocation: &Invocation,
        responder: &Responder,
        enforcement: Enforcement<'_>,
    ) -> Answer {
        let limit = NonZeroUsize::new(at_a_time).unwrap_or(NonZeroUsize::MIN);
        let context = &invocation.context;
        let resumed = invocation
            .standing
            .clone()
            .and_then(|standing| Progress::resume(batch, limit, standing));
        let progress = resumed.unwrap_or_else(|| Progress::new(batch, limit));
        let progress = SharedProgress::new(progress, invocation);
        responder.set_progress(progress.clone());
        let mut running = FuturesUnordered::new();
        let mut deadlines = Deadlines::new(context.deadline.instant);
        loop {
            let mut output = self.sandboxes.output();
            while let Some(index) = progress.start(&output) {
                deadlines.begin(index, self.behaviour.timeout);
                let output = std::mem::replace(&mut output, self.sandboxes.output());
                let limit = match enforcement {
                    Enforcement::Watchdog(_) => None,
                    Enforcement::Timer => Some(deadlines.of(index)),
                };
                let record = async move {
                    let succeeded = self.run_record(batch, index, context, responder, &output, limit).await;
                    (index, succeeded)
                };
                let record: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(record);
                running.push(record);
            }
            enforcement.move_to(deadlines.next());
            let Some((index, succeeded)) = running.next().await else {
                break;
            };
            deadlines.end(index);
            progress.finished(index, succeeded);
        }
        // Not before the last answer is in: an expired record must not be taken for one that is still under way.
        enforcement.move_to(context.deadline.instant);
        let (answer, tally) = progress.give_up();
        let Tally {
            succeeded,
            failed,
            not_run,
        } = tally;
        info!(
            records = batch.len(),
            succeeded, failed, not_run, "ran the batch record by record"
        );
        Answer::Whole(answer)
    }

    async fn run_record(
        &self,
        batch: &Batch,
        index: usize,
        context: &Context,
        responder: &Responder,
        output: &Arc<Output>,
        limit: Option<Instant>,
    ) -> bool {
        let identifier = batch.identifier(index);
        let event = batch.event(index);
        output.begin(Origin {
            request_id: Some(context.request_id.clone()),
            tenant_id: context.tenant_id.clone(),
        });
        let since = Instant::now();
        let outcome = async {
            let mut instance = self.start(output).await?;
            let call = self.call(&event, context, ResponseMode::Buffered, responder);
            instance.call(&call).await
        };
        let outcome: Result<Answer, FunctionError> = match limit {
            None => outcome.await,
            Some(limit) => match timeout_at(limit.into(), outcome).await {
                Ok(outcome) => outcome,
                Err(_) => Err(super::overrun(since, Some(output))),
            },
        };
        output.flush();
        let failure = match outcome {
            Ok(Answer::Whole(answer)) => match record_outcome(&answer, identifier) {
                Ok(()) => return true,
                Err(reason) => FunctionError::Guest {
                    error_type: "Function.RecordFailed".to_owned(),
                    message: reason.to_string(),
                    stack_trace: Vec::new(),
                },
            },
            Ok(Answer::Streamed) => unreachable!("records are answered in whole"),
            Err(error) => error,
        };
        let report = failure.report();
        error!(
            record = identifier,
            error_type = report.error_type,
            error_message = report.error_message,
            stack_trace = report.stack_trace.join("\n"),
            "a record of the batch failed"
        );
        false
    }
}

impl Enforcement<'_> {
    /// Gives the watchdog, if there is one, another deadline; timers have theirs.
    fn move_to(self, deadline: Instant) {
        match self {
            Self::Watchdog(watched) => watched.move_to(deadline),
            Self::Timer => {}
        }
    }
}

/// When the records under way have to be done.
struct Deadlines {
    event: Instant,
    records: Vec<(usize, Instant)>,
}

impl Deadlines {
    fn new(event: Instant) -> Self {
        Self {
            event,
            records: Vec::new(),
        }
    }

    fn begin(&mut self, index: usize, timeout: Option<Duration>) {
        let deadline = timeout.map_or(self.event, |timeout| self.event.min(Instant::now() + timeout));
        self.records.push((index, deadline));
    }

    fn end(&mut self, index: usize) {
        self.records.retain(|(record, _)| *record != index);
    }

    /// When that record has to be done.
    fn of(&self, index: usize) -> Instant {
        let record = self.records.iter().find(|(record, _)| *record == index);
        record.map_or(self.event, |(_, deadline)| *deadline)
    }

    fn next(&self) -> Instant {
        let deadlines = self.records.iter().map(|(_, deadline)| *deadline);
        deadlines.min().unwrap_or(self.event)
    }
}
