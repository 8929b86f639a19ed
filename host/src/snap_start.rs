//! Lambda's SnapStart: the process is stopped at the end of Init, written down, and continued many times (runtime contract
//! §8.4).
//!
//! ```text
//!   Init ─► before-snapshot ─► GET restore/next ·· snapshot ·· restored ─► entropy, connections, sandboxes anew
//!                                                                          ─► after-restore ─► the loop
//! ```
//!
//! Every copy has the same memory. So no connection of before is used after it, no instance of before serves an event unless
//! its guest has hooks that say it knows about this, and the generator that guests' random numbers come from is seeded anew.
//! Deadlines are made when an event comes, so a clock that has jumped harms none.

use std::fmt;
use std::time::{Duration, Instant};

use tracing::info;

use crate::deployment::Deployment;
use crate::error::{ErrorReport, FunctionError};
use crate::runtime_api::{self, Client};
use crate::watchdog::{Task, Watch};

/// Lambda's limit for a restore with all that follows it up to the first `/next`; the other hook gets as much.
pub const HOOK_LIMIT: Duration = Duration::from_secs(10);

/// The two moments at which guests may do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// The snapshot is about to be taken.
    BeforeSnapshot,
    /// This is a copy.
    AfterRestore,
}

impl fmt::Display for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BeforeSnapshot => "before the snapshot",
            Self::AfterRestore => "after the restore",
        })
    }
}

/// A guest failed at one of them. The process reports it and ends.
#[derive(Debug, thiserror::Error)]
#[error("a guest failed {hook}: {error}")]
pub struct HookError {
    /// When.
    pub hook: Hook,
    /// How.
    pub error: FunctionError,
}

impl HookError {
    /// It was not done in time.
    pub fn overrun(hook: Hook) -> Self {
        Self {
            hook,
            error: FunctionError::DeadlineExceeded {
                ran_for: HOOK_LIMIT,
                last_output: String::new(),
            },
        }
    }

    /// The form that is posted to `/init/error` or `/restore/error`.
    pub fn report(&self) -> ErrorReport {
        let error_type = match self.hook {
            Hook::BeforeSnapshot => "Runtime.BeforeSnapshotError",
            Hook::AfterRestore => "Runtime.AfterRestoreError",
        };
        ErrorReport::new(error_type, self.to_string(), self.error.report().stack_trace)
    }

    /// Posts it. Whatever Lambda answers, the process ends next.
    pub async fn post(&self, client: &mut Client) {
        match self.hook {
            Hook::BeforeSnapshot => client.init_error(&self.report()).await,
            Hook::AfterRestore => client.restore_error(&self.report()).await,
        }
    }
}

/// Why the process ends here.
#[derive(Debug)]
pub enum Failure {
    /// A guest failed; that is reported.
    Hook(HookError),
    /// The Runtime API did.
    RuntimeApi(runtime_api::Error),
}

/// Gets ready for the snapshot, waits until this is a copy of it, and makes it one that may serve events. Returns as well when
/// a termination signal arrives meanwhile.
///
/// # Errors
///
/// [`Failure`].
pub async fn pass_through(client: &mut Client, deployment: &mut Deployment, watch: &Watch) -> Result<(), Failure> {
    let watched = watch.begin(Task::Hook(Hook::BeforeSnapshot), Instant::now() + HOOK_LIMIT);
    let ready = deployment.before_snapshot().await;
    watched.finish();
    told(client, Hook::BeforeSnapshot, ready).await?;

    tokio::select! {
        restored = client.restore_next() => restored.map_err(Failure::RuntimeApi)?,
        () = watch.shutdown() => return Ok(()),
    }
    let watched = watch.begin(Task::Hook(Hook::AfterRestore), Instant::now() + HOOK_LIMIT);
    let renewed = match renew_entropy() {
        Ok(()) => deployment.after_restore().await,
        Err(error) => Err(error),
    };
    watched.finish();
    told(client, Hook::AfterRestore, renewed).await?;
    info!("restored from a snapshot");
    Ok(())
}

/// Reports a failure.
async fn told(client: &mut Client, hook: Hook, outcome: Result<(), FunctionError>) -> Result<(), Failure> {
    let Err(error) = outcome else {
        return Ok(());
    };
    let error = HookError { hook, error };
    error.post(client).await;
    Err(Failure::Hook(error))
}

/// Seeds the generator of this thread from the kernel, whose own one is another in every copy. All sandboxes are made on this
/// thread, and their random numbers come from seeds that it gives out.
fn renew_entropy() -> Result<(), FunctionError> {
    rand::rng()
        .reseed()
        .map_err(|error| FunctionError::Host(format!("the system gives no random numbers: {error}")))
}
