//! What a project is on the platform: its functions, the routes in front of them, and the queues behind.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_host::manifest::{Manifest, Route, routes::HTTP_SOURCE};
use orlop_local::{Function, gateway};

use super::Arguments;
use crate::mistake::Mistake;
use crate::project::Built;

/// Lambda's default timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is deployed and where its events come from.
#[derive(Debug)]
pub(super) struct Plan {
    /// All functions that can be called.
    pub(super) functions: Vec<Function>,
    /// The one that HTTP requests are for.
    pub(super) main: String,
    /// The routes of the HTTP front; none means that every request is for the function.
    pub(super) routes: Vec<gateway::Route>,
    /// The queues, and the function that each is for.
    pub(super) queues: Vec<(String, String)>,
}

impl Plan {
    /// The plan for components. With routes in `orlop.toml`, one function serves the whole deployment, as on Lambda; beside it,
    /// each function can be called by its own name.
    pub(super) fn of_build(arguments: &Arguments, name: &str, built: &Built) -> Result<Self, Mistake> {
        let manifest = Manifest::load(built.task_root()).map_err(|error| {
            let path = built.task_root().join(orlop_host::manifest::FILE_NAME);
            Mistake::caused_by(error, format!("mend `{}`", path.display()))
        })?;
        let timeout = arguments.timeout.unwrap_or_else(|| longest_timeout(&manifest));
        let function = |name: &str, handler: Option<&str>| of_component(arguments, name, handler, built, timeout);
        let mut functions = Vec::new();
        for name in built.functions() {
            functions.push(function(name, Some(name))?);
        }
        let has_routes = manifest.routes.iter().any(|route| route.handler.is_none());
        let main = match (&arguments.function, functions.as_slice()) {
            (Some(asked), known) if known.iter().any(|function| function.name == *asked) => asked.clone(),
            (Some(asked), _) => {
                let names = built.functions().join(", ");
                return Err(Mistake::new(
                    format!("there is no function `{asked}`"),
                    format!("name one of {names}"),
                ));
            }
            (None, [only]) => only.name.clone(),
            (None, known) if has_routes => {
                let name = unused(name, known);
                functions.push(function(&name, None)?);
                name
            }
            (None, _) => {
                return Err(Mistake::new(
                    format!(
                        "there are several functions and no routes: {}",
                        built.functions().join(", ")
                    ),
                    "name the one that requests are for with `--function NAME`, or write [[routes]] into orlop.toml",
                ));
            }
        };
        let is_whole = functions.last().is_some_and(|function| function.name == main) && has_routes;
        let routes: Vec<&Route> = match is_whole {
            true => manifest.routes.iter().filter(|route| route.handler.is_none()).collect(),
            false => Vec::new(),
        };
        let queues = queues(&arguments.queues, &routes, &main);
        Ok(Self {
            routes: http_routes(&routes)?,
            functions,
            main,
            queues,
        })
    }

    /// The plan for a program that speaks the Runtime API itself.
    pub(super) fn of_command(arguments: &Arguments, name: &str, folder: &Path) -> Result<Self, Mistake> {
        let Some((program, rest)) = arguments.command.split_first() else {
            return Err(Mistake::new("there is no command", "write it behind `--`"));
        };
        let function = Function {
            name: name.to_owned(),
            program: PathBuf::from(program),
            arguments: rest.to_vec(),
            working_directory: Some(folder.to_owned()),
            variables: command_variables(arguments, folder),
            memory_mib: arguments.memory,
            timeout: arguments.timeout.unwrap_or(DEFAULT_TIMEOUT),
            concurrency: arguments.concurrency,
            events_per_environment: arguments.managed_instances,
        };
        Ok(Self {
            functions: vec![function],
            main: name.to_owned(),
            routes: Vec::new(),
            queues: queues(&arguments.queues, &[], name),
        })
    }
}

