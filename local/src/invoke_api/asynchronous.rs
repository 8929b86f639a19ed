//! Events whose callers do not wait: kept in memory, tried again when they fail, and handed to a queue in the end if one is set.
//!
//! ```text
//! accept ─► wait for a free place ─► call the function ─► success ────────────────────► on_success
//!             ▲                        │ throttled: wait, longer each time, call again
//!             └── wait, longer ◄───────┴ error ── third time, or too old ─────────────► on_failure, dead_letter
//! ```
//!
//! Every event is a task. A function gets as many at a time as it may have environments, in the order of their arrival.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::destination::{Condition, Finished};
use super::error::{ApiError, Code};
use super::{VERSION, cannot_start};
use crate::function::Function;
use crate::invocation::{Invocation, Refusal};
use crate::journal::What;
use crate::platform::Platform;
use crate::queue::{Error as QueueError, Outgoing, Queues};

/// How many bytes of events may wait. Lambda has no such limit; a laptop has.
const MAX_KEPT_BYTES: usize = 256 << 20;
/// What an event counts for beside its payload.
const BYTES_PER_EVENT: usize = 4 << 10;
/// The most retries, as on Lambda.
const MAX_RETRIES: u32 = 2;
/// How long a throttled event waits at first; twice as long each time after that.
const FIRST_THROTTLE_PAUSE: Duration = Duration::from_millis(50);
/// And at the most.
const LONGEST_THROTTLE_PAUSE: Duration = Duration::from_secs(5);

/// How a function's asynchronous events are treated; Lambda's `EventInvokeConfig` and `DeadLetterConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventInvokeConfig {
    /// How often an event that failed is tried again: 0 to 2 times; more counts as 2.
    pub retries: u32,
    /// The time before the first retry; there is twice as much before the second. On Lambda it is a minute.
    pub backoff: Duration,
    /// An event that is older is not tried any more. On Lambda, a minute to six hours.
    pub max_age: Duration,
    /// The name of the queue that gets a record of each success.
    pub on_success: Option<String>,
    /// The name of the queue that gets a record of each event that was given up.
    pub on_failure: Option<String>,
    /// The name of the queue that gets the events that were given up, with the error in attributes.
    pub dead_letter: Option<String>,
}

impl Default for EventInvokeConfig {
    fn default() -> Self {
        Self {
            retries: MAX_RETRIES,
            backoff: Duration::from_secs(1),
            max_age: Duration::from_secs(6 * 60 * 60),
            on_success: None,
            on_failure: None,
            dead_letter: None,
        }
    }
}

/// An asynchronous event that was not handled when the platform went down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The request id, which its caller has been told.
    pub request_id: String,
    /// The function.
    pub function: String,
    /// The event.
    pub payload: Bytes,
}

/// The events. Clones are handles to the same.
#[derive(Debug, Clone)]
pub(super) struct AsynchronousEvents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    platform: Platform,
    queues: Queues,
    is_closing: watch::Sender<bool>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What is not over, by the request id.
    events: BTreeMap<String, Unfinished>,
    bytes: usize,
    tasks: JoinSet<()>,
    /// The places of each function, and how many there are in all.
    places: HashMap<String, (usize, Arc<Semaphore>)>,
}

/// One event on its way.
struct Event {
    function: Arc<Function>,
    config: EventInvokeConfig,
    request_id: String,
    invocation: Invocation,
    places: Arc<Semaphore>,
    deadline: Instant,
}

/// The platform is going down, and the event stays where it is.
struct Closing;

/// What one call has led to.
enum Attempt {
    Success(Bytes),
    Error(Bytes),
    Throttled,
}

/// How it ended, after how many calls, and with which answer.
struct End {
    condition: Condition,
    attempts: u32,
    answer: Option<Bytes>,
}

impl AsynchronousEvents {
    pub(super) fn new(platform: Platform, queues: Queues) -> Self {
        Self(Arc::new(Inner {
            platform,
            queues,
            is_closing: watch::Sender::new(false),
            kept: Mutex::default(),
        }))
    }

    /// Keeps an event until it is over.
    pub(super) fn accept(
        &self,
        function: Arc<Function>,
        config: EventInvokeConfig,
        request_id: &str,
        invocation: Invocation,
    ) -> Result<(), ApiError> {
        let mut kept = self.lock();
        if *self.0.is_closing.borrow() {
            return Err(Refusal::ShuttingDown.into());
        }
        let size = invocation.payload.len() + BYTES_PER_EVENT;
        if kept.bytes + size > MAX_KEPT_BYTES {
            let message = format!("Rate Exceeded: {} events are waiting already", kept.events.len());
            return Err(ApiError::new(Code::TooManyEvents, message));
        }
        kept.bytes += size;
        let unfinished = Unfinished {
            request_id: request_id.to_owned(),
            function: function.name.clone(),
            payload: invocation.payload.clone(),
        };
        kept.events.insert(request_id.to_owned(), unfinished);
        let event = Event {
            places: kept.places_of(&function),
            deadline: Instant::now() + config.max_age,
            function,
            config,
            request_id: request_id.to_owned(),
            invocation,
        };
        while kept.tasks.try_join_next().is_some() {}
        let events = self.clone();
        kept.tasks.spawn(async move {
            if let Ok(end) = events.run(&event).await {
                events.deliver(&event, &end).await;
                events.lock().remove(&event.request_id);
            }
        });
        Ok(())
    }

