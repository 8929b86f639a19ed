//! The flags that choose a processor.

use clap::ValueEnum;
use orlop_host::engine::{Cpu, Target};

use crate::mistake::Mistake;

/// For which processor to compile.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// The architecture to compile for [default: this machine's, or that of --cpu]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<TargetName>,
    /// The least processor that has to run the code [default: x86-64 or armv8-a, which all do]
    #[arg(long, value_name = "NAME")]
    cpu: Option<CpuName>,
}

/// The names of targets on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum TargetName {
    /// x86-64
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86_64,
    /// AWS Graviton
    #[value(name = "aarch64-unknown-linux-gnu")]
    Aarch64,
}

/// The names of processors on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum CpuName {
    /// Any x86-64 processor
    #[value(name = "x86-64")]
    X86_64,
    /// With SSE4.2
    #[value(name = "x86-64-v2")]
    X86_64V2,
    /// With AVX2
    #[value(name = "x86-64-v3")]
    X86_64V3,
    /// With AVX-512
    #[value(name = "x86-64-v4")]
    X86_64V4,
    /// AWS Graviton, any generation
    #[value(name = "armv8-a")]
    Armv8A,
    /// The most of these that this machine's is
    #[value(name = "native")]
    Native,
}

impl From<TargetName> for Target {
    fn from(name: TargetName) -> Self {
        match name {
            TargetName::X86_64 => Self::X86_64,
            TargetName::Aarch64 => Self::Aarch64,
        }
    }
}

impl Flags {
    /// The processor that is meant.
    pub(crate) fn cpu(&self) -> Result<Cpu, Mistake> {
        let target = self.target.map(Target::from);
        let cpu = match self.cpu {
            None => return target.map_or_else(baseline, |target| Ok(target.baseline())),
            Some(CpuName::X86_64) => Cpu::X86_64,
            Some(CpuName::X86_64V2) => Cpu::X86_64V2,
            Some(CpuName::X86_64V3) => Cpu::X86_64V3,
            Some(CpuName::X86_64V4) => Cpu::X86_64V4,
            Some(CpuName::Armv8A) => Cpu::Armv8A,
            Some(CpuName::Native) => Cpu::native().ok_or_else(not_offered)?,
        };
        match target {
            Some(target) if target != cpu.target() => Err(Mistake::new(
                format!("the processor {} is none of {}", cpu.name(), target.triple()),
                format!("leave out one of the two, or name `--cpu {}`", target.baseline().name()),
            )),
            Some(_) | None => Ok(cpu),
        }
    }
}

/// The least processor of this machine's architecture.
pub(crate) fn baseline() -> Result<Cpu, Mistake> {
    Target::host().map(Target::baseline).ok_or_else(not_offered)
}

fn not_offered() -> Mistake {
    Mistake::new(
        "Lambda offers no processor like this machine's",
        "name the function's with `--target TRIPLE`",
    )
}
