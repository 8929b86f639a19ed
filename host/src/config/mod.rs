//! Arguments and environment variables become typed settings, once. Nothing else reads the environment.
//!
//! Lambda's own variables are read as the runtime contract (§5) describes them, and an empty value counts as unset. Ours
//! begin with `ORLOP_`; an unknown one is an error, so that a misspelt limit is never a missing limit.

mod environment;
mod functions;
mod settings;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use environment::{Environment, Process};
pub use functions::{FunctionConfig, Functions};
use settings::Settings;

use crate::artifact::{Bounds, Verification};
use crate::engine::Execution;
use crate::error::InitError;
use crate::handover::{self, Handover};
use crate::invocation::{DeadlinePolicy, FunctionIdentity};
use crate::sandbox::outbound::Platform;
use crate::telemetry;
use crate::wall::Needs;

/// `host:port` of the Runtime API. Its absence means that the process does not run on Lambda.
pub const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// The function's handler setting; an argument of the process comes first.
pub const HANDLER: &str = "_HANDLER";
/// The folder that holds the function's code. Default `/var/task`.
pub const TASK_ROOT: &str = "LAMBDA_TASK_ROOT";
/// The function's name, version, memory in MiB, log group and log stream.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";
/// See [`FUNCTION_NAME`].
pub const FUNCTION_VERSION: &str = "AWS_LAMBDA_FUNCTION_VERSION";
/// See [`FUNCTION_NAME`].
pub const FUNCTION_MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
/// See [`FUNCTION_NAME`].
pub const LOG_GROUP: &str = "AWS_LAMBDA_LOG_GROUP_NAME";
/// See [`FUNCTION_NAME`].
pub const LOG_STREAM: &str = "AWS_LAMBDA_LOG_STREAM_NAME";
/// The number of events at a time that Managed Instances offer. Its presence means that this is one, also if it is 1.
pub const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";
/// How this environment begins: `on-demand`, `provisioned-concurrency`, `snap-start` or `lambda-managed-instances`.
pub const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";
/// `Text` or `JSON`, in any case.
pub const LOG_FORMAT: &str = "AWS_LAMBDA_LOG_FORMAT";
/// `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR` or `FATAL`; anything else means `INFO`.
pub const LOG_LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";
/// The file descriptor that takes framed log lines.
pub const TELEMETRY_FD: &str = "_LAMBDA_TELEMETRY_LOG_FD";

/// Lambda's default memory, in MiB: what a function has if nobody says otherwise.
const DEFAULT_MEMORY_MB: u32 = 128;
/// The part of the function's memory that guests do not get: host, payloads and page cache need it.
const HOST_RESERVE_BYTES: u64 = 64 << 20;

/// The least share of the function's memory that a guest gets by default, however many run at a time.
const LEAST_SHARE_BYTES: u64 = 32 << 20;

/// The largest event that is taken, unless the user says otherwise: several times what Lambda sends.
const DEFAULT_MAX_EVENT_BYTES: u64 = 32 << 20;
const DEFAULT_DEADLINE_MARGIN: Duration = Duration::from_millis(100);
const DEFAULT_INIT_TIMEOUT: Duration = Duration::from_secs(900);

/// A file of certificates that outbound requests trust as well.
const CERTIFICATES: &str = "ORLOP_CA_CERTIFICATES";

/// All settings, one part per consumer.
pub struct Config {
    /// How many events Lambda offers at a time, if this is a Managed Instance.
    pub concurrency: Option<NonZeroU32>,
    /// Where the Runtime API is.
    pub runtime_api: RuntimeApi,
    /// The handler's name, if one was given.
    pub handler: Option<String>,
    /// Where handlers are looked up.
    pub task_root: PathBuf,
    /// What the platform calls the function.
    pub identity: Arc<FunctionIdentity>,
    /// What is closed to guests, and what the host signs requests with.
    pub platform: Arc<Platform>,
    /// The functions to serve.
    pub functions: Functions,
    /// The largest event that is taken from Lambda, in bytes.
    pub max_event_bytes: u64,
    /// How deadlines are made.
    pub deadlines: DeadlinePolicy,
    /// The time Init may take before the process gives up.
    pub init_timeout: Duration,
    /// Whether Lambda takes a snapshot at the end of Init.
    pub is_snap_start: bool,
    /// When an artifact's digest is checked.
    pub verification: Verification,
    /// What compiling a component at Init may take.
    pub compiling: Bounds,
    /// What the second wall has to leave open, if there is to be one.
    pub second_wall: Option<Needs>,
    /// Whether to register as an internal extension, so that Lambda announces the end with SIGTERM.
    pub graceful_shutdown: bool,
    /// How log lines look and where they go.
    pub telemetry: telemetry::Config,
    /// What the process inherits from itself if it was re-executed.
    pub handover: Handover,
}

