//! The flags that bound what compiling may take.

use std::time::Duration;

use bytesize::ByteSize;
use orlop_host::artifact::{Bounds, InitBounds};
use orlop_host::config::{self, Process};

use crate::mistake::Mistake;

/// What compiling a component may take.
#[derive(Clone, Debug, Default, clap::Args)]
// Another struct of flags has the same name, which clap would make a group of.
#[group(skip)]
pub(crate) struct Flags {
    /// The memory that compiling a component may take [default: ORLOP_LIMIT_COMPILE_MEMORY, or 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    compile_memory: Option<u64>,
    /// How long compiling a component may take [default: ORLOP_LIMIT_COMPILE_TIME, or 2m]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    compile_time: Option<Duration>,
    /// The largest component that is read [default: ORLOP_LIMIT_COMPONENT, or 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    component_size: Option<u64>,
}

/// What making what is deployed may take, snapshots included.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct BuildFlags {
    #[command(flatten)]
    compiling: Flags,
    /// How long the `init` of a component may run for a snapshot [default: ORLOP_LIMIT_SNAPSHOT_TIME, or 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    snapshot_time: Option<Duration>,
    /// The memory that the `init` of a component may leave for a snapshot [default: ORLOP_LIMIT_SNAPSHOT_MEMORY, or 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    snapshot_memory: Option<u64>,
}

impl BuildFlags {
    /// As [`Flags::get`].
    pub(crate) fn get(&self) -> Result<Bounds, Mistake> {
        let bounds = self.compiling.get()?;
        Ok(Bounds {
            init: InitBounds {
                time: self.snapshot_time.unwrap_or(bounds.init.time),
                memory_bytes: self.snapshot_memory.unwrap_or(bounds.init.memory_bytes),
            },
            ..bounds
        })
    }
}

impl Flags {
    /// What they say, else what the variables of the same meaning say, else the defaults.
    pub(crate) fn get(&self) -> Result<Bounds, Mistake> {
        let Self {
            compile_memory,
            compile_time,
            component_size,
        } = *self;
        let bounds = config::compiling(&Process::current().environment)
            .map_err(|error| Mistake::caused_by(error, "set the variable to that form, or unset it"))?;
        Ok(Bounds {
            memory_bytes: compile_memory.unwrap_or(bounds.memory_bytes),
            time: compile_time.unwrap_or(bounds.time),
            component_bytes: component_size.unwrap_or(bounds.component_bytes),
            init: bounds.init,
        })
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
    size.filter(|size| (1..=1 << 40).contains(size))
        .ok_or_else(|| "give a size such as 512MiB, up to 1TiB".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok();
    time.filter(|time| !time.is_zero() && *time <= Duration::from_secs(86_400))
        .ok_or_else(|| "give a duration such as 30s or 5m, up to a day".to_owned())
}
