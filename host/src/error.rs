//! What can go wrong, told apart by what happens next.
//!
//! An [`InitError`] is posted to `/init/error` and ends the process. A [`FunctionError`] is posted to `/error` and the
//! next event is served. Both leave the process in one form only, the [`ErrorReport`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;

use crate::shortage;

/// The largest answer that Lambda takes, in bytes: 6 MiB and 100 bytes (runtime contract §3.1).
pub const MAX_RESPONSE_BYTES: usize = 6_291_556;
/// The largest error body we post, in bytes. Lambda takes more in places and wedges in others; this is plenty.
pub const MAX_REPORT_BYTES: usize = 64 * 1024;
/// The longest message of an error report, in bytes of UTF-8.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// The longest line of a stack trace, in bytes of UTF-8.
const MAX_FRAME_BYTES: usize = 512;
/// The number of stack trace lines kept.
const MAX_FRAMES: usize = 32;
/// The longest error type, in bytes of UTF-8.
const MAX_TYPE_BYTES: usize = 128;

/// Why Init failed. The process reports it and exits with [`crate::lambda::Exit::InitFailed`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum InitError {
    /// A variable, an argument or their combination means nothing.
    #[error("{0}")]
    InvalidConfiguration(String),
    /// No file for the handler that was asked for.
    #[error("found no component for handler `{handler}` in `{}`; {found}", task_root.display())]
    ComponentNotFound {
        /// The handler's name as given.
        handler: String,
        /// Where it was looked for.
        task_root: PathBuf,
        /// What is there instead, as a sentence.
        found: String,
    },
    /// No handler was named and the choice is not obvious.
    #[error("{0}")]
    HandlerNotFound(String),
    /// The file is no component this host can run.
    #[error("component `{name}` cannot be used: {reason}")]
    InvalidComponent {
        /// The component's file name.
        name: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The guest's own `init` returned an error.
    #[error("the guest's `init` failed: {error_type}: {message}")]
    InitFailed {
        /// The guest's error type.
        error_type: String,
        /// The guest's message.
        message: String,
        /// The guest's stack trace.
        stack_trace: Vec<String>,
    },
    /// Guest code failed while it was being started.
    #[error("the guest failed while starting: {0}")]
    Guest(FunctionError),
    /// The host itself could not be set up.
    #[error("{doing}: {reason}")]
    Host {
        /// What was being done to what.
        doing: String,
        /// The cause.
        reason: String,
    },
}

impl InitError {
    /// The operating system refused what the host needs. If a limit of the process was too small, its name is in the reason.
    pub fn host(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::Host {
            doing: doing.into(),
            reason: shortage::reason(error),
        }
    }

    /// The form that is posted to `/init/error`.
    pub fn report(&self) -> ErrorReport {
        let (error_type, stack_trace) = match self {
            Self::InvalidConfiguration(_) => ("Runtime.InvalidConfiguration", Vec::new()),
            Self::ComponentNotFound { .. } => ("Runtime.ComponentNotFound", Vec::new()),
            Self::HandlerNotFound(_) => ("Runtime.HandlerNotFound", Vec::new()),
            Self::InvalidComponent { .. } => ("Runtime.InvalidComponent", Vec::new()),
            Self::InitFailed { stack_trace, .. } => ("Runtime.InitFailed", stack_trace.clone()),
            Self::Guest(error) => {
                let report = error.report();
                return ErrorReport::new(report.error_type, self.to_string(), report.stack_trace);
            }
            Self::Host { .. } => ("Runtime.InitFailed", Vec::new()),
        };
        ErrorReport::new(error_type, self.to_string(), stack_trace)
    }
}

/// An error and all of its causes, in one sentence.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "no message".to_owned())
}

