//! What was typed, and what it means.

use std::path::PathBuf;

/// Measures Orlop beside a native runtime, on the same events.
///
/// Builds what it measures first. Prints tables in Markdown: medians of all rounds, the spread of the rounds in
/// parentheses, and ratios to the first contestant of the same rounds.
#[derive(clap::Parser)]
#[command(name = "orlop-benches")]
pub(crate) struct Arguments {
    /// Rounds, in each of which every contestant has its turn [default: 7, short: 3]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Events per round and contestant [default: 5000, short: 1000]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    events: Option<u32>,
    /// Fresh processes per round and contestant [default: 15, short: 5]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    starts: Option<u32>,
    /// Measure only this, which may be given several times: hello, api-gateway, snapshots, worlds, streams,
    /// components, overrun, peers, python, javascript, platform, busy, neighbours
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// A quick check, too short for numbers worth quoting
    #[arg(long)]
    short: bool,
    /// Run everything on one processor core, which takes most of the noise out
    #[arg(long, value_name = "CORE")]
    pub(crate) pin: Option<usize>,
    /// Write all numbers as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the ratios, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Fail if a ratio misses its target by more than so many parts of a hundred
    #[arg(long, value_name = "PERCENT")]
    pub(crate) gate: Option<f64>,
    /// The profile that cargo builds the native functions and the floor with
    #[arg(long, value_name = "NAME", default_value = "release")]
    pub(crate) profile: String,
    /// Measure this `bootstrap` instead of building one
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap: Option<PathBuf>,
    /// Measure this `bootstrap` for components that neither are for WASI 0.3 nor send requests, instead of building one
    /// [default with --bootstrap: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) small: Option<PathBuf>,
    /// Precompile with this `orlop` instead of building one
    #[arg(long, value_name = "FILE")]
    pub(crate) orlop: Option<PathBuf>,
    /// Measure another `bootstrap` beside it, for instance the one from before a change
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// This process has mounts of its own
    #[arg(long, hide = true)]
    pub(crate) has_own_mounts: bool,
}

/// How much is measured.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Per round and contestant.
    pub(crate) events: u32,
    /// Per round and contestant.
    pub(crate) starts: u32,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let default = if arguments.short {
            Self {
                rounds: 3,
                events: 1000,
                starts: 5,
            }
        } else {
            Self {
                rounds: 7,
                events: 5000,
                starts: 15,
            }
        };
        Self {
            rounds: arguments.rounds.unwrap_or(default.rounds),
            events: arguments.events.unwrap_or(default.events),
            starts: arguments.starts.unwrap_or(default.starts),
        }
    }
}
