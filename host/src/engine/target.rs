//! The processors that code is made for.

use wasmtime::{Config, OptLevel, Result};

/// The processors that Lambda offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `x86_64-unknown-linux-gnu`, for any processor of that architecture.
    X86_64,
    /// `aarch64-unknown-linux-gnu`: Graviton.
    Aarch64,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The processor this program runs on, if Lambda offers it.
    pub fn host() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|target| target.triple().split('-').next() == Some(std::env::consts::ARCH))
    }

    /// Its target triple.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The least processor that the code runs on. Naming the target makes the compiler use nothing beyond it, whatever the
    /// machine that compiles has.
    pub fn cpu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "armv8-a",
        }
    }
}

/// Sets the compiler up for that processor; for immediate use the same code is made as for artifacts.
pub(super) fn configure(config: &mut Config, target: Target) -> Result<()> {
    config.target(target.triple())?.cranelift_opt_level(OptLevel::Speed);
    Ok(())
}