/// Why one invocation failed. The function stays usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// The guest returned an error of its own.
    #[error("{message}")]
    Guest {
        /// The guest's name for it.
        error_type: String,
        /// The guest's message.
        message: String,
        /// The guest's stack trace, outermost cause first.
        stack_trace: Vec<String>,
    },
    /// The engine stopped the guest: an illegal step, `unreachable`, a broken promise of the component ABI.
    #[error("the guest trapped: {reason}{}", last_words(last_output))]
    Trap {
        /// The engine's reason.
        reason: String,
        /// The end of what the guest wrote to stderr, which is where panic messages go.
        last_output: String,
        /// The guest's frames, innermost first.
        frames: Vec<String>,
    },
    /// The guest ended itself instead of answering.
    #[error(
        "the guest exited with status {status} instead of answering{}",
        last_words(last_output)
    )]
    Exit {
        /// The status it gave; WASI 0.2 tells success (0) and failure (1) apart, no more.
        status: i32,
        /// The end of what the guest wrote to stderr.
        last_output: String,
    },
    /// The guest ran, or waited, past its deadline.
    #[error("the handler was still running after {}; it was stopped before Lambda's own timeout so that the execution environment stays warm; raise the function's timeout, or shorten the work{}", humantime::format_duration(*ran_for), last_words(last_output))]
    DeadlineExceeded {
        /// How long it had run, to the millisecond.
        ran_for: Duration,
        /// The end of what the guest wrote to stderr.
        last_output: String,
    },
    /// The guest asked for more memory than it may have and could not go on.
    #[error("the guest needs more than its {} of memory; raise the function's memory or ORLOP_LIMIT_MEMORY{}", ByteSize(*limit_bytes).display().iec(), last_words(last_output))]
    OutOfMemory {
        /// The limit, summed over all of its memories, in bytes.
        limit_bytes: u64,
        /// The end of what the guest wrote to stderr.
        last_output: String,
    },
    /// The guest hit another of its limits.
    #[error("the guest exceeded a limit: {0}")]
    LimitExceeded(String),
    /// The event is larger than the host takes.
    #[error("the event exceeds the limit of {} (ORLOP_LIMIT_EVENT)", ByteSize(*limit_bytes).display().iec())]
    EventTooLarge {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The answer is larger than Lambda takes.
    #[error(
        "the response of {} exceeds Lambda's limit of {} bytes (Function.ResponseSizeTooLarge); return less, or a reference to the data",
        response_size(*bytes), MAX_RESPONSE_BYTES
    )]
    ResponseTooLarge {
        /// Its size in bytes, where it is known.
        bytes: Option<usize>,
    },
    /// The guest's answer breaks the protocol it speaks, such as HTTP.
    #[error("the guest's response cannot be sent: {0}")]
    InvalidResponse(String),
    /// The function did not come up at Init. The reason is in the log only: it may name the host's files.
    #[error("the function `{name}` cannot be used; what the log says of it at Init has the reason")]
    Unusable {
        /// The function's name in `orlop.toml`.
        name: String,
        /// What the report of Init has as its type.
        error_type: String,
    },
    /// No route of the deployment takes the event.
    #[error("no route takes this event: {0}")]
    RouteNotFound(String),
    /// The execution environment is being shut down.
    #[error("the execution environment is being shut down; the event was not finished")]
    ShuttingDown,
    /// The host failed; the guest may be innocent.
    #[error("the host failed: {0}")]
    Host(String),
}

fn last_words(last_output: &str) -> String {
    if last_output.is_empty() {
        String::new()
    } else {
        format!("; last output: {last_output}")
    }
}

fn response_size(bytes: Option<usize>) -> String {
    bytes.map_or_else(|| "unknown size".to_owned(), |bytes| format!("{bytes} bytes"))
}

impl FunctionError {
    /// The form that is posted to `/error`.
    pub fn report(&self) -> ErrorReport {
        let (error_type, stack_trace) = match self {
            Self::Guest {
                error_type,
                stack_trace,
                ..
            } => (error_type.as_str(), stack_trace.clone()),
            Self::Trap { frames, .. } => ("Runtime.GuestTrap", frames.clone()),
            Self::Exit { .. } => ("Runtime.GuestExit", Vec::new()),
            Self::DeadlineExceeded { .. } => ("Runtime.DeadlineExceeded", Vec::new()),
            Self::OutOfMemory { .. } => ("Runtime.OutOfMemory", Vec::new()),
            Self::LimitExceeded(_) => ("Runtime.LimitExceeded", Vec::new()),
            Self::EventTooLarge { .. } => ("Runtime.UnmarshalError", Vec::new()),
            Self::ResponseTooLarge { .. } => ("Function.ResponseTooLarge", Vec::new()),
            Self::Unusable { error_type, .. } => (error_type.as_str(), Vec::new()),
            Self::InvalidResponse(_) => ("Function.InvalidResponse", Vec::new()),
            Self::RouteNotFound(_) => ("Runtime.RouteNotFound", Vec::new()),
            Self::ShuttingDown => ("Runtime.ShuttingDown", Vec::new()),
            Self::Host(_) => ("Runtime.HostFailure", Vec::new()),
        };
        ErrorReport::new(error_type, self.to_string(), stack_trace)
    }
}

/// The only form in which an error leaves the process (runtime contract §4.1). Every field is capped and free of control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// A stable `Category.Reason` of ours, or the guest's own name for its error.
    pub error_type: String,
    /// One sentence for the caller.
    pub error_message: String,
    /// Frames or causes; may be empty.
    pub stack_trace: Vec<String>,
}

