//! A loaded guest, and the sandboxes it runs in: where an event meets a guest.

use std::sync::Arc;

use bytes::Bytes;
use tracing::debug;

use crate::error::{FunctionError, MAX_RESPONSE_BYTES};
use crate::invocation::{FunctionIdentity, Invocation};
use crate::sandbox::{Factory, Output};
use crate::telemetry::Origin;
use crate::worlds::World;
use crate::worlds::handler::{Instance, StartError};

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

/// What the user deployed: one component and how it is to be run.
pub struct Function {
    world: World,
    sandboxes: Factory,
    identity: FunctionIdentity,
    isolation: Isolation,
    slot: Slot,
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

/// A tenant id, or its absence: events without one share instances with each other only.
type Tenant = Option<String>;

impl Function {
    /// A function of that component. `None` as isolation leaves the choice to the guest: one that prepares itself is kept.
    pub fn new(world: World, sandboxes: Factory, identity: FunctionIdentity, isolation: Option<Isolation>) -> Self {
        let isolation = isolation.unwrap_or(match &world {
            World::Handler(handler) if handler.has_init() => Isolation::Environment,
            World::Handler(_) => Isolation::Event,
        });
        Self {
            world,
            sandboxes,
            identity,
            isolation,
            slot: Slot::Empty,
        }
    }

    /// How long its instances live.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// What its guests write.
    pub fn output(&self) -> &Arc<Output> {
        self.sandboxes.output()
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
        let World::Handler(handler) = &self.world;
        self.slot = match handler.start(self.sandboxes.store()).await {
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

    /// Runs the guest for one event and returns its answer: at most [`MAX_RESPONSE_BYTES`] bytes, otherwise as the guest
    /// gave them.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`]. The function stays usable; unless the error is the guest's own, the sandbox is not.
    pub async fn invoke(&mut self, invocation: &Invocation) -> Result<Bytes, FunctionError> {
        let Invocation { context, event } = invocation;
        let event = event.as_ref().map_err(Clone::clone)?;
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
        let answer = instance.handle(event, context, &self.identity).await;
        self.output().flush();
        let is_reusable = matches!(answer, Ok(_) | Err(FunctionError::Guest { .. }));
        self.slot = match self.isolation {
            Isolation::Environment | Isolation::Tenant if is_reusable => {
                Slot::Ready(instance, Some(context.tenant_id.clone()))
            }
            Isolation::Event | Isolation::Environment | Isolation::Tenant => Slot::Spent(instance),
        };
        match answer {
            Ok(answer) if answer.len() > MAX_RESPONSE_BYTES => Err(FunctionError::ResponseTooLarge {
                bytes: Some(answer.len()),
            }),
            other => other,
        }
    }
}
