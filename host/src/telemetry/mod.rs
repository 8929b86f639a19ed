//! How the process is heard: host events through `tracing`, guest output line by line, and the one FATAL line.
//!
//! Lambda asks for text or JSON (runtime contract §7). Every line is whole, carries the request id of the event it belongs
//! to, and holds no control characters, whatever a guest printed. START, END and REPORT lines are the platform's; the host
//! writes none.

mod sink;
mod subscriber;
pub mod text;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use sink::Sink;

/// Names of log fields. In JSON they appear in camel case, as AWS's own runtimes write them.
pub mod field {
    /// Lambda's id of the event.
    pub const REQUEST_ID: &str = "request_id";
    /// The tenant of the event.
    pub const TENANT_ID: &str = "tenant_id";
    /// The X-Ray trace header of the event.
    pub const TRACE_ID: &str = "trace_id";
    /// Lines of a stack trace, joined by line feeds; an array in JSON.
    pub const STACK_TRACE: &str = "stack_trace";
}

/// How log lines look and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Text or JSON.
    pub format: Format,
    /// The least severe level that is written.
    pub level: Level,
    /// The descriptor that takes framed lines instead of stderr (runtime contract §7.4).
    pub frame_descriptor: Option<i32>,
}

impl Config {
    /// What counts while the settings are unknown.
    pub const FALLBACK: Self = Self {
        format: Format::Text,
        level: Level::Info,
        frame_descriptor: None,
    };
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `TIME⇥REQUEST-ID⇥LEVEL⇥MESSAGE field=value`.
    Text,
    /// One object per line.
    Json,
}

/// Lambda's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Sizes and short previews.
    Trace,
    /// Decisions.
    Debug,
    /// One line at Init, one at the end.
    Info,
    /// Degraded, still working.
    Warn,
    /// Someone must act.
    Error,
    /// The process ends.
    Fatal,
}

impl Level {
    /// The level with that name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Trace,
            Self::Debug,
            Self::Info,
            Self::Warn,
            Self::Error,
            Self::Fatal,
        ]
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// Lambda's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// The event that a line belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Lambda's id of the event; `None` outside of invocations.
    pub request_id: Option<String>,
    /// The tenant of the event.
    pub tenant_id: Option<String>,
}

/// Which of the guest's two output streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Level INFO in JSON.
    Stdout,
    /// Level ERROR in JSON.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn level(self) -> Level {
        match self {
            Self::Stdout => Level::Info,
            Self::Stderr => Level::Error,
        }
    }
}

/// The log: formats lines and hands them to the [`Sink`].
#[derive(Debug)]
pub struct Log {
    format: Format,
    level: Level,
    sink: Sink,
}

impl Log {
    /// A log as configured.
    pub fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            format: config.format,
            level: config.level,
            sink: Sink::new(config.frame_descriptor),
        })
    }

    /// Makes it the place where `tracing` events of this process go.
    pub fn install(self: &Arc<Self>) {
        // A second installation can only happen in one process that runs two runtimes; the first one keeps the events.
        let _ = tracing::subscriber::set_global_default(subscriber::subscriber(Arc::clone(self)));
    }

    /// Lets an inherited log descriptor live on in the program that replaces this one.
    pub fn keep_across_exec(&self) {
        self.sink.keep_across_exec();
    }

    /// Whether lines of that level are written.
    pub fn is_enabled(&self, level: Level) -> bool {
        level >= self.level
    }

    /// The last line of a process that fails: why, and with which exit code.
    pub fn fatal(&self, message: &str, exit_code: u8) {
        let mut fields = Map::new();
        fields.insert("exitCode".to_owned(), exit_code.into());
        self.host_line(Level::Fatal, &Origin::default(), message, fields);
    }

    /// One event of the host's.
    fn host_line(&self, level: Level, origin: &Origin, message: &str, fields: Map<String, Value>) {
        if !self.is_enabled(level) {
            return;
        }
        let line = match self.format {
            Format::Text => text::host_line(level, origin, message, &fields),
            Format::Json => {
                let mut fields = fields;
                fields.insert(text::LOGGER.to_owned(), text::HOST.into());
                json_line(level, origin, message, fields)
            }
        };
        self.sink.write_line(level, self.format, line.as_bytes());
    }

    /// One line of a guest's output, without its line feed.
    ///
    /// A line that is a JSON object passes through byte for byte in both formats: that is how metrics in CloudWatch's
    /// embedded metric format, and the guest's own structured logs, reach their readers. Every other line, and an object that
    /// says it is the host's or another event's, is marked as the guest's, so that it cannot pose as one of the host's or the
    /// platform's.
    pub fn guest_line(&self, stream: Stream, origin: &Origin, line: &[u8]) {
        if text::is_honest_json_object(line, origin) {
            self.sink.write_line(stream.level(), Format::Json, line);
            return;
        }
        let content = String::from_utf8_lossy(line);
        let formatted = match self.format {
            Format::Text => text::guest_line(stream.name(), origin, &content),
            Format::Json if self.is_enabled(stream.level()) => {
                let mut fields = Map::new();
                fields.insert("stream".to_owned(), stream.name().into());
                json_line(stream.level(), origin, &content, fields)
            }
            Format::Json => return,
        };
        self.sink.write_line(stream.level(), self.format, formatted.as_bytes());
    }
}

fn json_line(level: Level, origin: &Origin, message: &str, fields: Map<String, Value>) -> String {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), text::timestamp().into());
    line.insert("level".to_owned(), level.name().into());
    if let Some(request_id) = &origin.request_id {
        line.insert(text::REQUEST_ID.to_owned(), request_id.as_str().into());
    }
    if let Some(tenant_id) = &origin.tenant_id {
        line.insert(text::TENANT_ID.to_owned(), tenant_id.as_str().into());
    }
    line.insert("message".to_owned(), text::escape_controls(message).into_owned().into());
    line.extend(fields);
    text::escape_json(Value::Object(line).to_string())
}
