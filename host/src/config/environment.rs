//! The process's arguments and environment variables as values, and which of them guests may see.

use std::collections::BTreeMap;

/// Variables that never reach a guest: credentials, tokens, addresses of the platform's own services, and what steers the
/// host. The list is the only place that decides.
const DENIED: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_XRAY_DAEMON_ADDRESS",
    "HOSTNAME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    // Set anew for each event.
    "_X_AMZN_TRACE_ID",
];

/// Prefixes with the same meaning as [`DENIED`].
const DENIED_PREFIXES: &[&str] = &[
    "AWS_CONTAINER_",
    "AWS_EC2_METADATA_",
    "AWS_LAMBDA_METADATA_",
    "ECS_CONTAINER_METADATA_",
    "ORLOP_",
    "_AWS_XRAY_DAEMON_",
    "_LAMBDA_",
    "_ORLOP_",
];

/// The process as its own code sees it: `argv` and the environment.
#[derive(Debug)]
pub struct Process {
    /// The program's name, then its arguments.
    pub arguments: Vec<String>,
    /// The environment variables.
    pub environment: Environment,
}

impl Process {
    /// The process this code runs in. Bytes that are not UTF-8 are replaced.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn current() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            arguments: std::env::args_os().map(lossy).collect(),
            environment: Environment(
                std::env::vars_os()
                    .map(|(name, value)| (lossy(name), lossy(value)))
                    .collect(),
            ),
        }
    }
}

/// Environment variables.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// An environment made of the given pairs; the last value of a name counts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The value of `name`, unless it is unset or empty: the emulator sets absent values to nothing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of `name`, for which being empty means something.
    pub fn get_even_if_empty(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What guests may see: everything but what is withheld from all of them and not `granted` to these.
    pub fn for_guests(&self, granted: &[&str]) -> Vec<(String, String)> {
        let is_denied =
            |name: &str| DENIED.contains(&name) || DENIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        self.0
            .iter()
            .filter(|(name, _)| !is_denied(name) || granted.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance statement 10.
    #[test]
    fn guests_see_the_functions_variables_but_no_credentials_tokens_or_platform_addresses() {
        let environment = Environment::from_pairs([
            ("TABLE", "orders"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_LAMBDA_FUNCTION_NAME", "f"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_SESSION_TOKEN", "x"),
            ("AWS_LAMBDA_RUNTIME_API", "x"),
            ("AWS_LAMBDA_METADATA_TOKEN", "x"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x"),
            ("_LAMBDA_TELEMETRY_LOG_FD", "x"),
            ("_ORLOP_HANDOVER", "x"),
        ]);
        let guests = environment.for_guests(&[]);
        let names: Vec<&str> = guests.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "TABLE"]);
    }
}