/// Where and how the Runtime API is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeApi {
    /// `host:port`.
    pub address: String,
    /// The `Content-Type` of answers; `None` leaves it at `application/json`, or `application/octet-stream` for a stream.
    pub response_content_type: Option<String>,
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    ///
    /// [`InitError::InvalidConfiguration`] naming the variable, its value and the form that would be accepted.
    pub fn new(process: &Process) -> Result<Self, InitError> {
        let environment = &process.environment;
        let settings = Settings::new(environment)?;
        let runtime_api = RuntimeApi {
            address: runtime_api_address(environment)?,
            response_content_type: settings.content_type("ORLOP_CONTENT_TYPE")?,
        };
        let memory_mb = match environment.get(FUNCTION_MEMORY) {
            None => DEFAULT_MEMORY_MB,
            Some(value) => value
                .parse()
                .ok()
                .filter(|memory| *memory > 0)
                .ok_or_else(|| invalid(FUNCTION_MEMORY, value, "a whole number of MiB, such as 512"))?,
        };
        // An empty value would turn a Managed Instance into something else without a word.
        let concurrency = match environment.get_even_if_empty(MAX_CONCURRENCY) {
            None => None,
            Some(value) => Some(
                value
                    .parse()
                    .map_err(|_| invalid(MAX_CONCURRENCY, value, "a whole number from 1 upward"))?,
            ),
        };
        let has_second_wall = settings
            .choice("ORLOP_SECOND_WALL", &[("on", true), ("off", false)])?
            .unwrap_or(false);
        let handler = handler(&process.arguments, environment);
        let task_root = PathBuf::from(environment.get(TASK_ROOT).unwrap_or("/var/task"));
        let memory_bytes = guest_memory_bytes(memory_mb, concurrency);
        let functions = functions::functions(&task_root, handler.as_deref(), environment, &settings, memory_bytes)?;
        Ok(Self {
            concurrency,
            platform: Arc::new(platform(environment, &settings)?),
            second_wall: has_second_wall.then(|| needs(&task_root, &runtime_api, &functions, &settings)),
            functions,
            max_event_bytes: settings.size("ORLOP_LIMIT_EVENT", DEFAULT_MAX_EVENT_BYTES)?,
            handler,
            task_root,
            identity: Arc::new(FunctionIdentity {
                name: environment.get(FUNCTION_NAME).unwrap_or("function").to_owned(),
                version: environment.get(FUNCTION_VERSION).unwrap_or("$LATEST").to_owned(),
                memory_mb,
                log_group: environment.get(LOG_GROUP).map(str::to_owned),
                log_stream: environment.get(LOG_STREAM).map(str::to_owned),
            }),
            deadlines: DeadlinePolicy {
                margin: settings.duration("ORLOP_DEADLINE_MARGIN", DEFAULT_DEADLINE_MARGIN)?,
                default_timeout: settings.duration("ORLOP_TIMEOUT", functions::DEFAULT_TIMEOUT)?,
            },
            init_timeout: settings.duration("ORLOP_INIT_TIMEOUT", DEFAULT_INIT_TIMEOUT)?,
            is_snap_start: environment.get(INITIALIZATION_TYPE) == Some("snap-start"),
            verification: settings
                .choice(
                    "ORLOP_VERIFY_ARTIFACT",
                    &[
                        ("changeable", Verification::WhereChangeable),
                        ("always", Verification::Always),
                    ],
                )?
                .unwrap_or(Verification::WhereChangeable),
            compiling: settings.compiling()?,
            graceful_shutdown: settings
                .choice("ORLOP_GRACEFUL_SHUTDOWN", &[("true", true), ("false", false)])?
                .unwrap_or(false),
            telemetry: telemetry(environment)?,
            handover: match environment.get(handover::VARIABLE) {
                None => Handover::default(),
                Some(value) => Handover::parse(value)
                    .ok_or_else(|| invalid(handover::VARIABLE, value, "nothing; the variable is the runtime's own"))?,
            },
            runtime_api,
        })
    }

    /// How guests are run.
    pub fn execution(&self) -> Execution {
        match self.concurrency {
            None => Execution::Sequential,
            Some(_) => Execution::Concurrent,
        }
    }

    /// How many events are taken at a time.
    pub fn pollers(&self) -> usize {
        self.concurrency
            .map_or(1, |count| usize::try_from(count.get()).unwrap_or(usize::MAX))
    }
}

