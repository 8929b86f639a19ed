//! What an `orlop.toml` means: every function with its settings as they will count, and the routes.

use std::fmt::Write;
use std::path::Path;

use bytesize::ByteSize;
use orlop_host::artifact::{self, Bounds};
use orlop_host::config::{FunctionConfig, Functions};
use orlop_host::function::Batching;
use orlop_host::manifest::grants::{AwsGrant, Tmp};
use orlop_host::manifest::{FILE_NAME, Grants};
use orlop_host::telemetry::text::escape_controls;

use super::component;
use crate::component::read;
use crate::mistake::Mistake;

/// The report on the deployment in a folder.
pub(super) fn describe(folder: &Path) -> Result<String, Mistake> {
    let unusable = |reason: String| Mistake::new(reason, format!("mend `{}`", folder.join(FILE_NAME).display()));
    let functions = Functions::all_in(folder).map_err(|error| unusable(error.to_string()))?;
    let mut report = String::new();
    for function in &functions.functions {
        describe_function(&mut report, folder, function);
    }
    let routes = routes(folder).map_err(unusable)?;
    if routes.is_empty() {
        report.push_str("no routes: the handler's name chooses the function\n");
    } else {
        report.push_str("routes, of which the first that fits counts:\n");
        report.extend(routes);
    }
    Ok(report)
}

fn describe_function(report: &mut String, folder: &Path, function: &FunctionConfig) {
    let FunctionConfig {
        name,
        component,
        world,
        is_snapshot,
        behaviour,
        limits,
        grants,
        environment: _,
        arguments,
    } = function;
    let (files, found) = component_files(folder, component.as_deref().unwrap_or(name));
    let isolation = match behaviour.isolation {
        Some(isolation) => isolation.name(),
        None => "event, or environment if the component exports `init`",
    };
    let batches = match behaviour.batching {
        Batching::Whole => "passed on whole".to_owned(),
        Batching::Record { at_a_time: 1 } => "record by record, each in a sandbox of its own".to_owned(),
        Batching::Record { at_a_time } => {
            format!("record by record, {at_a_time} at a time, each in a sandbox of its own")
        }
    };
    let timeout = behaviour.timeout.map_or_else(
        || "Lambda's deadline".to_owned(),
        |timeout| {
            format!(
                "{}, or Lambda's deadline if that is sooner",
                humantime::format_duration(timeout)
            )
        },
    );
    let mut rows = vec![
        ("component", files),
        (
            "world",
            world.map_or(found, |world| format!("{}, as {FILE_NAME} says", world.name())),
        ),
        ("instances live for", isolation.to_owned()),
        ("answers are", behaviour.response_mode.name().to_owned()),
        ("batches are", batches),
        ("a call ends at", timeout),
        (
            "memory",
            format!(
                "{} on a function of 128 MiB",
                ByteSize(limits.memory_bytes).display().iec()
            ),
        ),
    ];
    if *is_snapshot {
        rows.push((
            "starts from",
            "a snapshot, which `orlop build` takes after `init`".to_owned(),
        ));
    }
    if !arguments.is_empty() {
        rows.push(("arguments", arguments.join(" ")));
    }
    rows.extend(grant_rows(grants));
    let _ = writeln!(report, "function {name}");
    for (title, text) in rows {
        let _ = writeln!(report, "  {title:<19} {}", escape_controls(&text));
    }
}

/// Which files there are, and the world of the component among them.
fn component_files(folder: &Path, component: &str) -> (String, String) {
    let Ok(located) = artifact::find(folder, Some(component)) else {
        return (
            format!("missing: there is no {component}.wasm or {component}.cwasm"),
            "unknown".to_owned(),
        );
    };
    let names = [&located.component, &located.artifact].into_iter().flatten();
    let names: Vec<String> = names
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let world = match located.component.as_deref().map(|path| read(path, &Bounds::default())) {
        Some(Ok(bytes)) => component::world(&bytes),
        Some(Err(_)) => "none, the file is no component".to_owned(),
        None => "unknown, for only the artifact is here".to_owned(),
    };
    (names.join(", "), world)
}

fn grant_rows(grants: &Grants) -> Vec<(&'static str, String)> {
    let Grants {
        outbound,
        aws,
        environment,
        tmp,
    } = grants;
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.extend(
        outbound
            .iter()
            .map(|outbound| ("may call", outbound.as_str().to_owned())),
    );
    rows.extend(aws.iter().map(|grant| ("signed by the host", describe_aws(grant))));
    rows.extend(environment.iter().map(|name| ("may read", name.as_str().to_owned())));
    match tmp {
        Some(Tmp::Shared) => rows.push(("/tmp", "the environment's own".to_owned())),
        Some(Tmp::Private) => rows.push(("/tmp", "private".to_owned())),
        None => {}
    }
    if rows.is_empty() {
        rows.push(("grants", "none: no network, no credentials, a private /tmp".to_owned()));
    }
    rows
}

fn describe_aws(grant: &AwsGrant) -> String {
    let AwsGrant {
        service,
        region,
        bucket,
        endpoint,
        methods,
        path,
    } = grant;
    let methods = methods.as_ref().map_or_else(
        || "every method".to_owned(),
        |methods| {
            methods
                .iter()
                .map(|method| method.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        },
    );
    let mut text = format!("{} ({methods})", service.as_str());
    if let Some(region) = region {
        let _ = write!(text, " in {}", region.as_str());
    }
    if let Some(bucket) = bucket {
        let _ = write!(text, ", bucket {}", bucket.as_str());
    }
    if let Some(path) = path {
        let _ = write!(text, ", path {path}");
    }
    if let Some(endpoint) = endpoint {
        let _ = write!(text, ", at {}", endpoint.outbound().as_str());
    }
    text
}

/// The routes as the file has them; it was found to be valid before.
fn routes(folder: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(folder.join(FILE_NAME)).map_err(|error| error.to_string())?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let routes = table
        .get("routes")
        .and_then(toml::Value::as_array)
        .cloned()
        .unwrap_or_default();
    let lines = routes.iter().enumerate().filter_map(|(index, route)| {
        let route = route.as_table()?;
        let conditions: Vec<String> = route
            .iter()
            .filter(|(key, _)| key.as_str() != "function")
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let conditions = match conditions.is_empty() {
            true => "every event".to_owned(),
            false => conditions.join(", "),
        };
        let function = route.get("function").and_then(toml::Value::as_str).unwrap_or_default();
        let conditions = escape_controls(&conditions);
        Some(format!("  {}. {conditions} -> {function}\n", index + 1))
    });
    Ok(lines.collect())
}
