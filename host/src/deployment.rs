//! Everything that one process serves: its functions, each in sandboxes of its own, and the routes that choose one of them
//! for an event.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::artifact::{self, LoadError, Origin};
use crate::config::{Config, FunctionConfig};
use crate::engine::{Engines, Execution, Ticker};
use crate::error::{FunctionError, InitError};
use crate::events::HttpEvent;
use crate::function::{Batching, Enforcement, Function, Isolation};
use crate::invocation::Invocation;
use crate::manifest::{EventFacts, ResponseMode, Routes};
use crate::runtime_api::{Answer, Responder};
use crate::sandbox::outbound::{Outbound, Platform};
use crate::sandbox::{Factory, Visible, Workspace};
use crate::telemetry::Log;
use crate::worlds::{self, Kind, World};

/// Sandboxes alive beside those that wait for an event: one that is being taken down.
const SPARE_SANDBOXES: usize = 1;

/// The functions, loaded.
pub struct Deployment {
    functions: Vec<Entry>,
    routes: Routes,
    handler: Option<String>,
    /// Where several guests run at a time.
    ticker: Option<Arc<Ticker>>,
    platform: Arc<Platform>,
    /// The function that the last event was for.
    last: Option<usize>,
}

struct Entry {
    name: String,
    /// Or why it cannot be used. The others serve all the same.
    ready: Result<Ready, InitError>,
}

/// A function that can be called, and what there is to say of how it was loaded.
struct Ready {
    function: Function,
    component: String,
    kind: Kind,
    origin: &'static str,
    load: Duration,
}