/// What one sandbox may have of the function's memory, in bytes: all but a reserve for the host; where several run at a time,
/// its share of that, so that no guest can take the others' memory.
fn guest_memory_bytes(memory_mb: u32, concurrency: Option<NonZeroU32>) -> u64 {
    let memory = u64::from(memory_mb) << 20;
    let for_guests = memory.saturating_sub(HOST_RESERVE_BYTES).max(memory / 2);
    match concurrency {
        None => for_guests,
        Some(count) => (for_guests / u64::from(count.get())).max(LEAST_SHARE_BYTES.min(for_guests)),
    }
}

/// What compiling a component may take, where nothing but compiling is to be done.
///
/// # Errors
///
/// [`InitError::InvalidConfiguration`] naming the variable, its value and the form that would be accepted.
pub fn compiling(environment: &Environment) -> Result<Bounds, InitError> {
    Settings::of_any(environment).compiling()
}

/// How log lines look and where they go; read before all else, so that a configuration error is heard where it should be.
///
/// # Errors
///
/// [`InitError::InvalidConfiguration`] if the telemetry descriptor is no number.
pub fn telemetry(environment: &Environment) -> Result<telemetry::Config, InitError> {
    Ok(telemetry::Config {
        format: match environment.get(LOG_FORMAT) {
            Some(format) if format.eq_ignore_ascii_case("json") => telemetry::Format::Json,
            // Managed Instances know nothing else.
            None if environment.get_even_if_empty(MAX_CONCURRENCY).is_some() => telemetry::Format::Json,
            Some(_) | None => telemetry::Format::Text,
        },
        level: environment
            .get(LOG_LEVEL)
            .and_then(telemetry::Level::parse)
            .unwrap_or(telemetry::Level::Info),
        frame_descriptor: match environment.get(TELEMETRY_FD) {
            None => None,
            Some(value) => Some(
                value
                    .parse()
                    .ok()
                    .filter(|descriptor| *descriptor > 2)
                    .ok_or_else(|| invalid(TELEMETRY_FD, value, "the number of an open file descriptor above 2"))?,
            ),
        },
    })
}

/// `host:port` of the Runtime API, without a scheme or a trailing slash that somebody may have added.
///
/// # Errors
///
/// [`InitError::InvalidConfiguration`] if the variable is unset or is no address.
pub fn runtime_api_address(environment: &Environment) -> Result<String, InitError> {
    let Some(value) = environment.get(RUNTIME_API) else {
        return Err(InitError::InvalidConfiguration(format!(
            "{RUNTIME_API} is not set, so this is not AWS Lambda; to run a component here, use `orlop invoke COMPONENT -e EVENT`"
        )));
    };
    let address = value.strip_prefix("http://").unwrap_or(value).trim_end_matches('/');
    let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_address {
        Ok(address.to_owned())
    } else {
        Err(invalid(RUNTIME_API, value, "HOST:PORT"))
    }
}

