//! A loaded guest, and the sandboxes it runs in: where an event meets a guest.

mod batch;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use batch::SharedProgress;
use bytes::Bytes;
use tokio::time::timeout_at;
use tracing::debug;

use crate::error::{FunctionError, MAX_RESPONSE_BYTES};
use crate::events::RequestSettings;
use crate::invocation::{Context, FunctionIdentity, Invocation};
use crate::runtime_api::{Answer, Responder};
use crate::sandbox::{Factory, Output};
use crate::telemetry::Origin;
use crate::watchdog::Watched;
use crate::worlds::{Call, Instance, ResponseMode, StartError, World};

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// One event. The next one finds a fresh instance, made while nobody was waiting.
    Event,
    /// Until it fails, or the execution environment ends.
    Environment,
    /// As `Environment`, but no instance ever serves two tenants.
    Tenant,
}

impl Isolation {
    /// Its name in settings and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Environment => "environment",
            Self::Tenant => "tenant",
        }
    }
}

/// How a batch of records reaches the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Batching {
    /// Untouched, in one call.
    #[default]
    Whole,
    /// One call per record, so many at a time, each in a sandbox of its own.
    Record {
        /// At least 1.
        at_a_time: usize,
    },
}

/// How a function is run, apart from what its sandbox is made of.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long an instance lives; `None` leaves the choice to the guest: one that prepares itself is kept.
    pub isolation: Option<Isolation>,
    /// How answers leave.
    pub response_mode: ResponseMode,
    /// How batches of records reach the guest.
    pub batching: Batching,
    /// One call of the guest is stopped after this, if Lambda's deadline is not sooner.
    pub timeout: Option<Duration>,
    /// How events become requests.
    pub http: RequestSettings,
}

/// Who ends a call that does not end by itself.
#[derive(Clone, Copy)]
pub enum Enforcement<'a> {
    /// The watchdog, by replacing the process: guests run one at a time.
    Watchdog(&'a Watched<'a>),
    /// A timer, by dropping the guest's sandbox: its code can be interrupted.
    Timer,
}

/// What the user deployed: one component and how it is to be run.
pub struct Function {
    recipe: Arc<Recipe>,
    isolation: Isolation,
    output: Arc<Output>,
    slot: Slot,
}

/// What instances are made from, and how they are called.
struct Recipe {
    world: World,
    sandboxes: Factory,
    identity: Arc<FunctionIdentity>,
    behaviour: Behaviour,
}

/// The one instance that may be alive between two events.
enum Slot {
    /// Nothing.
    Empty,
    /// An instance that waits for an event, and the tenant it has served if it has served any.
    Ready(Box<Instance>, Option<Tenant>),
    /// One that has served its last event. Taking it down is left to [`Function::prepare`], off the answer's path.
    Spent(Box<Instance>),
    /// The last attempt to start one failed.
    Failed(StartError),
}

/// The error of a guest that has run since then and will not be waited for any longer. Writes out what it has written.
pub fn overrun(since: Instant, output: Option<&Output>) -> FunctionError {
    let last_output = output.map_or_else(String::new, |output| {
        output.flush();
        output.last_words()
    });
    FunctionError::DeadlineExceeded {
        ran_for: Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)),
        last_output,
    }
}

/// A tenant id, or its absence: events without one share instances with each other only.
type Tenant = Option<String>;

impl Function {
    /// A function of that component.
    pub fn new(world: World, sandboxes: Factory, identity: &Arc<FunctionIdentity>, behaviour: Behaviour) -> Self {
        let isolation = match behaviour.isolation {
            // A program ends with its event.
            _ if !world.is_reusable() => Isolation::Event,
            Some(isolation) => isolation,
            None if world.has_init() || world.has_snap_start() => Isolation::Environment,
            None => Isolation::Event,
        };
        Self {
            output: sandboxes.output(),
            recipe: Arc::new(Recipe {
                world,
                sandboxes,
                identity: Arc::clone(identity),
                behaviour,
            }),
            isolation,
            slot: Slot::Empty,
        }
    }

    /// The same function for another poller: instances of its own, of the same component.
    pub fn for_another_poller(&self) -> Self {
        Self {
            output: self.recipe.sandboxes.output(),
            recipe: Arc::clone(&self.recipe),
            isolation: self.isolation,
            slot: Slot::Empty,
        }
    }

    /// Gives up an instance that waits for its only event. One that is kept from event to event stays.
    pub fn give_up_fresh(&mut self) {
        match self.isolation {
            Isolation::Event => self.slot = Slot::Empty,
            Isolation::Environment | Isolation::Tenant => {}
        }
    }

    /// How long its instances live.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// How it is run.
    pub fn behaviour(&self) -> &Behaviour {
        &self.recipe.behaviour
    }

    /// What its guests write.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// Takes down what the last event left and starts the next instance, unless one is kept. Meant for the time when nobody
    /// waits; a failure shows in the next [`Self::invoke`].
    pub async fn prepare(&mut self) {
        match std::mem::replace(&mut self.slot, Slot::Empty) {
            ready @ Slot::Ready(..) => {
                self.slot = ready;
                return;
            }
            Slot::Spent(instance) => debug!(memory_bytes = instance.peak_memory_bytes(), "sandbox closed"),
            Slot::Empty | Slot::Failed(_) => {}
        }
        self.output().begin(Origin::default());
        self.slot = match self.recipe.start(&self.output).await {
            Ok(instance) => Slot::Ready(Box::new(instance), None),
            Err(error) => Slot::Failed(error),
        };
        self.output().flush();
    }

