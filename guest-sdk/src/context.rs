//! The metadata of an invocation, as a handler sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a program may run that nobody stops: a day, more than any Lambda function gets.
const UNHURRIED: Duration = Duration::from_secs(24 * 60 * 60);

/// The memory assumed where none is configured: Lambda's smallest.
const MEMORY_LIMIT_MB: u32 = 128;

/// The metadata of one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Lambda's id of this request. Opaque; retries of one event may carry the same id.
    pub request_id: String,
    /// The function's name.
    pub function_name: String,
    /// The function's version: a number, or `$LATEST`.
    pub function_version: String,
    /// The ARN the caller used, with its alias or version if it named one.
    pub invoked_function_arn: Option<String>,
    /// When the handler is stopped: a margin before Lambda's own deadline.
    pub deadline: SystemTime,
    /// The function's configured memory, in MiB.
    pub memory_limit_mb: u32,
    /// The X-Ray trace header, such as `Root=1-…;Parent=…;Sampled=1`.
    pub trace_id: Option<String>,
    /// The client context a mobile caller sent: JSON text, not validated.
    pub client_context: Option<String>,
    /// The Cognito identity of a mobile caller: JSON text, not validated.
    pub identity: Option<String>,
    /// The tenant of a tenant-isolated function.
    pub tenant_id: Option<String>,
    /// The CloudWatch log group of the execution environment.
    pub log_group: Option<String>,
    /// The CloudWatch log stream of the execution environment.
    pub log_stream: Option<String>,
}

impl Context {
    /// The context of a program that runs outside Lambda, under `wasmtime run` or in a test of the handler.
    ///
    /// What Lambda's environment variables say is taken from them. Otherwise these stand in: the request id is
    /// `local`, the function is named after the program's file, its version is `$LATEST`, its memory 128 MiB, and the
    /// deadline is a day away. The other fields are absent.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "outside Lambda the environment is all there is to read"
    )]
    pub fn local() -> Self {
        let program = std::env::args().next().unwrap_or_default();
        Self::from_environment(|name| std::env::var(name).ok(), &program, SystemTime::now())
    }

    /// The time left until the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining_time(&self) -> Duration {
        self.remaining_time_at(SystemTime::now())
    }

    fn from_environment(lookup: impl Fn(&str) -> Option<String>, program: &str, now: SystemTime) -> Self {
        // A variable that is set to nothing says nothing.
        let lookup = |name| lookup(name).filter(|value| !value.is_empty());
        Self {
            request_id: "local".to_owned(),
            function_name: lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| file_stem(program)),
            function_version: lookup("AWS_LAMBDA_FUNCTION_VERSION").unwrap_or_else(|| "$LATEST".to_owned()),
            invoked_function_arn: None,
            deadline: now + UNHURRIED,
            memory_limit_mb: lookup("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|value| value.parse().ok())
                .unwrap_or(MEMORY_LIMIT_MB),
            trace_id: lookup("_X_AMZN_TRACE_ID"),
            client_context: None,
            identity: None,
            tenant_id: None,
            log_group: lookup("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream: lookup("AWS_LAMBDA_LOG_STREAM_NAME"),
        }
    }

    fn remaining_time_at(&self, now: SystemTime) -> Duration {
        self.deadline.duration_since(now).unwrap_or_default()
    }
}

/// The instant `deadline_ms` milliseconds after the Unix epoch.
///
/// Lambda's emulator is known to send deadlines that are absurdly far away. One that this platform cannot name is as
/// good as none.
pub(crate) fn deadline(deadline_ms: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(deadline_ms))
        .unwrap_or_else(|| SystemTime::now() + UNHURRIED)
}

fn file_stem(program: &str) -> String {
    std::path::Path::new(program)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(variables: &[(&str, &str)], program: &str) -> Context {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Context::from_environment(lookup, program, UNIX_EPOCH)
    }

    #[test]
    fn without_an_environment_the_stand_ins_are_used() {
        let context = context(&[], "target/wasm32-wasip2/release/hello.wasm");
        assert_eq!(context.request_id, "local");
        assert_eq!(context.function_name, "hello");
        assert_eq!(context.function_version, "$LATEST");
        assert_eq!(context.memory_limit_mb, 128);
        assert_eq!(context.deadline, UNIX_EPOCH + UNHURRIED);
        assert_eq!(context.trace_id, None);
    }

    #[test]
    fn lambda_s_variables_are_believed() {
        let context = context(
            &[
                ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
                ("_X_AMZN_TRACE_ID", ""),
            ],
            "hello.wasm",
        );
        assert_eq!(context.function_name, "orders");
        assert_eq!(context.function_version, "7");
        assert_eq!(context.memory_limit_mb, 1024);
        assert_eq!(context.log_group.as_deref(), Some("/aws/lambda/orders"));
        assert_eq!(context.trace_id, None);
    }

    #[test]
    fn remaining_time_ends_at_zero() {
        let context = Context {
            deadline: deadline(5_000),
            ..context(&[], "")
        };
        assert_eq!(
            context.remaining_time_at(UNIX_EPOCH + Duration::from_secs(2)),
            Duration::from_secs(3)
        );
        assert_eq!(
            context.remaining_time_at(UNIX_EPOCH + Duration::from_secs(5)),
            Duration::ZERO
        );
        assert_eq!(
            context.remaining_time_at(UNIX_EPOCH + Duration::from_secs(9)),
            Duration::ZERO
        );
        assert_eq!(context.remaining_time(), Duration::ZERO);
    }

    #[test]
    fn the_farthest_deadline_is_still_a_deadline() {
        let context = Context {
            deadline: deadline(u64::MAX),
            ..context(&[], "")
        };
        assert!(context.remaining_time() > UNHURRIED);
    }
}
