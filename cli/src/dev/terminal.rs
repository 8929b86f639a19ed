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
        LogFormat::Text => write_text(&mut anstream::stdout().lock(), entry, is_verbose),
    }
}

fn write_text(output: &mut impl std::io::Write, entry: &Entry, is_verbose: bool) -> std::io::Result<()> {
    let Some((style, text)) = text(&entry.what, is_verbose) else {
        return Ok(());
    };
    let time = time_of_day(entry.at_ms);
    text.lines().try_for_each(|line| {
        writeln!(
            output,
            "{FAINT}{time}{FAINT:#}  {style}{}{style:#}",
            escape_controls(line)
        )
    })
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
        What::Line { environment, text, .. } => (plain, format!("#{environment}  {}", escape_controls(text))),
        What::InvocationAnswered {
            is_error: true, answer, ..
        } => (
            BAD,
            format!(
                "function error  {}",
                escape_controls(&String::from_utf8_lossy(answer.as_bytes()))
            ),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn nothing_that_anybody_writes_moves_the_terminal_or_begins_a_line_of_its_own(text in "(?s).*", more in "(?s).*") {
            let text = format!("{text}\r\n\u{1b}[2J\u{9b}1mSTART RequestId: 1\n{more}");
            for what in [
                What::Line { environment: 1, request_id: None, text: text.clone() },
                What::InitFailed { environment: 1, status: text.clone(), error_type: more.clone(), init_ms: 1.0 },
                What::EnvironmentGone { environment: 1, reason: text.clone() },
            ] {
                let is_one_line = matches!(what, What::Line { .. });
                let mut written = Vec::new();
                write_text(&mut written, &Entry { sequence: 1, at_ms: 0, what }, true).unwrap();
                // Our own colours apart, and nobody else's.
                let colours = [FAINT, BAD, Style::new()].map(|style| [style.render().to_string(), style.render_reset().to_string()]);
                let written = colours
                    .as_flattened()
                    .iter()
                    .filter(|colour| !colour.is_empty())
                    .fold(String::from_utf8(written).unwrap(), |written, colour| written.replace(colour, ""));
                prop_assert!(written.lines().all(|line| line.starts_with("00:00:00.000  ")), "{:?}", written);
                prop_assert!(!written.contains(|character: char| character.is_control() && !"\n\t".contains(character)), "{:?}", written);
                prop_assert!(!is_one_line || written.matches('\n').count() == 1, "{:?}", written);
            }
        }
    }
}
