//! The flag that chooses how guests will be run, and so what kind of code they are compiled to.

use clap::ValueEnum;
use orlop_host::engine::Execution;

/// For which kind of execution to compile.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Whether the code will run one event at a time, or several, as on Lambda Managed Instances
    #[arg(long, value_name = "KIND", default_value = "sequential")]
    execution: Kind,
}

/// The kinds on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// One event at a time: the fastest code. NAME.cwasm
    Sequential,
    /// Several events at a time: code that can be interrupted. NAME.concurrent.cwasm
    Concurrent,
    /// An artifact of each kind
    Both,
}

impl Flags {
    /// The kinds of artifacts to make.
    pub(crate) fn executions(&self) -> &'static [Execution] {
        match self.execution {
            Kind::Sequential => &[Execution::Sequential],
            Kind::Concurrent => &[Execution::Concurrent],
            Kind::Both => &Execution::ALL,
        }
    }
}