fn of_component(
    arguments: &Arguments,
    name: &str,
    handler: Option<&str>,
    built: &Built,
    timeout: Duration,
) -> Result<Function, Mistake> {
    let program = std::env::current_exe()
        .map_err(|error| Mistake::new(format!("cannot find this program: {error}"), "run it by its full path"))?;
    let mut variables = vec![(
        "LAMBDA_TASK_ROOT".to_owned(),
        built.task_root().to_string_lossy().into_owned(),
    )];
    let log_level = if arguments.verbose { "DEBUG" } else { "WARN" };
    variables.push(("AWS_LAMBDA_LOG_LEVEL".to_owned(), log_level.to_owned()));
    variables.extend(arguments.variables.iter().cloned());
    let separator = handler.map(|_| "--".to_owned());
    Ok(Function {
        name: name.to_owned(),
        program,
        arguments: separator.into_iter().chain(handler.map(str::to_owned)).collect(),
        working_directory: None,
        variables,
        memory_mib: arguments.memory,
        timeout,
        concurrency: arguments.concurrency,
        events_per_environment: arguments.managed_instances,
    })
}

/// What a foreign runtime needs of this shell to run at all, and what was asked for.
fn command_variables(arguments: &Arguments, folder: &Path) -> Vec<(String, String)> {
    let mut variables = vec![("LAMBDA_TASK_ROOT".to_owned(), folder.to_string_lossy().into_owned())];
    variables.extend(super::shell_variables());
    variables.extend(arguments.variables.iter().cloned());
    variables
}

/// The longest timeout that a function has in `orlop.toml`: Lambda's own must not be shorter.
fn longest_timeout(manifest: &Manifest) -> Duration {
    let functions = manifest.functions.values().chain([&manifest.defaults]);
    let longest = functions
        .filter_map(|function| function.timeout)
        .map(|timeout| timeout.duration())
        .max();
    longest.unwrap_or_default().max(DEFAULT_TIMEOUT)
}

/// A name for the whole deployment that none of its functions has.
fn unused(name: &str, known: &[Function]) -> String {
    match known.iter().any(|function| function.name == name) {
        true => format!("{name}-deployment"),
        false => name.to_owned(),
    }
}

/// The routes that HTTP requests can take. What a route asks for beside method and path, the deployment itself looks at.
fn http_routes(routes: &[&Route]) -> Result<Vec<gateway::Route>, Mistake> {
    let is_http = |route: &&&Route| {
        let source = route.source.as_ref().map(|source| source.as_str());
        route.arn.is_none() && source.is_none_or(|source| source == HTTP_SOURCE)
    };
    let route = |route: &&Route| {
        let methods = route.method.as_ref().map(|methods| methods.names());
        let parse = |name: &str| {
            name.parse()
                .map_err(|_| Mistake::new(format!("`{name}` is no HTTP method"), "mend the routes in orlop.toml"))
        };
        Ok(gateway::Route {
            method: methods
                .map(|names| names.into_iter().map(parse).collect())
                .transpose()?,
            path: route.path.as_ref().map(|path| path.as_str().to_owned()),
        })
    };
    routes.iter().filter(is_http).map(route).collect()
}

/// The queues asked for, else those that routes name, else one that is called like the function.
fn queues(asked: &[String], routes: &[&Route], main: &str) -> Vec<(String, String)> {
    let mut names = asked.to_vec();
    if names.is_empty() {
        let patterns = routes.iter().filter_map(|route| route.arn.as_ref());
        names = patterns.filter_map(|pattern| queue_name(pattern.as_str())).collect();
    }
    if names.is_empty() && routes.is_empty() {
        names.push(queue_name_for(main));
    }
    names.dedup();
    names.into_iter().map(|name| (name, main.to_owned())).collect()
}

/// The queue's name in an ARN of SQS that names one.
fn queue_name(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        [_, _, "sqs", _, _, name] if !name.contains('*') => Some((*name).to_owned()),
        _ => None,
    }
}

/// The function's name, as far as a queue can have it.
fn queue_name_for(function: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    function.chars().map(allowed).take(60).collect()
}

/// How many environments there may be if nobody says otherwise.
pub(super) fn default_concurrency() -> NonZeroU32 {
    NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN)
}