    /// Takes no more events, gives those that are being handled this long, and returns what is left, which the journal hears of.
    pub(super) async fn shut_down(&self, grace: Duration) -> Vec<Unfinished> {
        let mut tasks = {
            let mut kept = self.lock();
            self.0.is_closing.send_replace(true);
            std::mem::take(&mut kept.tasks)
        };
        // What is left then is aborted.
        let _ = tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.shutdown().await;
        let left: Vec<_> = std::mem::take(&mut self.lock().events).into_values().collect();
        if !left.is_empty() {
            self.notice(describe(&left));
        }
        left
    }

    /// Has the event handled, as often as it takes.
    async fn run(&self, event: &Event) -> Result<End, Closing> {
        let retries = event.config.retries.min(MAX_RETRIES);
        let mut backoff = event.config.backoff;
        let (mut attempts, mut answer) = (0, None);
        loop {
            let attempt = match self.place(event).await? {
                Some(_place) => self.attempt(event, attempts + 1).await?,
                None => None,
            };
            let condition = match attempt {
                Some(Attempt::Success(response)) => {
                    (attempts, answer) = (attempts + 1, Some(response));
                    Some(Condition::Success)
                }
                Some(Attempt::Error(error)) => {
                    (attempts, answer) = (attempts + 1, Some(error));
                    (attempts > retries).then_some(Condition::RetriesExhausted)
                }
                Some(Attempt::Throttled) | None => Some(Condition::EventAgeExceeded),
            };
            if let Some(condition) = condition {
                return Ok(End {
                    condition,
                    attempts,
                    answer,
                });
            }
            self.pause(event, backoff).await?;
            backoff *= 2;
        }
    }

    /// A place among the events that the function handles at a time; none, if the event becomes too old meanwhile.
    async fn place<'a>(&self, event: &'a Event) -> Result<Option<SemaphorePermit<'a>>, Closing> {
        if Instant::now() >= event.deadline {
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = self.closing() => Err(Closing),
            place = timeout_at(event.deadline, event.places.acquire()) => Ok(place.ok().and_then(Result::ok)),
        }
    }

    /// Calls the function, again and again while it is throttled. The place is kept meanwhile, because no other event would do
    /// better. None, if the event becomes too old.
    async fn attempt(&self, event: &Event, number: u32) -> Result<Option<Attempt>, Closing> {
        let mut pause = FIRST_THROTTLE_PAUSE;
        loop {
            match self.call(event, number).await? {
                Attempt::Throttled => {
                    self.pause(event, pause).await?;
                    pause = (pause * 2).min(LONGEST_THROTTLE_PAUSE);
                    if Instant::now() >= event.deadline {
                        return Ok(None);
                    }
                }
                attempt @ (Attempt::Success(_) | Attempt::Error(_)) => return Ok(Some(attempt)),
            }
        }
    }

    /// Calls the function once, and waits until it is free for another event.
    async fn call(&self, event: &Event, number: u32) -> Result<Attempt, Closing> {
        if *self.0.is_closing.borrow() {
            return Err(Closing);
        }
        let invocation = Invocation {
            source: format!("Invoke, asynchronous, attempt {number}"),
            ..event.invocation.clone()
        };
        let refusal = match self.0.platform.invoke(&event.function.name, invocation).await {
            Ok(answer) => {
                let body = answer.body.collect().await;
                // Comes, or breaks off when there will be none.
                let _ = answer.report.await;
                return Ok(body.map_or_else(Attempt::Error, Attempt::Success));
            }
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::Throttled { .. } => Ok(Attempt::Throttled),
            Refusal::ShuttingDown => Err(Closing),
            refusal @ (Refusal::UnknownFunction(_) | Refusal::TooLarge { .. } | Refusal::CannotStart { .. }) => {
                Ok(Attempt::Error(cannot_start(&event.request_id, &refusal)))
            }
        }
    }

    /// Waits, but not beyond the event's time.
    async fn pause(&self, event: &Event, pause: Duration) -> Result<(), Closing> {
        let end = event.deadline.min(Instant::now() + pause);
        tokio::select! {
            biased;
            () = self.closing() => Err(Closing),
            () = sleep_until(end) => Ok(()),
        }
    }

    async fn closing(&self) {
        let mut is_closing = self.0.is_closing.subscribe();
        // The sender lives as long as this.
        let _ = is_closing.wait_for(|is_closing| *is_closing).await;
    }

    /// Tells whoever wants to know.
    async fn deliver(&self, event: &Event, end: &End) {
        let EventInvokeConfig {
            on_success,
            on_failure,
            dead_letter,
            ..
        } = &event.config;
        let finished = Finished {
            request_id: &event.request_id,
            function_arn: &event
                .function
                .arn(Some(event.invocation.qualifier.as_deref().unwrap_or(VERSION))),
            payload: &event.invocation.payload,
            condition: end.condition,
            attempts: end.attempts,
            answer: end.answer.as_ref(),
        };
        let (destination, dead_letter) = match end.condition {
            Condition::Success => (on_success, None),
            Condition::RetriesExhausted | Condition::EventAgeExceeded => (on_failure, dead_letter.as_ref()),
        };
        if let Some(queue) = destination {
            let sent = self
                .send(queue, Outgoing::new(finished.record(SystemTime::now())))
                .await;
            self.complain(event, queue, sent);
        }
        if let Some(queue) = dead_letter {
            let sent = self.send(queue, dead_letter_of(&finished)).await;
            self.complain(event, queue, sent);
        }
        if end.condition != Condition::Success && destination.is_none() && dead_letter.is_none() {
            self.notice(format!(
                "the asynchronous event {} of `{}` was given up after {} attempts ({:?}); no queue is set for such events",
                event.request_id, event.function.name, end.attempts, end.condition
            ));
        }
    }

    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), QueueError> {
        self.0.queues.send(queue, message).await.map(|_| ())
    }

    /// As on Lambda, what a queue does not take is lost; but it is said.
    fn complain(&self, event: &Event, queue: &str, sent: Result<(), QueueError>) {
        if let Err(error) = sent {
            self.notice(format!(
                "cannot send the asynchronous event {} of `{}` to the queue `{queue}`: {error}",
                event.request_id, event.function.name
            ));
        }
    }

    fn notice(&self, text: String) {
        self.0.platform.journal().record(What::Notice { text });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The places of a function. After it was deployed with another limit there are new ones, and what waits for an old one does
    /// not hold the others up.
    fn places_of(&mut self, function: &Function) -> Arc<Semaphore> {
        let events = function.events_per_environment.map_or(1, std::num::NonZeroU32::get);
        let limit = function.concurrency.get().saturating_mul(events);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let fresh = || (limit, Arc::new(Semaphore::new(limit)));
        let places = self.places.entry(function.name.clone()).or_insert_with(fresh);
        if places.0 != limit {
            *places = fresh();
        }
        Arc::clone(&places.1)
    }

    fn remove(&mut self, request_id: &str) {
        if let Some(event) = self.events.remove(request_id) {
            self.bytes -= event.payload.len() + BYTES_PER_EVENT;
        }
    }
}