/// Who answers an event.
pub enum Choice<'a> {
    /// This function.
    Function(&'a mut Function),
    /// Nobody: this is the answer.
    Nobody(FunctionError),
    /// Nobody, and a client hears of it over HTTP.
    NobodyOverHttp(worlds::NotFound<'a>),
}

impl Deployment {
    /// Finds, loads, links and starts every function.
    ///
    /// # Errors
    ///
    /// [`LoadError`], if no function can be used, or if one needs a compiler that this program lacks and that is near.
    pub async fn load(
        config: &Config,
        log: &Arc<Log>,
        workspace: Workspace,
        compiler_is_near: impl Fn() -> bool,
    ) -> Result<Self, LoadError> {
        let configs = &config.functions.functions;
        let limits = configs.iter().map(|function| function.limits.clone());
        let limits = limits
            .reduce(|largest, limits| largest.largest(&limits))
            .unwrap_or_default();
        let at_a_time = configs.iter().map(|function| match function.behaviour.batching {
            Batching::Whole => 0,
            Batching::Record { at_a_time } => at_a_time,
        });
        let slots = configs.len() + at_a_time.max().unwrap_or(0) + SPARE_SANDBOXES;
        let slots = slots.saturating_mul(config.pollers());
        let loader = Loader {
            config,
            log,
            engines: Engines::new(limits, u32::try_from(slots).unwrap_or(u32::MAX), config.execution()),
            workspace: Arc::new(workspace),
        };
        let mut functions = Vec::with_capacity(configs.len());
        for config in configs {
            let ready = match loader.load(config).await {
                Ok(ready) => Ok(ready),
                Err(error @ LoadError::NeedsCompiler { .. }) if compiler_is_near() => return Err(error),
                Err(error) if configs.len() == 1 => return Err(error),
                Err(error) => {
                    let error = error.without_compiler();
                    let report = error.report();
                    error!(
                        function = config.name,
                        error_type = report.error_type,
                        error_message = report.error_message,
                        "the function cannot be used; its events will fail, the other functions serve"
                    );
                    Err(error)
                }
            };
            functions.push(Entry {
                name: config.name.clone(),
                ready,
            });
        }
        if functions.iter().all(|entry| entry.ready.is_err())
            && let Some(Entry { ready: Err(error), .. }) = functions.pop()
        {
            return Err(LoadError::Unusable(error));
        }
        let ticker = match config.execution() {
            Execution::Sequential => None,
            Execution::Concurrent => Some(loader.ticker()?),
        };
        Ok(Self {
            functions,
            routes: config.functions.routes.clone(),
            handler: config
                .handler
                .as_deref()
                .map(|handler| artifact::without_extension(handler).to_owned()),
            ticker,
            platform: Arc::clone(&config.platform),
            last: None,
        })
    }

    /// The same for another poller: sandboxes of its own, of the same components.
    pub fn for_another_poller(&self) -> Self {
        let functions = self.functions.iter().map(|Entry { name, ready }| Entry {
            name: name.clone(),
            ready: match ready {
                Ok(ready) => Ok(Ready {
                    function: ready.function.for_another_poller(),
                    component: ready.component.clone(),
                    kind: ready.kind,
                    origin: ready.origin,
                    load: ready.load,
                }),
                Err(error) => Err(error.clone()),
            },
        });
        Self {
            functions: functions.collect(),
            routes: self.routes.clone(),
            handler: self.handler.clone(),
            ticker: self.ticker.clone(),
            platform: Arc::clone(&self.platform),
            last: None,
        }
    }

    /// What makes guests take turns, where several run at a time.
    pub fn ticker(&self) -> Option<&Arc<Ticker>> {
        self.ticker.as_ref()
    }

    /// Starts what the first events need: an instance of the only function, or of each one whose instances are kept.
    pub async fn prepare(&mut self) {
        let is_only = self.functions.len() == 1;
        for entry in &mut self.functions {
            if let Ok(ready) = &mut entry.ready
                && (is_only || ready.function.isolation() != Isolation::Event)
            {
                ready.function.prepare().await;
            }
        }
    }

    /// Says that Init is done, in one line; and in one more for each function if there are several.
    pub fn announce(&self, elapsed: Duration, restarts: u32) {
        let init_ms = milliseconds(elapsed);
        if let [Entry { ready: Ok(ready), .. }] = self.functions.as_slice() {
            let Ready {
                function,
                component,
                kind,
                origin,
                load,
            } = ready;
            info!(
                component,
                world = kind.name(),
                origin,
                load_ms = milliseconds(*load),
                init_ms,
                isolation = function.isolation().name(),
                response_mode = function.behaviour().response_mode.name(),
                restarts,
                "ready"
            );
            return;
        }
        let mut broken = 0_usize;
        for Entry { name, ready } in &self.functions {
            let Ok(ready) = ready else {
                broken += 1;
                continue;
            };
            info!(
                function = name,
                component = ready.component,
                world = ready.kind.name(),
                origin = ready.origin,
                load_ms = milliseconds(ready.load),
                isolation = ready.function.isolation().name(),
                response_mode = ready.function.behaviour().response_mode.name(),
                "loaded"
            );
        }
        let functions = self.functions.len() - broken;
        let broken = (broken > 0).then_some(broken);
        info!(functions, broken, init_ms, restarts, "ready");
    }

    /// Before a snapshot of this process is taken: see [`Function::before_snapshot`].
    ///
    /// # Errors
    ///
    /// Of the first guest that fails.
    pub async fn before_snapshot(&mut self) -> Result<(), FunctionError> {
        for ready in self.functions.iter_mut().filter_map(|entry| entry.ready.as_mut().ok()) {
            ready.function.before_snapshot().await?;
        }
        self.platform.forget_credentials().await;
        Ok(())
    }

    /// After this process came out of a snapshot: see [`Function::after_restore`].
    ///
    /// # Errors
    ///
    /// Of the first guest that fails.
    pub async fn after_restore(&mut self) -> Result<(), FunctionError> {
        for ready in self.functions.iter_mut().filter_map(|entry| entry.ready.as_mut().ok()) {
            ready.function.after_restore().await?;
        }
        Ok(())
    }

    /// Who answers that event.
    pub fn choose<'a>(&'a mut self, invocation: &'a Invocation) -> Choice<'a> {
        let index = match self.index(invocation) {
            Ok(index) => index,
            Err(choice) => return *choice,
        };
        if self.ticker.is_some()
            && let Some(last) = self.last.replace(index).filter(|last| *last != index)
            && let Some(Entry { ready: Ok(ready), .. }) = self.functions.get_mut(last)
        {
            // Where there are many pollers, each has one sandbox in stock, not one for each function.
            ready.function.give_up_fresh();
        }
        let entry = self.functions.get_mut(index);
        let Entry { name, ready } = entry.expect("a deployment has a function for each index that it gives");
        match ready {
            Ok(ready) => Choice::Function(&mut ready.function),
            Err(error) => Choice::Nobody(FunctionError::Unusable {
                name: name.clone(),
                error_type: error.report().error_type,
            }),
        }
    }

    fn index<'a>(&self, invocation: &'a Invocation) -> Result<usize, Box<Choice<'a>>> {
        // One function without routes takes every event, and the event stays unread.
        if self.routes.iter().next().is_none() {
            return Ok(0);
        }
        let event = match &invocation.event {
            Ok(event) => event,
            Err(error) => return Err(Box::new(Choice::Nobody(error.clone()))),
        };
        let http_event = HttpEvent::recognise(event);
        let facts = match &http_event {
            Some(http_event) => EventFacts {
                http: Some((http_event.method(), http_event.path())),
                ..EventFacts::default()
            },
            None => EventFacts::of(event),
        };
        let facts = EventFacts {
            handler: self.handler.as_deref(),
            ..facts
        };
        let chosen = self.routes.choose(&facts);
        let index = chosen.and_then(|name| self.functions.iter().position(|entry| entry.name == name));
        let looked_for = match (&facts.http, &facts.arn, &facts.source) {
            (Some((method, path)), _, _) => format!("{method} {path}"),
            (None, Some(arn), _) => format!("arn {arn}"),
            (None, None, Some(source)) => format!("source {source}"),
            (None, None, None) => "an event of no source that Orlop knows".to_owned(),
        };
        index.ok_or_else(|| {
            Box::new(match http_event {
                Some(http_event) => Choice::NobodyOverHttp(worlds::NotFound::new(http_event, self.response_mode())),
                None => Choice::Nobody(FunctionError::RouteNotFound(looked_for)),
            })
        })
    }

    /// How an answer leaves that no function gives.
    fn response_mode(&self) -> ResponseMode {
        let mut functions = self.functions.iter().filter_map(|entry| entry.ready.as_ref().ok());
        match functions.all(|ready| ready.function.behaviour().response_mode == ResponseMode::Streaming) {
            true => ResponseMode::Streaming,
            false => ResponseMode::Buffered,
        }
    }
}

