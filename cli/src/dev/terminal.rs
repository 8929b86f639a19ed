//! The journal as lines: for a person, or as JSON for a program.

use std::io::Write as _;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use orlop_host::telemetry::text::escape_controls;
use orlop_local::Journal;
use orlop_local::invocation::Status;
use orlop_local::journal::{Entry, What};
use tokio::sync::broadcast::error::RecvError;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For a person; colours on a terminal, unless NO_COLOR is set
    Text,
    /// One JSON object a line: what the page gets, payloads and answers included
    Json,
}

const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NEWS: Style = AnsiColor::Cyan.on_default();

/// Writes everything that happens to stdout, until the journal ends or nobody reads.
pub(super) async fn follow(journal: Journal, format: LogFormat, is_verbose: bool) {
    let (kept, mut entries) = journal.read();
    for entry in kept {
        if write(&entry, format, is_verbose).is_err() {
            return;
        }
    }
    loop {
        let written = match entries.recv().await {
            Ok(entry) => write(&entry, format, is_verbose),
            Err(RecvError::Lagged(count)) => {
                let mut output = anstream::stdout().lock();
                writeln!(
                    output,
                    "{FAINT}({count} lines were skipped: this terminal is too slow){FAINT:#}"
                )
            }
            Err(RecvError::Closed) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

fn write(entry: &Arc<Entry>, format: LogFormat, is_verbose: bool) -> std::io::Result<()> {
    match format {
        LogFormat::Json => {
            let mut line = serde_json::to_vec(entry.as_ref())?;
            line.push(b'\n');
            std::io::stdout().lock().write_all(&line)
        }
        LogFormat::Text => match text(&entry.what, is_verbose) {
            Some((style, text)) => {
                let time = time_of_day(entry.at_ms);
                let mut output = anstream::stdout().lock();
                text.lines().try_for_each(|line| {
                    writeln!(
                        output,
                        "{FAINT}{time}{FAINT:#}  {style}{}{style:#}",
                        escape_controls(line)
                    )
                })
            }
            None => Ok(()),
        },
    }
}

/// What an entry looks like; `None` for what a person need not see.
fn text(what: &What, is_verbose: bool) -> Option<(Style, String)> {
    let plain = Style::new();
    Some(match what {
        What::Deployed { function, version: 1 } => (FAINT, format!("{function}  deployed")),
        What::Deployed { function, version } => (FAINT, format!("{function}  version {version} deployed")),
        What::EnvironmentStarted {
            environment,
            function,
            pid,
            ..
        } => (
            FAINT,
            format!("#{environment}  environment of {function} started, process {pid}"),
        ),
        What::EnvironmentReady { environment, init_ms } => {
            (FAINT, format!("#{environment}  ready after {init_ms:.1} ms of Init"))
        }
        What::InitFailed {
            environment,
            status,
            error_type,
            init_ms,
        } => (
            BAD,
            format!(
                "#{environment}  INIT_REPORT Init Duration: {init_ms:.2} ms\tPhase: init\tStatus: {status}\tError Type: {error_type}"
            ),
        ),
        What::EnvironmentFrozen { environment } if is_verbose => (FAINT, format!("#{environment}  frozen")),
        What::EnvironmentFrozen { .. } => return None,
        What::EnvironmentGone { environment, reason } => (FAINT, format!("#{environment}  gone: {reason}")),
        What::InvocationStarted {
            request_id,
            function,
            environment,
            source,
            is_cold,
            ..
        } => {
            let start = if *is_cold { ", a cold start" } else { "" };
            (
                NEWS,
                format!("#{environment}  START RequestId: {request_id} Version: $LATEST  {function}: {source}{start}"),
            )
        }
        What::Line { environment, text, .. } => (plain, format!("#{environment}  {text}")),
        What::InvocationAnswered {
            is_error: true, answer, ..
        } => (
            BAD,
            format!("function error  {}", String::from_utf8_lossy(answer.as_bytes())),
        ),
        What::InvocationAnswered { is_error: false, .. } => return None,
        What::InvocationEnded(report) => {
            let style = match report.status {
                Status::Success => GOOD,
                Status::Error | Status::Timeout | Status::Crash | Status::InitFailed => BAD,
            };
            (style, format!("END RequestId: {}\n{report}", report.request_id))
        }
        What::Throttled { function, source } => (BAD, format!("{function}  throttled: {source}")),
        What::Building { name } => (NEWS, format!("building {name}")),
        What::Built { name, duration_ms } => (NEWS, format!("built {name} in {:.1} s", duration_ms / 1_000.0)),
        What::BuildFailed { name, .. } => (
            BAD,
            format!("{name} does not build; the version before goes on serving"),
        ),
        What::Notice { text } => (NEWS, text.clone()),
    })
}

/// The time of day in UTC, to the millisecond.
fn time_of_day(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}
