//! What a user did wrong, in one line, and how to mend it, in another.

use std::fmt;
use std::process::ExitCode;

/// An error of the user's, or of the machine's, that ends a command. Never a backtrace.
#[derive(Debug)]
pub(crate) struct Mistake {
    error: anyhow::Error,
    help: String,
}

impl Mistake {
    pub(crate) fn new(error: impl fmt::Display, help: impl fmt::Display) -> Self {
        Self {
            error: anyhow::Error::msg(error.to_string()),
            help: help.to_string(),
        }
    }

    /// A mistake that shows in an error with causes.
    pub(crate) fn caused_by(error: impl Into<anyhow::Error>, help: impl fmt::Display) -> Self {
        Self {
            error: error.into(),
            help: help.to_string(),
        }
    }

    /// Prints it and gives the exit code for it.
    pub(crate) fn tell(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(2)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = one_line(&format!("{:#}", self.error));
        write!(formatter, "error: {error}\nhelp: {}", one_line(&self.help))
    }
}

fn one_line(text: &str) -> String {
    orlop_host::telemetry::text::escape_controls(text.trim()).into_owned()
}