/// The event itself, and what went wrong.
fn dead_letter_of(finished: &Finished<'_>) -> Outgoing {
    let message = json!({
        "MessageBody": String::from_utf8_lossy(finished.payload),
        "MessageAttributes": finished.dead_letter_attributes(),
    });
    serde_json::from_value(message).expect("this is the form of a message in SQS's protocol")
}

fn describe(left: &[Unfinished]) -> String {
    let mut text = format!("{} asynchronous events were not handled and are lost:", left.len());
    for Unfinished {
        request_id, function, ..
    } in left.iter().take(10)
    {
        // Writing to a string cannot fail.
        let _ = write!(text, " {request_id} of `{function}`,");
    }
    text.pop();
    if left.len() > 10 {
        text.push_str(", and others");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::journal::Journal;
    use crate::platform;
    use crate::queue;

    fn function() -> Arc<Function> {
        Arc::new(Function {
            name: "orders".to_owned(),
            program: "/nowhere/bootstrap".into(),
            arguments: Vec::new(),
            working_directory: None,
            variables: Vec::new(),
            memory_mib: 128,
            timeout: Duration::from_secs(3),
            concurrency: NonZeroU32::MIN,
            events_per_environment: None,
        })
    }

    #[tokio::test]
    async fn no_more_events_are_kept_than_a_laptop_can_hold_and_all_are_named_in_the_end() {
        let platform = Platform::new(Journal::default(), platform::Settings::default());
        let events = AsynchronousEvents::new(platform, Queues::new(queue::Settings::default()));
        let invocation = Invocation {
            payload: Bytes::from(vec![b' '; 1 << 20]),
            ..Invocation::default()
        };
        let accept = |number: usize| {
            let config = EventInvokeConfig::default();
            events.accept(function(), config, &number.to_string(), invocation.clone())
        };
        for number in 0..255 {
            assert_eq!(accept(number), Ok(()));
        }
        assert_eq!(accept(255).unwrap_err().code(), Code::TooManyEvents);
        let left = events.shut_down(Duration::ZERO).await;
        assert_eq!(left.len(), 255);
        assert_eq!(accept(256).unwrap_err().code(), Code::Service);
        let (entries, _) = events.0.platform.journal().read();
        let text = format!("{:?}", entries.last().unwrap().what);
        assert!(
            text.contains("255 asynchronous events") && text.contains("and others"),
            "{text}"
        );
    }
}