/// The first argument, else `_HANDLER`.
///
/// A ZIP function's handler setting is by convention `bootstrap`, and AWS's emulator puts the command itself there; both
/// say nothing about a component and count as unset.
fn handler(arguments: &[String], environment: &Environment) -> Option<String> {
    let program = arguments.first().map(String::as_str).unwrap_or_default();
    let argument = arguments
        .iter()
        .skip(1)
        .find(|argument| *argument != "--")
        .map(String::as_str);
    argument
        .or_else(|| {
            environment
                .get(HANDLER)
                .filter(|name| *name != program && *name != "bootstrap")
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// What this process needs of the system that not every runtime does.
fn needs(task_root: &Path, runtime_api: &RuntimeApi, functions: &Functions, settings: &Settings<'_>) -> Needs {
    let port = runtime_api
        .address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let certificates = settings.text(CERTIFICATES).map(PathBuf::from);
    Needs {
        readable: std::iter::once(task_root.to_owned()).chain(certificates).collect(),
        port: port.filter(|_| !functions.functions.iter().any(FunctionConfig::calls_out)),
    }
}

fn platform(environment: &Environment, settings: &Settings<'_>) -> Result<Platform, InitError> {
    let mut platform = Platform::from_environment(|name| environment.get(name));
    if let Some(path) = settings.text(CERTIFICATES) {
        let unusable =
            |reason: String| InitError::InvalidConfiguration(format!("{CERTIFICATES} is {path:?}: {reason}"));
        let pem = std::fs::read(&path).map_err(|error| unusable(format!("the file cannot be read: {error}")))?;
        platform.trust(&pem).map_err(unusable)?;
    }
    Ok(platform)
}

fn invalid(name: &str, value: &str, accepted: &str) -> InitError {
    InitError::InvalidConfiguration(format!("{name} is {value:?}; it must be {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, InitError> {
        let variables = [(RUNTIME_API, "127.0.0.1:9001")].iter().chain(variables);
        Config::new(&Process {
            arguments: vec!["/bootstrap".to_owned()],
            environment: Environment::from_pairs(variables.copied()),
        })
    }

    fn complaint(variables: &[(&str, &str)]) -> String {
        match config(variables) {
            Ok(_) => panic!("{variables:?} are accepted"),
            Err(error) => error.to_string(),
        }
    }

    // Conformance statement 6.
    #[test]
    fn the_handler_is_the_argument_else_the_variable() {
        let handler = |arguments: &[&str], variables: &[(&str, &str)]| {
            let arguments: Vec<String> = ["/bootstrap"]
                .iter()
                .chain(arguments)
                .map(ToString::to_string)
                .collect();
            handler(&arguments, &Environment::from_pairs(variables.iter().copied()))
        };
        assert_eq!(handler(&["orders"], &[(HANDLER, "other")]).as_deref(), Some("orders"));
        assert_eq!(handler(&[], &[(HANDLER, "other")]).as_deref(), Some("other"));
        assert_eq!(handler(&[], &[]), None);
        assert_eq!(handler(&[], &[(HANDLER, "bootstrap")]), None);
        assert_eq!(handler(&[], &[(HANDLER, "/bootstrap")]), None);
        assert_eq!(handler(&["--", "invoke"], &[]).as_deref(), Some("invoke"));
    }

    // Conformance statements 2 and 3.
    #[test]
    fn the_address_is_taken_with_or_without_a_scheme() {
        for (value, expected) in [
            ("h:1", "h:1"),
            ("http://169.254.100.1:9001/", "169.254.100.1:9001"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(config(&[(RUNTIME_API, value)]).unwrap().runtime_api.address, expected);
        }
        for odd in ["nonsense", "h:0", "h:65536", "https://h:1", "h:1/path", ":80"] {
            assert!(complaint(&[(RUNTIME_API, odd)]).contains("HOST:PORT"), "{odd}");
        }
    }

    #[test]
    fn a_malformed_value_is_named_with_the_form_that_would_do() {
        assert_eq!(
            complaint(&[(FUNCTION_MEMORY, "lots")]),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE is \"lots\"; it must be a whole number of MiB, such as 512"
        );
        for value in ["0", "many", "-1", ""] {
            assert!(complaint(&[(MAX_CONCURRENCY, value)]).contains("from 1 upward"));
        }
        assert!(complaint(&[("ORLOP_TIMEOUT", "soon")]).contains("such as 2s"));
        assert!(complaint(&[("ORLOP_LIMIT_MEMORY", "99999999999999G")]).contains("such as 64MiB"));
        assert!(complaint(&[("ORLOP_ISOLATION", "none")]).contains("event, environment or tenant"));
    }

    #[test]
    fn an_unknown_setting_is_an_error_that_names_the_nearest() {
        assert!(complaint(&[("ORLOP_LIMITS_MEMORY", "1MiB")]).contains("ORLOP_LIMIT_MEMORY"));
    }

    #[test]
    fn the_guest_gets_the_functions_memory_less_a_reserve_for_the_host() {
        let limit = |name, value| {
            let config = config(&[(name, value)]).unwrap();
            config.functions.functions[0].limits.memory_bytes >> 20
        };
        assert_eq!(limit(FUNCTION_MEMORY, "128"), 64);
        assert_eq!(limit(FUNCTION_MEMORY, "1024"), 960);
        assert_eq!(limit("ORLOP_LIMIT_MEMORY", "96MiB"), 96);
    }

    #[test]
    fn guests_that_run_at_a_time_share_the_functions_memory() {
        let limit = |memory, concurrency| {
            let config = config(&[(FUNCTION_MEMORY, memory), (MAX_CONCURRENCY, concurrency)]).unwrap();
            config.functions.functions[0].limits.memory_bytes >> 20
        };
        assert_eq!(limit("2048", "1"), 1984);
        assert_eq!(limit("2048", "8"), 248);
        assert_eq!(limit("2048", "1000"), 32);
    }

    // Conformance statement 85.
    #[test]
    fn an_unknown_log_level_means_info() {
        assert_eq!(
            config(&[(LOG_LEVEL, "loud")]).unwrap().telemetry.level,
            telemetry::Level::Info
        );
        assert_eq!(
            config(&[(LOG_LEVEL, "warn")]).unwrap().telemetry.level,
            telemetry::Level::Warn
        );
    }
}
