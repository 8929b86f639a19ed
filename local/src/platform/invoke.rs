//! One event in one environment: Init if it is new, delivery, answer, and the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Environment, Platform};
use crate::invocation::{Answer, AnswerBody, Invocation, Report, Status, error_body, new_trace_id};
use crate::journal::{Text, What};
use crate::runtime_api_server::{Delivery, Outcome};

/// How long after its timeout an event is killed. A runtime that answers overruns itself does so before; AWS's emulator is
/// about as late (runtime contract §11.2).
const TIMEOUT_GRACE: Duration = Duration::from_millis(100);
/// Lambda's limit for Init on Managed Instances, where nobody waits for it (runtime contract §6, 1).
const MANAGED_INIT_TIMEOUT: Duration = Duration::from_secs(130);

/// Serves one event to its end in a task of its own, and returns when there is an answer.
pub(super) async fn invoke(
    platform: Platform,
    environment: Arc<Environment>,
    is_cold: bool,
    invocation: Invocation,
) -> Answer {
    let request_id = match &invocation.request_id {
        Some(request_id) => request_id.clone(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    let (answer, answered) = oneshot::channel();
    let (report, reported) = oneshot::channel();
    let event = Event {
        platform,
        request_id: request_id.clone(),
        invocation,
        answer: Some(answer),
    };
    tokio::spawn(async move {
        let ended = event.serve(environment, is_cold).await;
        // The caller may not wait for it.
        let _ = report.send(ended);
    });
    let body = answered
        .await
        .unwrap_or_else(|_| AnswerBody::Error(error_body("Sandbox.Failure", "the platform is shutting down")));
    Answer {
        request_id,
        body,
        report: reported,
    }
}

struct Event {
    platform: Platform,
    request_id: String,
    invocation: Invocation,
    answer: Option<oneshot::Sender<AnswerBody>>,
}

/// How an event went, for its report.
struct Ending {
    status: Status,
    duration: Duration,
    init: Option<Duration>,
}

impl Event {
    async fn serve(mut self, environment: Arc<Environment>, is_cold: bool) -> Report {
        let mut environment = environment;
        let begun = Instant::now();
        let mut limit = environment.function.timeout;
        let mut init = None;
        if is_cold {
            let (started, taken, left) = self.initialise(environment).await;
            environment = started;
            limit = left;
            match taken {
                Ok(taken) => init = Some(taken),
                Err(body) => {
                    self.start_line(&environment, is_cold);
                    self.answer(AnswerBody::Error(body));
                    let ending = Ending {
                        status: Status::InitFailed,
                        duration: begun.elapsed(),
                        init: None,
                    };
                    return self.end(&environment, ending).await;
                }
            }
        } else {
            // On Managed Instances, the environment may be in the Init that somebody else's event has started.
            environment.asking().await;
        }
        self.start_line(&environment, is_cold);
        let (status, duration) = self.run(&environment, limit).await;
        let ending = Ending { status, duration, init };
        self.end(&environment, ending).await
    }

    /// Waits for Init. If it fails, Lambda runs it once more, in the time of the event (runtime contract §6, 1).
    ///
    /// Returns the environment, the duration of Init or the error, and the time that is left for the event.
    async fn initialise(&self, first: Arc<Environment>) -> (Arc<Environment>, Result<Duration, Bytes>, Duration) {
        let timeout = first.function.timeout;
        let init_timeout = match first.function.events_per_environment {
            Some(_) => MANAGED_INIT_TIMEOUT.max(timeout),
            None => self.platform.0.settings.init_timeout,
        };
        let failure = match first.initialised(init_timeout).await {
            Ok(()) => {
                let taken = self.ready(&first);
                return (first, Ok(taken), timeout);
            }
            Err(failure) => failure,
        };
        self.failed(&first, &failure);
        if first.function.events_per_environment.is_some() || !self.platform.0.settings.repeat_init {
            return (first, Err(failure.body(&self.request_id)), timeout);
        }
        let second = match self.platform.restart(&first) {
            Ok(second) => second,
            Err(refusal) => {
                let body = error_body("Sandbox.Failure", &refusal.to_string());
                return (first, Err(body), timeout);
            }
        };
        match second.initialised(timeout).await {
            Ok(()) => {
                let taken = self.ready(&second);
                (second, Ok(taken), timeout.saturating_sub(taken))
            }
            Err(failure) => {
                self.failed(&second, &failure);
                (second, Err(failure.body(&self.request_id)), timeout)
            }
        }
    }

    fn ready(&self, environment: &Environment) -> Duration {
        let taken = environment.started.elapsed();
        environment.life().state = super::State::Busy;
        self.platform.0.journal.record(What::EnvironmentReady {
            environment: environment.number,
            init_ms: taken.as_secs_f64() * 1_000.0,
        });
        taken
    }

    fn failed(&self, environment: &Environment, failure: &super::environment::InitFailure) {
        environment.kill();
        self.platform.0.journal.record(What::InitFailed {
            environment: environment.number,
            status: failure.status.to_owned(),
            error_type: failure.error_type.clone(),
            init_ms: environment.started.elapsed().as_secs_f64() * 1_000.0,
        });
    }

    fn start_line(&self, environment: &Environment, is_cold: bool) {
        self.platform.0.journal.record(What::InvocationStarted {
            request_id: self.request_id.clone(),
            function: environment.function.name.clone(),
            environment: environment.number,
            source: self.invocation.source.clone(),
            is_cold,
            payload: Text::new(&self.invocation.payload),
        });
    }

    /// Delivers the event, passes the answer on, and waits until the environment asks for the next event.
    async fn run(&mut self, environment: &Arc<Environment>, limit: Duration) -> (Status, Duration) {
        let begun = Instant::now();
        let end = tokio::time::Instant::from_std(begun + limit + TIMEOUT_GRACE);
        let Some(outcome) = environment.deliver(self.delivery(environment), limit) else {
            return (self.crashed(environment, end).await, begun.elapsed());
        };
        let outcome = tokio::select! {
            biased;
            Ok(outcome) = outcome => outcome,
            message = environment.exited() => {
                self.fail("Runtime.ExitError", &message);
                return (Status::Crash, begun.elapsed());
            }
            () = tokio::time::sleep_until(end) => {
                self.timed_out(environment, limit);
                return (Status::Timeout, begun.elapsed());
            }
        };
        let status = match &outcome {
            Outcome::Response(_) | Outcome::Stream(_) => Status::Success,
            Outcome::Error(_) => Status::Error,
        };
        // From now on, another event may count on this environment.
        environment.life().finishing += 1;
        self.answer(match outcome {
            Outcome::Response(body) => AnswerBody::Response(body),
            Outcome::Error(body) => AnswerBody::Error(body),
            Outcome::Stream(stream) => AnswerBody::Stream(stream),
        });
        if environment.function.events_per_environment.is_some() {
            return (status, begun.elapsed());
        }
        tokio::select! {
            biased;
            asking = environment.asking() => match asking {
                Some(()) => (status, begun.elapsed()),
                None => (Status::Crash, begun.elapsed()),
            },
            () = tokio::time::sleep_until(end) => {
                environment.kill();
                (Status::Timeout, begun.elapsed())
            }
        }
    }

    /// The environment did not take the event: its process is ending, or it has forgotten to ask.
    async fn crashed(&mut self, environment: &Environment, end: tokio::time::Instant) -> Status {
        let message = tokio::select! {
            message = environment.exited() => message,
            () = tokio::time::sleep_until(end) => {
                environment.kill();
                environment.exited().await
            }
        };
        self.fail("Runtime.ExitError", &message);
        Status::Crash
    }

    fn timed_out(&mut self, environment: &Environment, limit: Duration) {
        let seconds = environment.function.timeout.max(limit).as_secs_f64();
        self.fail(
            "Sandbox.Timedout",
            &format!("Task timed out after {seconds:.2} seconds"),
        );
        match environment.function.events_per_environment {
            // Its other events go on.
            Some(_) => environment.give_up(&self.request_id),
            None => environment.kill(),
        }
    }

    fn delivery(&self, environment: &Environment) -> Delivery {
        let invocation = &self.invocation;
        let default_type = || "application/json".to_owned();
        Delivery {
            request_id: self.request_id.clone(),
            invocation_id: uuid::Uuid::new_v4().to_string(),
            payload: invocation.payload.clone(),
            content_type: invocation.content_type.clone().unwrap_or_else(default_type),
            deadline_ms: 0,
            function_arn: environment.function.arn(invocation.qualifier.as_deref()),
            trace_id: invocation.trace_id.clone().unwrap_or_else(new_trace_id),
            client_context: invocation.client_context.clone(),
            tenant_id: invocation.tenant_id.clone(),
        }
    }

    fn fail(&mut self, error_type: &str, message: &str) {
        let message = format!("RequestId: {} Error: {message}", self.request_id);
        self.answer(AnswerBody::Error(error_body(error_type, &message)));
    }

    fn answer(&mut self, body: AnswerBody) {
        let Some(answer) = self.answer.take() else { return };
        let (is_error, text) = match &body {
            AnswerBody::Response(body) => (false, body.clone()),
            AnswerBody::Error(body) => (true, body.clone()),
            AnswerBody::Stream(_) => (false, Bytes::new()),
        };
        self.platform.0.journal.record(What::InvocationAnswered {
            request_id: self.request_id.clone(),
            is_error,
            answer: Text::new(&text),
        });
        // The caller may have left.
        let _ = answer.send(body);
    }

    async fn end(self, environment: &Arc<Environment>, ending: Ending) -> Report {
        let peak_memory_mib = environment.peak_memory_mib();
        environment.flush().await;
        let Ending { status, duration, init } = ending;
        let mut report = Report {
            request_id: self.request_id,
            duration,
            init,
            memory_mib: environment.function.memory_mib,
            peak_memory_mib,
            status,
            log_tail: String::new(),
        };
        environment.add_line(&format!("END RequestId: {}", report.request_id));
        environment.add_line(&report.to_string());
        report.log_tail = environment.take_tail(&report.request_id);
        self.platform.0.journal.record(What::InvocationEnded(report.clone()));
        self.platform.release(environment);
        report
    }
}
