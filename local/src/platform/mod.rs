//! The platform: functions, and the execution environments that appear when events come.
//!
//! ```text
//! invoke ─► an idle environment, the one used last ──────────────► deliver ─► answer ─► (asks again) ─► frozen
//!        └► none: one that is about to ask ──┐                        ▲
//!        └► none, fewer than the limit: start one ─► Init ────────────┘
//!        └► none: throttled
//! ```
//!
//! An event that was given to an environment is served to its end, whether or not its caller still waits.

mod environment;
mod invoke;
mod process;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use crate::function::Function;
use crate::invocation::{Answer, Invocation, MAX_PAYLOAD_BYTES, Refusal};
use crate::journal::{Journal, What};
use environment::Environment;
pub use environment::State;
pub use process::use_all_descriptors;

/// How long an event waits for an environment that has answered and is about to ask for the next event.
const FINISHING_GRACE: Duration = Duration::from_millis(50);
/// How often environments are looked at that may have been idle for too long.
const REAPING_PERIOD: Duration = Duration::from_millis(500);

/// How the platform behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// An environment that has been idle for so long goes away.
    pub idle: Duration,
    /// Lambda's limit for the Init phase; 10 s there.
    pub init_timeout: Duration,
    /// Whether an Init that failed or took too long is run once more in the time of the event, as on Lambda.
    pub repeat_init: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            init_timeout: Duration::from_secs(10),
            repeat_init: true,
        }
    }
}

/// One environment, as a page may show it.
#[derive(Debug, Clone, Serialize)]
pub struct EnvironmentStatus {
    /// Its number.
    pub number: u64,
    /// The function's name.
    pub function: String,
    /// The function's version.
    pub version: u64,
    /// The process id.
    pub pid: u32,
    /// Where it is in its life.
    pub state: State,
    /// Unix time in milliseconds.
    pub started_at_ms: u64,
    /// The events it has served.
    pub events: u64,
}

/// A handle to the platform.
#[derive(Debug, Clone)]
pub struct Platform(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    settings: Settings,
    functions: Mutex<HashMap<String, Deployed>>,
    numbers: AtomicU64,
    is_shutting_down: AtomicBool,
    /// Told when an environment has become idle.
    idle: Notify,
}

#[derive(Debug)]
struct Deployed {
    function: Arc<Function>,
    version: u64,
    /// Those whose process has not ended, of older versions too.
    environments: Vec<Arc<Environment>>,
    /// Those that are promised to somebody and not in the list yet.
    starting: u32,
    /// The events that wait for an environment to finish.
    waiting: u32,
}

/// What an event can have now.
enum Place {
    /// One that is there.
    Taken(Arc<Environment>),
    /// An environment will be free in a moment.
    Soon,
    /// A new environment, of this function and version.
    New(Arc<Function>, u64),
}

