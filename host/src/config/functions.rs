//! Which functions the process serves, each with its settings: defaults, then `orlop.toml`, then `ORLOP_*` variables.

use std::path::Path;
use std::time::Duration;

use super::settings::Settings;
use super::{DEFAULT_MEMORY_MB, Environment, guest_memory_bytes};
use crate::artifact;
use crate::error::InitError;
use crate::events::{DEFAULT_PASS_THROUGH_PATH, RequestSettings};
use crate::function::{Batching, Behaviour, Isolation};
use crate::manifest::grants::Tmp;
use crate::manifest::{self, BatchMode, FILE_NAME, Grants, Manifest, ResponseMode, Routes, World};
use crate::sandbox::Limits;

/// Every function that the process serves, and which of them an event is for.
#[derive(Debug)]
pub struct Functions {
    /// At least one.
    pub functions: Vec<FunctionConfig>,
    /// Empty where there is one function and every event is for it.
    pub routes: Routes,
}

impl Functions {
    /// Refuses grants of requests if this program was built without them.
    fn refuse_requests_that_cannot_leave(&self) -> Result<(), InitError> {
        match self.functions.iter().find(|function| function.calls_out()) {
            Some(function) if cfg!(not(feature = "outbound")) => Err(InitError::InvalidConfiguration(format!(
                "the function {} is granted requests, and this `bootstrap` was built without them; build the image on \
                 `orlop-lean` or `orlop` instead of `orlop-small`",
                function.name
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Every function of the `orlop.toml` in a folder, as it would be run on Lambda with no `ORLOP_*` variable set and the
    /// default memory.
    ///
    /// # Errors
    ///
    /// [`InitError::InvalidConfiguration`] if the file is not valid.
    pub fn all_in(folder: &Path) -> Result<Self, InitError> {
        Self::all_in_and(folder, &[])
    }

    /// As [`Self::all_in`], and those of these handlers that have no entry there: what they may do is in the defaults.
    ///
    /// # Errors
    ///
    /// As [`Self::all_in`].
    pub fn all_in_and(folder: &Path, handlers: &[&str]) -> Result<Self, InitError> {
        let manifest = Manifest::load(folder)?;
        let environment = Environment::default();
        let settings = Settings::new(&environment)?;
        let entries = manifest.functions.iter().map(|(name, entry)| {
            let component = entry.component.as_ref().unwrap_or(name);
            (name.as_str(), component.as_str(), entry)
        });
        let is_entry = |handler: &str| manifest.functions.keys().any(|name| name.as_str() == handler);
        let others = handlers.iter().filter(|handler| !is_entry(handler));
        let others = others.map(|handler| (*handler, *handler, &manifest.defaults));
        let functions = entries.chain(others).map(|(name, component, entry)| {
            merge(
                name,
                Some(component),
                entry,
                &environment,
                &settings,
                guest_memory_bytes(DEFAULT_MEMORY_MB, None),
            )
        });
        Ok(Self {
            functions: functions.collect::<Result<_, _>>()?,
            routes: manifest.routes.clone(),
        })
    }
}

/// One function and how it is to be run.
#[derive(Debug)]
pub struct FunctionConfig {
    /// Its name in `orlop.toml`, else the handler's.
    pub name: String,
    /// The file of its component below the task root; the extension is optional. `None` stands for the only one there.
    pub component: Option<String>,
    /// The world it is called through, if the first that the component exports will not do.
    pub world: Option<World>,
    /// Whether its component is meant to be a snapshot.
    pub is_snapshot: bool,
    /// How it is run.
    pub behaviour: Behaviour,
    /// What a sandbox may use.
    pub limits: Limits,
    /// What a sandbox may reach.
    pub grants: Grants,
    /// The guest's environment variables, without those it must not see.
    pub environment: Vec<(String, String)>,
    /// A program's arguments, after its name.
    pub arguments: Vec<String>,
}

impl FunctionConfig {
    /// Which `/tmp` the guest sees.
    pub fn tmp(&self) -> Tmp {
        self.grants.tmp.unwrap_or(Tmp::Private)
    }

    /// Whether it is granted any request to elsewhere.
    pub fn calls_out(&self) -> bool {
        !self.grants.outbound.is_empty() || !self.grants.aws.is_empty()
    }
}

pub(super) fn functions(
    task_root: &Path,
    handler: Option<&str>,
    environment: &Environment,
    settings: &Settings<'_>,
    memory_bytes: u64,
) -> Result<Functions, InitError> {
    let manifest = Manifest::load(task_root)?;
    let served = served(task_root, handler, &manifest)?;
    let merged = |(name, component, entry): (&str, Option<&str>, &manifest::Function)| {
        merge(name, component, entry, environment, settings, memory_bytes)
    };
    let routes = match served.is_routed {
        true => manifest.routes.clone(),
        false => Routes::default(),
    };
    let functions: Vec<FunctionConfig> = served.functions.into_iter().map(merged).collect::<Result<_, _>>()?;
    let functions = Functions { functions, routes };
    functions.refuse_what_they_could_write(task_root)?;
    functions.refuse_requests_that_cannot_leave()?;
    Ok(functions)
}

impl Functions {
    /// Refuses a place that a function could write, for what is going to be run: the environment's own `/tmp`, by whatever
    /// name or link it is reached, if one of the functions is granted it.
    ///
    /// # Errors
    ///
    /// [`InitError::InvalidConfiguration`] with the function's name.
    pub fn refuse_what_they_could_write(&self, path: &Path) -> Result<(), InitError> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let is_shared = |function: &&FunctionConfig| function.tmp() == Tmp::Shared;
        match self.functions.iter().find(is_shared) {
            Some(function) if real(path).starts_with(real(Path::new("/tmp"))) => {
                Err(InitError::InvalidConfiguration(format!(
                    "the function {} is granted the environment's own /tmp, so no component may be loaded from there; move `{}` elsewhere",
                    function.name,
                    path.display()
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}

struct Served<'a> {
    /// Name, component and settings.
    functions: Vec<(&'a str, Option<&'a str>, &'a manifest::Function)>,
    is_routed: bool,
}

/// A handler's name stands for a function of the manifest, for a component, or for the routes that name it. Without one, the
/// routes decide, else the only function, else the only component.
fn served<'a>(task_root: &Path, handler: Option<&'a str>, manifest: &'a Manifest) -> Result<Served<'a>, InitError> {
    let entry = |name: &'a str| {
        let function = manifest.function(name);
        let component = function.component.as_ref().map_or(name, |component| component.as_str());
        (name, Some(component), function)
    };
    let only = |function| Served {
        functions: vec![function],
        is_routed: false,
    };
    let routed: Vec<&str> = manifest
        .functions
        .keys()
        .map(|name| name.as_str())
        .filter(|name| {
            manifest.routes.iter().any(|route| {
                let handler = handler.map(artifact::without_extension);
                let is_for_us = route
                    .handler
                    .as_ref()
                    .is_none_or(|named| Some(named.as_str()) == handler);
                is_for_us && route.function.as_str() == *name
            })
        })
        .collect();
    let routed_functions = || Served {
        functions: routed.iter().copied().map(entry).collect(),
        is_routed: true,
    };
    if let Some(named) = handler {
        let handler = artifact::without_extension(named);
        if manifest.functions.keys().any(|name| name.as_str() == handler) {
            return Ok(only(entry(handler)));
        }
        let is_named = |named: &manifest::Name| named.as_str() == handler;
        if manifest
            .routes
            .iter()
            .any(|route| route.handler.as_ref().is_some_and(is_named))
        {
            return Ok(routed_functions());
        }
        artifact::find(task_root, Some(named))?;
        return Ok(only((handler, Some(named), &manifest.defaults)));
    }
    let names: Vec<&str> = manifest.functions.keys().map(|name| name.as_str()).collect();
    match (routed.is_empty(), names.as_slice()) {
        (false, _) => Ok(routed_functions()),
        (true, [name]) => Ok(only(entry(name))),
        (true, []) => Ok(only(("function", None, &manifest.defaults))),
        (true, names) => Err(InitError::HandlerNotFound(format!(
            "no handler was named, and {FILE_NAME} has no routes for its {} functions: {}; name one as the image's CMD or \
             the function's handler setting, or add [[routes]]",
            names.len(),
            names.join(", ")
        ))),
    }
}

fn merge(
    name: &str,
    component: Option<&str>,
    entry: &manifest::Function,
    environment: &Environment,
    settings: &Settings<'_>,
    memory_bytes: u64,
) -> Result<FunctionConfig, InitError> {
    let manifest::Function {
        component: _,
        world,
        isolation,
        snapshot,
        response_mode,
        batch,
        batch_concurrency,
        timeout,
        args,
        base_path,
        strip_stage,
        pass_through_path,
        environment: variables,
        limits: limit_settings,
        grants,
    } = entry;
    let worlds = [
        ("handler", World::Handler),
        ("http", World::Http),
        ("command", World::Command),
    ];
    let isolations = [
        ("event", Isolation::Event),
        ("environment", Isolation::Environment),
        ("tenant", Isolation::Tenant),
    ];
    let modes = [
        ("buffered", ResponseMode::Buffered),
        ("streaming", ResponseMode::Streaming),
    ];
    let batches = [("whole", BatchMode::Whole), ("record", BatchMode::Record)];
    let path = |text: Option<&manifest::UrlPath>| text.map(|path| path.as_str().to_owned());
    let mode = settings
        .choice("ORLOP_BATCH", &batches)?
        .or(*batch)
        .unwrap_or(BatchMode::Whole);
    let at_a_time = settings.count(
        "ORLOP_BATCH_CONCURRENCY",
        batch_concurrency.map_or(1, manifest::Count::get),
    )?;
    let is_snapshot = snapshot.unwrap_or(false);
    let behaviour = Behaviour {
        // A component that should have been a snapshot and is none is slower, and sees as little of the event before.
        isolation: settings
            .choice("ORLOP_ISOLATION", &isolations)?
            .or(*isolation)
            .or(is_snapshot.then_some(Isolation::Event)),
        response_mode: settings
            .choice("ORLOP_RESPONSE_MODE", &modes)?
            .or(*response_mode)
            .unwrap_or(ResponseMode::Buffered),
        batching: match mode {
            BatchMode::Whole => Batching::Whole,
            BatchMode::Record => Batching::Record { at_a_time },
        },
        timeout: settings
            .optional_duration("ORLOP_TIMEOUT")?
            .or(timeout.map(|timeout| timeout.duration())),
        http: RequestSettings {
            base_path: settings.text("ORLOP_BASE_PATH").or(path(base_path.as_ref())),
            strip_stage: settings
                .choice("ORLOP_STRIP_STAGE", &[("true", true), ("false", false)])?
                .or(*strip_stage)
                .unwrap_or(false),
            pass_through_path: settings
                .text("ORLOP_PASS_THROUGH_PATH")
                .or(path(pass_through_path.as_ref()))
                .unwrap_or_else(|| DEFAULT_PASS_THROUGH_PATH.to_owned()),
        },
    };
    let given: Vec<&str> = grants.environment.iter().map(|name| name.as_str()).collect();
    let mut guest_environment = environment.for_guests(&given);
    for (name, value) in variables.iter() {
        guest_environment.retain(|(known, _)| known != name);
        guest_environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(FunctionConfig {
        name: name.to_owned(),
        component: component.map(str::to_owned),
        world: settings.choice("ORLOP_WORLD", &worlds)?.or(*world),
        is_snapshot,
        behaviour,
        limits: limits(settings, limit_settings, memory_bytes)?,
        grants: grants.clone(),
        environment: guest_environment,
        arguments: args.iter().map(|argument| argument.as_str().to_owned()).collect(),
    })
}

fn limits(settings: &Settings<'_>, entry: &manifest::LimitSettings, memory_bytes: u64) -> Result<Limits, InitError> {
    let defaults = Limits::default();
    let manifest::LimitSettings {
        memory: memory_setting,
        memories,
        tables,
        table_entries,
        instances,
        stack,
        handles,
        resources,
        host_call_data,
        random,
        output,
        tmp,
        tmp_entries,
    } = entry;
    let count = |name, entry: &Option<manifest::Count>, default| {
        settings.count(name, entry.map_or(default, manifest::Count::get))
    };
    let size = |name, entry: &Option<manifest::Size>, default| {
        settings.size(name, entry.map_or(default, manifest::Size::bytes))
    };
    let size_usize = |name, entry: &Option<manifest::Size>, default: usize| {
        let default = entry.map_or(default, |size| usize::try_from(size.bytes()).unwrap_or(usize::MAX));
        settings.size_usize(name, default)
    };
    Ok(Limits {
        memory_bytes: size("ORLOP_LIMIT_MEMORY", memory_setting, memory_bytes)?,
        memories: count("ORLOP_LIMIT_MEMORIES", memories, defaults.memories)?,
        tables: count("ORLOP_LIMIT_TABLES", tables, defaults.tables)?,
        table_entries: count("ORLOP_LIMIT_TABLE_ENTRIES", table_entries, defaults.table_entries)?,
        instances: count("ORLOP_LIMIT_INSTANCES", instances, defaults.instances)?,
        stack_bytes: size_usize("ORLOP_LIMIT_STACK", stack, defaults.stack_bytes)?,
        handles: count("ORLOP_LIMIT_HANDLES", handles, defaults.handles)?,
        resources: count("ORLOP_LIMIT_RESOURCES", resources, defaults.resources)?,
        host_call_bytes: size_usize("ORLOP_LIMIT_HOST_CALL_DATA", host_call_data, defaults.host_call_bytes)?,
        random_bytes: size("ORLOP_LIMIT_RANDOM", random, defaults.random_bytes)?,
        output_bytes: size("ORLOP_LIMIT_OUTPUT", output, defaults.output_bytes)?,
        tmp_bytes: size("ORLOP_LIMIT_TMP", tmp, defaults.tmp_bytes)?,
        tmp_entries: count("ORLOP_LIMIT_TMP_ENTRIES", tmp_entries, defaults.tmp_entries)?,
    })
}

/// Lambda's longest timeout is what an event gets if neither Lambda nor a setting says less.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(900);
