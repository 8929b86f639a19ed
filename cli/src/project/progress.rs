//! What a user sees while something is built.

use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// Where the news of a build go.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Way);

#[derive(Clone)]
enum Way {
    /// A spinner, on a terminal.
    Spinner,
    /// A line for each step, for a file or another program.
    Lines,
    /// What has to be told, and no steps.
    Sparse,
    /// Errors alone.
    Quiet,
    /// Lines for somebody in this program.
    Sink(Arc<dyn Fn(&str) + Send + Sync>),
}

impl Progress {
    /// A spinner if stderr is a terminal, else a line for each step.
    pub(crate) fn on_stderr() -> Self {
        Self(if is_terminal() { Way::Spinner } else { Way::Lines })
    }

    /// A spinner if stderr is a terminal, else no steps: for a command whose user waits for something else.
    pub(crate) fn unobtrusive() -> Self {
        Self(if is_terminal() { Way::Spinner } else { Way::Sparse })
    }

    /// Nothing but what cargo says of errors.
    pub(crate) fn quiet() -> Self {
        Self(Way::Quiet)
    }

    /// Every line, cargo's too and without its end, goes to `sink`.
    pub(crate) fn to(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Way::Sink(Arc::new(sink)))
    }

    /// Tells what has happened.
    pub(crate) fn tell(&self, line: &str) {
        match &self.0 {
            Way::Spinner | Way::Lines | Way::Sparse => eprintln!("{line}"),
            Way::Sink(sink) => sink(line),
            Way::Quiet => {}
        }
    }

    /// Tells what is being done, until the step is dropped.
    pub(super) fn step(&self, line: &str) -> Step {
        match &self.0 {
            Way::Spinner => return Step(Some(spinner(line))),
            Way::Lines => eprintln!("{line}"),
            Way::Sink(sink) => sink(line),
            Way::Sparse | Way::Quiet => {}
        }
        Step(None)
    }

    /// Makes a cargo, or another program that shows its own progress, speak as this does. What the returned value stands
    /// for is read from the child once it runs.
    pub(super) fn instruct(&self, command: &mut Command) {
        match &self.0 {
            Way::Spinner | Way::Lines | Way::Sparse => {}
            Way::Quiet => {
                command.arg("--quiet");
            }
            Way::Sink(_) => {
                command.stderr(Stdio::piped());
            }
        }
    }

    /// Passes on what a child says on stderr, if that is asked for.
    pub(super) fn listen(&self, stderr: Option<impl Read + Send + 'static>) -> Option<JoinHandle<()>> {
        let (Way::Sink(sink), Some(stderr)) = (&self.0, stderr) else {
            return None;
        };
        let sink = Arc::clone(sink);
        Some(thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                sink(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
                line.clear();
            }
        }))
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Spinner => "Spinner",
            Self::Lines => "Lines",
            Self::Sparse => "Sparse",
            Self::Quiet => "Quiet",
            Self::Sink(_) => "Sink",
        })
    }
}

/// A step that is being done.
pub(super) struct Step(Option<ProgressBar>);

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

fn spinner(line: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is well-formed");
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(line.to_owned());
    spinner.enable_steady_tick(TICK);
    spinner
}