    /// As [`Self::prepare`], in the Init phase, where a failure ends the process.
    ///
    /// # Errors
    ///
    /// Why no instance came up.
    pub async fn prepare_first(&mut self) -> Result<(), StartError> {
        self.prepare().await;
        match &self.slot {
            Slot::Failed(error) => Err(error.clone()),
            Slot::Empty | Slot::Ready(..) | Slot::Spent(_) => Ok(()),
        }
    }

    /// Before a snapshot of this process is taken: a guest with hooks for that, if it is kept, gets ready to be in it. Any
    /// other instance goes: what it has drawn at random would be the same in every copy.
    ///
    /// # Errors
    ///
    /// Of the guest's hook.
    pub async fn before_snapshot(&mut self) -> Result<(), FunctionError> {
        match &mut self.slot {
            Slot::Ready(instance, _) if self.recipe.world.has_snap_start() && self.isolation != Isolation::Event => {
                self.output.begin(Origin::default());
                let outcome = instance.before_snapshot().await;
                self.output.flush();
                outcome
            }
            Slot::Empty | Slot::Ready(..) | Slot::Spent(_) | Slot::Failed(_) => {
                self.slot = Slot::Empty;
                Ok(())
            }
        }
    }

    /// After this process came out of a snapshot: what [`Self::before_snapshot`] has kept gets its other hook, and where it
    /// kept nothing there is an instance again.
    ///
    /// # Errors
    ///
    /// Of the guest's hook, or why no instance came up.
    pub async fn after_restore(&mut self) -> Result<(), FunctionError> {
        let Slot::Ready(instance, _) = &mut self.slot else {
            return Ok(self.prepare_first().await?);
        };
        self.output.begin(Origin::default());
        let outcome = instance.after_restore().await;
        self.output.flush();
        outcome
    }

    /// Runs the guest for one event and returns its answer: at most [`MAX_RESPONSE_BYTES`] bytes, otherwise as the guest
    /// gave them; or what it streamed through `responder`.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`]. The function stays usable; unless the error is the guest's own, the sandbox is not.
    pub async fn invoke(
        &mut self,
        invocation: &Invocation,
        responder: &Responder,
        enforcement: Enforcement<'_>,
    ) -> Result<Answer, FunctionError> {
        let Invocation {
            context,
            event,
            standing: _,
        } = invocation;
        let event = event.as_ref().map_err(Clone::clone)?;
        if let Batching::Record { at_a_time } = self.recipe.behaviour.batching
            && let Some(batch) = batch::divided(event)
        {
            let records = self
                .recipe
                .invoke_records(&batch, at_a_time, invocation, responder, enforcement);
            return Ok(records.await);
        }
        let answer = match enforcement {
            Enforcement::Watchdog(_) => self.call(event, context, responder).await,
            Enforcement::Timer => {
                let since = Instant::now();
                let limit = context.deadline.sooner(self.recipe.behaviour.timeout);
                match timeout_at(limit.into(), self.call(event, context, responder)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(overrun(since, Some(&self.output))),
                }
            }
        };
        match answer {
            Ok(Answer::Whole(answer)) if answer.len() > MAX_RESPONSE_BYTES => Err(FunctionError::ResponseTooLarge {
                bytes: Some(answer.len()),
            }),
            other => other,
        }
    }

    /// Calls an instance with the whole event.
    async fn call(&mut self, event: &Bytes, context: &Context, responder: &Responder) -> Result<Answer, FunctionError> {
        if self.isolation == Isolation::Tenant
            && matches!(&self.slot, Slot::Ready(_, Some(tenant)) if *tenant != context.tenant_id)
        {
            self.slot = Slot::Empty;
        }
        if !matches!(self.slot, Slot::Ready(..)) {
            self.prepare().await;
        }
        let mut instance = match std::mem::replace(&mut self.slot, Slot::Empty) {
            Slot::Ready(instance, _) => instance,
            Slot::Failed(error) => return Err(error.into()),
            Slot::Empty | Slot::Spent(_) => {
                unreachable!("`prepare` leaves an instance or the reason why there is none")
            }
        };
        self.output().begin(Origin {
            request_id: Some(context.request_id.clone()),
            tenant_id: context.tenant_id.clone(),
        });
        let Behaviour { response_mode, .. } = self.recipe.behaviour;
        let call = self.recipe.call(event, context, response_mode, responder);
        let answer = instance.call(&call).await;
        self.output().flush();
        let is_reusable = instance.is_reusable() && matches!(answer, Ok(_) | Err(FunctionError::Guest { .. }));
        self.slot = match self.isolation {
            Isolation::Environment | Isolation::Tenant if is_reusable => {
                Slot::Ready(instance, Some(context.tenant_id.clone()))
            }
            Isolation::Event | Isolation::Environment | Isolation::Tenant => Slot::Spent(instance),
        };
        answer
    }
}

impl Recipe {
    /// A fresh instance, in a sandbox of its own.
    async fn start(&self, output: &Arc<Output>) -> Result<Instance, StartError> {
        self.world.start(self.sandboxes.store(output)).await
    }

    fn call<'a>(
        &'a self,
        event: &'a Bytes,
        context: &'a Context,
        mode: ResponseMode,
        responder: &'a Responder,
    ) -> Call<'a> {
        Call {
            event,
            context,
            identity: &self.identity,
            mode,
            responder,
            http: &self.behaviour.http,
        }
    }
}