impl ErrorReport {
    /// Caps and cleans its parts.
    pub fn new(error_type: impl Into<String>, message: impl AsRef<str>, stack_trace: Vec<String>) -> Self {
        // Cut before, because there may be megabytes of it, and after, because escapes are longer.
        let clean = |text: &str, limit| cut(&crate::telemetry::text::escape_controls(&cut(text, limit)), limit);
        Self {
            error_type: clean(&error_type.into(), MAX_TYPE_BYTES),
            error_message: clean(message.as_ref(), MAX_MESSAGE_BYTES),
            stack_trace: stack_trace
                .iter()
                .take(MAX_FRAMES)
                .map(|line| clean(line, MAX_FRAME_BYTES))
                .collect(),
        }
    }

    /// The body to post: JSON of at most [`MAX_REPORT_BYTES`].
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings always serialise")
    }

    /// A body small enough for any limit, for when the whole one was refused.
    pub fn to_short_json(&self) -> Vec<u8> {
        let short = Self {
            error_message: cut(&self.error_message, 256),
            stack_trace: Vec::new(),
            ..self.clone()
        };
        short.to_json()
    }

    /// The value of `Lambda-Runtime-Function-Error-Type`: always of the form that Lambda keeps in its metrics,
    /// `(Runtime|Function)\.[A-Z][a-zA-Z]+` (runtime contract §4.2). A guest's `OrderNotFound` becomes
    /// `Function.OrderNotFound`.
    pub fn header_type(&self) -> String {
        let reason = |text: &str| {
            let mut characters = text.chars();
            text.len() >= 2
                && characters.next().is_some_and(|first| first.is_ascii_uppercase())
                && characters.all(|character| character.is_ascii_alphabetic())
        };
        let (category, name) = self
            .error_type
            .split_once('.')
            .unwrap_or(("Function", &self.error_type));
        if matches!(category, "Runtime" | "Function") && reason(name) {
            format!("{category}.{name}")
        } else {
            "Function.HandlerError".to_owned()
        }
    }
}

/// The longest prefix of at most `limit` bytes that ends on a character boundary, marked where something was cut off.
fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_type(error_type: &str) -> String {
        ErrorReport::new(error_type, "", Vec::new()).header_type()
    }

    #[test]
    fn the_header_type_always_has_the_form_that_lambda_keeps() {
        assert_eq!(header_type("Runtime.GuestTrap"), "Runtime.GuestTrap");
        assert_eq!(header_type("OrderNotFound"), "Function.OrderNotFound");
        for odd in [
            "",
            "order",
            "C",
            "Function.C",
            "Runtime.guest",
            "A.B",
            "Über",
            "Order Not",
            "X\r\nY: z",
            "E404",
        ] {
            assert_eq!(header_type(odd), "Function.HandlerError", "{odd:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_report_of_any_words_is_small_json_without_controls_and_its_header_is_lambdas(
            error_type in ".*",
            message in "(?s).*",
            frames in proptest::collection::vec("(?s).*", 0..40),
            times in 1_usize..2000,
        ) {
            let report = ErrorReport::new(error_type.repeat(times), message.repeat(times), frames);
            for json in [report.to_json(), report.to_short_json()] {
                assert!(json.len() <= MAX_REPORT_BYTES, "{}", json.len());
                let text = String::from_utf8(json).unwrap();
                assert!(!text.contains(|character: char| character.is_control() && character != '\t'), "{text:?}");
                let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert!(parsed["errorMessage"].as_str().unwrap().len() <= MAX_MESSAGE_BYTES);
            }
            let header = report.header_type();
            let (category, reason) = header.split_once('.').unwrap();
            assert!(["Runtime", "Function"].contains(&category), "{header}");
            assert!(reason.len() >= 2 && reason.chars().all(|character| character.is_ascii_alphabetic()), "{header}");
            assert!(reason.starts_with(|first: char| first.is_ascii_uppercase()), "{header}");
        }
    }

    #[test]
    fn a_report_of_any_size_is_cut_on_a_character_boundary_below_64_kib() {
        let huge = "ü\u{1b}[31m\"".repeat(100_000);
        let report = ErrorReport::new(huge.clone(), &huge, vec![huge.clone(); 1000]);
        let json = report.to_json();
        assert!(json.len() <= MAX_REPORT_BYTES, "{}", json.len());
        serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        assert!(report.error_message.ends_with('…'));
        assert!(!report.error_message.contains('\u{1b}'));
    }
}