impl Platform {
    /// A platform without functions. Needs a tokio runtime.
    pub fn new(journal: Journal, settings: Settings) -> Self {
        let inner = Arc::new(Inner {
            journal,
            settings,
            functions: Mutex::default(),
            numbers: AtomicU64::new(0),
            is_shutting_down: AtomicBool::new(false),
            idle: Notify::new(),
        });
        tokio::spawn(reap(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Adds a function, or replaces the one of this name: its idle environments go, busy ones finish their events first.
    pub fn deploy(&self, function: Function) {
        let function = Arc::new(function);
        let mut functions = self.functions_mut();
        let deployed = functions.entry(function.name.clone()).or_insert_with(|| Deployed {
            function: Arc::clone(&function),
            version: 0,
            environments: Vec::new(),
            starting: 0,
            waiting: 0,
        });
        deployed.function = Arc::clone(&function);
        deployed.version += 1;
        self.0.journal.record(What::Deployed {
            function: function.name.clone(),
            version: deployed.version,
        });
        let mut idle = deployed.environments.clone();
        idle.retain(|environment| {
            let mut life = environment.life();
            life.is_retiring = true;
            life.events == 0
        });
        // Retiring takes the lock.
        drop(functions);
        for environment in idle {
            self.retire(environment, "a newer version was deployed");
        }
    }

    /// The functions, by name.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        let functions = self.functions_mut();
        let mut list: Vec<_> = functions
            .values()
            .map(|deployed| Arc::clone(&deployed.function))
            .collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<Arc<Function>> {
        self.functions_mut()
            .get(name)
            .map(|deployed| Arc::clone(&deployed.function))
    }

    /// The environments that there are, oldest first.
    pub fn environments(&self) -> Vec<EnvironmentStatus> {
        let functions = self.functions_mut();
        let environments = functions.values().flat_map(|deployed| &deployed.environments);
        let mut list: Vec<_> = environments
            .map(|environment| {
                let life = environment.life();
                EnvironmentStatus {
                    number: environment.number,
                    function: environment.function.name.clone(),
                    version: environment.version,
                    pid: environment.pid(),
                    state: life.state,
                    started_at_ms: environment.started_at_ms,
                    events: life.served,
                }
            })
            .collect();
        list.sort_by_key(|status| status.number);
        list
    }

    /// What happens here.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Has an event served. Returns as soon as there is something to give to the caller.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the function has not seen the event. All that the function itself does wrong is an
    /// [`AnswerBody::Error`](crate::invocation::AnswerBody::Error).
    pub async fn invoke(&self, function: &str, invocation: Invocation) -> Result<Answer, Refusal> {
        let size = invocation.payload.len();
        if size > MAX_PAYLOAD_BYTES {
            return Err(Refusal::TooLarge { size });
        }
        match self.environment(function).await {
            Ok((environment, is_cold)) => Ok(invoke::invoke(self.clone(), environment, is_cold, invocation).await),
            Err(refusal) => {
                if let Refusal::Throttled { function, .. } = &refusal {
                    self.0.journal.record(What::Throttled {
                        function: function.clone(),
                        source: invocation.source,
                    });
                }
                Err(refusal)
            }
        }
    }

    /// Ends all environments, and takes no more events.
    pub async fn shut_down(&self) {
        self.0.is_shutting_down.store(true, Ordering::SeqCst);
        let environments: Vec<_> = {
            let functions = self.functions_mut();
            functions
                .values()
                .flat_map(|deployed| deployed.environments.clone())
                .collect()
        };
        let mut stops = tokio::task::JoinSet::new();
        for environment in environments {
            environment.life().state = State::Gone;
            stops.spawn(async move { environment.stop().await });
        }
        stops.join_all().await;
    }

    /// A place for one event, which is counted there already; and whether the environment is new.
    async fn environment(&self, name: &str) -> Result<(Arc<Environment>, bool), Refusal> {
        let patience = Instant::now() + FINISHING_GRACE;
        loop {
            // Made before the look, so that nothing is missed between the look and the wait.
            let idle = self.0.idle.notified();
            match self.find_place(name, patience)? {
                Place::Taken(environment) => return Ok((environment, false)),
                Place::New(function, version) => return self.start(function, version).map(|new| (new, true)),
                Place::Soon => {
                    // Too late or not, the next look decides.
                    let _ = tokio::time::timeout_at(patience.into(), idle).await;
                    if let Some(deployed) = self.functions_mut().get_mut(name) {
                        deployed.waiting -= 1;
                    }
                }
            }
        }
    }

    fn find_place(&self, name: &str, patience: Instant) -> Result<Place, Refusal> {
        if self.0.is_shutting_down.load(Ordering::SeqCst) {
            return Err(Refusal::ShuttingDown);
        }
        let mut functions = self.functions_mut();
        let deployed = functions
            .get_mut(name)
            .ok_or_else(|| Refusal::UnknownFunction(name.to_owned()))?;
        if let Some(environment) = deployed.take_free() {
            return Ok(Place::Taken(environment));
        }
        if deployed.finishing() > deployed.waiting && Instant::now() < patience {
            deployed.waiting += 1;
            return Ok(Place::Soon);
        }
        let limit = deployed.function.concurrency.get();
        if deployed.environments.len() + deployed.starting as usize >= limit as usize {
            return Err(Refusal::Throttled {
                function: name.to_owned(),
                limit,
            });
        }
        deployed.starting += 1;
        Ok(Place::New(Arc::clone(&deployed.function), deployed.version))
    }

    /// Starts an environment for one event, in the place that [`Self::find_place`] has counted.
    fn start(&self, function: Arc<Function>, version: u64) -> Result<Arc<Environment>, Refusal> {
        let number = self.0.numbers.fetch_add(1, Ordering::SeqCst) + 1;
        let name = function.name.clone();
        let program = function.program.display().to_string();
        let started = Environment::start(number, function, version, self.0.journal.clone());
        let mut functions = self.functions_mut();
        let deployed = functions.get_mut(&name);
        let environment = match (started, deployed) {
            (Ok(environment), Some(deployed)) => {
                deployed.starting -= 1;
                let environment = Arc::new(environment);
                // It may have been replaced in the meantime.
                environment.life().is_retiring = deployed.version != version;
                deployed.environments.push(Arc::clone(&environment));
                environment
            }
            (Err(source), deployed) => {
                if let Some(deployed) = deployed {
                    deployed.starting -= 1;
                }
                return Err(Refusal::CannotStart { program, source });
            }
            (Ok(_), None) => return Err(Refusal::UnknownFunction(name)),
        };
        drop(functions);
        let (platform, watched) = (self.clone(), Arc::clone(&environment));
        tokio::spawn(async move {
            let message = watched.exited().await;
            platform.forget(&watched, &message);
        });
        Ok(environment)
    }

    /// Starts an environment in the place of one whose Init has failed. The event goes with it.
    fn restart(&self, failed: &Arc<Environment>) -> Result<Arc<Environment>, Refusal> {
        if self.0.is_shutting_down.load(Ordering::SeqCst) {
            return Err(Refusal::ShuttingDown);
        }
        if let Some(deployed) = self.functions_mut().get_mut(&failed.function.name) {
            deployed.starting += 1;
        }
        self.start(Arc::clone(&failed.function), failed.version)
    }

    /// Ends an environment that has nothing to do.
    fn retire(&self, environment: Arc<Environment>, reason: &'static str) {
        {
            let mut life = environment.life();
            // It may have been given an event since the caller looked.
            if life.state == State::Gone || life.events > 0 {
                return;
            }
            life.state = State::Gone;
        }
        self.remove(&environment);
        let journal = self.0.journal.clone();
        tokio::spawn(async move {
            environment.stop().await;
            journal.record(What::EnvironmentGone {
                environment: environment.number,
                reason: reason.to_owned(),
            });
        });
    }

    /// Takes an environment from the list whose process has ended by itself, or was killed.
    fn forget(&self, environment: &Arc<Environment>, reason: &str) {
        let was_expected = {
            let mut life = environment.life();
            std::mem::replace(&mut life.state, State::Gone) == State::Gone
        };
        self.remove(environment);
        if !was_expected {
            self.0.journal.record(What::EnvironmentGone {
                environment: environment.number,
                reason: reason.to_owned(),
            });
        }
    }

    fn remove(&self, environment: &Arc<Environment>) {
        if let Some(deployed) = self.functions_mut().get_mut(&environment.function.name) {
            deployed.environments.retain(|other| !Arc::ptr_eq(other, environment));
        }
        self.0.idle.notify_waiters();
    }

    /// An event is over, and the environment asks for the next one.
    fn release(&self, environment: &Arc<Environment>) {
        let is_retiring = {
            let mut life = environment.life();
            life.events -= 1;
            life.finishing = life.finishing.saturating_sub(1);
            life.served += 1;
            life.idle_since = Instant::now();
            if life.events == 0 && life.state != State::Gone && !life.is_retiring && !environment.is_gone() {
                environment.rest(&mut life);
            }
            life.events == 0 && life.is_retiring && !environment.is_gone()
        };
        if is_retiring {
            self.retire(Arc::clone(environment), "a newer version was deployed");
        }
        self.0.idle.notify_waiters();
    }

    fn functions_mut(&self) -> MutexGuard<'_, HashMap<String, Deployed>> {
        self.0.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deployed {
    /// A place in an environment that is free, or will be when its Init is over; the one used last, so that others may go.
    fn take_free(&self) -> Option<Arc<Environment>> {
        let capacity = self.function.events_per_environment.map_or(1, u32::from);
        let is_free = |environment: &&Arc<Environment>| {
            let life = environment.life();
            life.state != State::Gone && !life.is_retiring && life.events < capacity && !environment.is_gone()
        };
        loop {
            let free = self.environments.iter().filter(is_free);
            let environment = free.max_by_key(|environment| environment.life().idle_since)?;
            let mut life = environment.life();
            // It may have been retired since it was looked at.
            if life.state == State::Gone {
                continue;
            }
            life.events += 1;
            if life.state != State::Starting {
                environment.thaw(&mut life);
            }
            drop(life);
            return Some(Arc::clone(environment));
        }
    }

    fn finishing(&self) -> u32 {
        let environments = self.environments.iter();
        environments
            .map(|environment| {
                let life = environment.life();
                match life.is_retiring {
                    true => 0,
                    false => life.finishing,
                }
            })
            .sum()
    }
}

/// Ends environments that have been idle for too long, as long as there is a platform.
async fn reap(platform: Weak<Inner>) {
    loop {
        tokio::time::sleep(REAPING_PERIOD).await;
        let Some(platform) = platform.upgrade().map(Platform) else {
            return;
        };
        let limit = platform.0.settings.idle;
        let idle: Vec<_> = {
            let functions = platform.functions_mut();
            let environments = functions.values().flat_map(|deployed| &deployed.environments);
            environments
                .filter(|environment| {
                    let life = environment.life();
                    let is_idle = matches!(life.state, State::Idle | State::Frozen);
                    is_idle && life.events == 0 && life.idle_since.elapsed() >= limit
                })
                .cloned()
                .collect()
        };
        for environment in idle {
            platform.retire(environment, "it was idle");
        }
    }
}