impl Choice<'_> {
    /// The function, if one answers.
    pub fn function(&mut self) -> Option<&mut Function> {
        match self {
            Choice::Function(function) => Some(function),
            Choice::Nobody(_) | Choice::NobodyOverHttp(_) => None,
        }
    }

    /// Runs whoever answers.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`].
    pub async fn invoke(
        &mut self,
        invocation: &Invocation,
        responder: &Responder,
        enforcement: Enforcement<'_>,
    ) -> Result<Answer, FunctionError> {
        match self {
            Choice::Function(function) => function.invoke(invocation, responder, enforcement).await,
            Choice::Nobody(error) => Err(error.clone()),
            Choice::NobodyOverHttp(not_found) => not_found.answer(responder).await,
        }
    }
}

struct Loader<'a> {
    config: &'a Config,
    log: &'a Arc<Log>,
    engines: Engines,
    workspace: Arc<Workspace>,
}

impl Loader<'_> {
    fn ticker(&self) -> Result<Arc<Ticker>, InitError> {
        let ticker = Ticker::start(self.engines.all().cloned().collect());
        ticker
            .map(Arc::new)
            .map_err(|error| InitError::host("starting the thread that makes guests take turns", &error))
    }

    async fn load(&self, config: &FunctionConfig) -> Result<Ready, LoadError> {
        let located = artifact::find(&self.config.task_root, config.component.as_deref())?;
        let files = [&located.artifact, &located.concurrent_artifact, &located.component];
        for file in files.into_iter().flatten() {
            self.config.functions.refuse_what_they_could_write(file)?;
        }
        let loaded = artifact::load(
            &self.engines,
            &located,
            self.config.verification,
            &self.config.compiling,
        )?;
        let unusable = |reason| InitError::InvalidComponent {
            name: located.name.clone(),
            reason,
        };
        let component = &loaded.component;
        let kind = Kind::of(component.engine(), component, config.world).map_err(unusable)?;
        let visible = Visible {
            environment: config.environment.clone(),
            arguments: std::iter::once(format!("{}.wasm", located.name))
                .chain(config.arguments.iter().cloned())
                .collect(),
            stdio: kind.stdio(),
            tmp: config.tmp(),
        };
        let sandboxes = Factory::new(
            component.engine(),
            self.engines.execution(),
            loaded.code,
            &config.limits,
            visible,
            Outbound::new(&config.name, &config.grants, &self.config.platform),
            &self.workspace,
            self.log,
        );
        let linker = sandboxes
            .linker(component, loaded.features)
            .map_err(|error| unusable(format!("{error:#}")))?;
        let world = World::new(kind, &linker, component).map_err(unusable)?;
        if config.is_snapshot && world.has_init() {
            warn!(
                component = located.name,
                "orlop.toml asks for a snapshot and the component is none, so every sandbox runs its `init`; make it with \
                 `orlop build`"
            );
        }
        let mut function = Function::new(world, sandboxes, &self.config.identity, config.behaviour.clone());
        function
            .prepare_first()
            .await
            .map_err(|error| error.into_init_error(&located.name))?;
        if let Origin::Compiled { reason } = &loaded.origin {
            warn!(
                component = located.name,
                compile_ms = milliseconds(loaded.elapsed),
                reason,
                "compiled the component at Init, as every cold start will; run `orlop compile` when the image is built"
            );
        }
        if loaded.code != self.engines.execution() {
            warn!(
                component = located.name,
                "the artifact was compiled for concurrent execution; its checks cost speed where events come one at a time"
            );
        }
        Ok(Ready {
            function,
            component: located.name,
            kind,
            origin: loaded.origin.name(),
            load: loaded.elapsed,
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
