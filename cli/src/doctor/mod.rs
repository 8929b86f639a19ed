//! `orlop doctor`: what is wrong, or will be, with the toolchain, the engine, this machine and the artifacts in a folder.

mod advisories;
mod artifacts;
mod engine;
mod machine;
mod toolchain;

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::mistake::Mistake;
use crate::output;

/// Check the toolchain, the engine and its known advisories, this machine, and the artifacts in a folder.
///
/// Nothing is changed, and nothing is asked over the network: what is known of advisories was known when this program was
/// built.
#[derive(clap::Args)]
#[command(after_help = "\
Exit codes:
  0  nothing is wrong; there may be warnings
  1  there is a problem
  2  a mistake in the arguments")]
pub(crate) struct Arguments {
    /// A folder of components and artifacts, with or without an orlop.toml
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    /// What it is about, in a word or two.
    about: String,
    /// What is so.
    what: String,
    /// What to do, where something is to be done.
    help: Option<String>,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, but not as well, or not in every case.
    Warning,
    /// Something will not work.
    Problem,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let mut findings = toolchain::examine();
    findings.extend(engine::examine());
    findings.extend(machine::examine());
    findings.extend(artifacts::examine(&arguments.path)?);
    let report = report(&findings);
    output::write(&mut std::io::stdout(), &[report.as_bytes()])?;
    let is_problem = |finding: &Finding| finding.verdict == Verdict::Problem;
    Ok(match findings.iter().any(is_problem) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// A line for each finding, and one below it for what is to be done.
fn report(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.about.chars().count())
        .max()
        .unwrap_or(0);
    let mut report = String::new();
    for Finding {
        verdict,
        about,
        what,
        help,
    } in findings
    {
        let escaped = |text: &str| orlop_host::telemetry::text::escape_controls(text).into_owned();
        // Writing to a string cannot fail.
        let _ = writeln!(report, "{verdict:<7}  {:<width$}  {}", escaped(about), escaped(what));
        if let Some(help) = help {
            let _ = writeln!(report, "{:<7}  {:<width$}  -> {}", "", "", escaped(help));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = writeln!(
        report,
        "{} problems, {} warnings",
        count(Verdict::Problem),
        count(Verdict::Warning)
    );
    report
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

impl Finding {
    fn good(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Good,
            about: about.into(),
            what: what.into(),
            help: None,
        }
    }

    fn warning(about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            help: Some(help.into()),
            ..Self::good(about, what)
        }
    }

    fn problem(about: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(about, what, help)
        }
    }
}
