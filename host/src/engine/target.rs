//! The processors that code is made for, and whether this machine's is one of them.
//!
//! Code for a named processor uses nothing beyond it, whatever the machine that compiles has.

use std::fmt;

/// An architecture that Lambda offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `x86_64-unknown-linux-gnu`.
    X86_64,
    /// `aarch64-unknown-linux-gnu`: Graviton.
    Aarch64,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// What this program runs on, if Lambda offers it.
    pub fn host() -> Option<Self> {
        let host = format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS);
        Self::ALL.into_iter().find(|target| target.triple() == host)
    }

    /// Its target triple.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The least processor of this architecture: its code runs on every other.
    pub fn baseline(self) -> Cpu {
        match self {
            Self::X86_64 => Cpu::X86_64,
            Self::Aarch64 => Cpu::Armv8A,
        }
    }
}

/// The least processor that code runs on, by the names that compilers have for it.
///
/// The levels of x86-64 are those of its psABI. There is one for `aarch64`: what the compiler knows beyond it serves parts
/// of WebAssembly that are switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// `x86-64`: any.
    X86_64,
    /// `x86-64-v2`: with SSE4.2.
    X86_64V2,
    /// `x86-64-v3`: with AVX2.
    X86_64V3,
    /// `x86-64-v4`: with AVX-512.
    X86_64V4,
    /// `armv8-a`: any, and so every Graviton.
    Armv8A,
}

impl Cpu {
    /// All of them; of each architecture, from the least to the most.
    pub const ALL: [Self; 5] = [
        Self::X86_64,
        Self::X86_64V2,
        Self::X86_64V3,
        Self::X86_64V4,
        Self::Armv8A,
    ];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cpu| cpu.name() == name)
    }

    /// The most that this machine can be said to be.
    pub fn native() -> Option<Self> {
        let target = Target::host()?;
        let mut fitting = Self::ALL
            .into_iter()
            .filter(|cpu| cpu.target() == target && cpu.lacking().is_empty());
        fitting.next_back()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::X86_64V2 => "x86-64-v2",
            Self::X86_64V3 => "x86-64-v3",
            Self::X86_64V4 => "x86-64-v4",
            Self::Armv8A => "armv8-a",
        }
    }

    /// Its architecture.
    pub fn target(self) -> Target {
        match self {
            Self::X86_64 | Self::X86_64V2 | Self::X86_64V3 | Self::X86_64V4 => Target::X86_64,
            Self::Armv8A => Target::Aarch64,
        }
    }

    /// The names of the instruction sets that its code may use and that this machine, of the same architecture, lacks.
    pub fn lacking(self) -> Vec<&'static str> {
        self.lacking_where(|extension| (extension.is_here)())
    }

    fn lacking_where(self, is_there: impl Fn(&Extension) -> bool) -> Vec<&'static str> {
        let lacking = self.extensions().filter(|extension| !is_there(extension));
        lacking.map(|extension| extension.name).collect()
    }

    /// What it has beyond the baseline of its architecture.
    fn extensions(self) -> impl Iterator<Item = &'static Extension> {
        let sets: &[&'static [Extension]] = match self {
            Self::X86_64 | Self::Armv8A => &[],
            Self::X86_64V2 => &[X86_64_V2],
            Self::X86_64V3 => &[X86_64_V2, X86_64_V3],
            Self::X86_64V4 => &[X86_64_V2, X86_64_V3, X86_64_V4],
        };
        sets.iter().copied().flatten()
    }
}

/// The triple, and the processor where it is more than the baseline.
impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target();
        formatter.write_str(target.triple())?;
        match *self == target.baseline() {
            true => Ok(()),
            false => write!(formatter, " ({})", self.name()),
        }
    }
}

/// A set of instructions that a processor may have.
struct Extension {
    /// What Cranelift calls it.
    #[cfg_attr(not(feature = "compiler"), expect(dead_code, reason = "for the compiler"))]
    flag: &'static str,
    /// What everybody calls it.
    name: &'static str,
    /// Whether this machine has it.
    is_here: fn() -> bool,
}

macro_rules! x86_64_extensions {
    ($($flag:literal $name:tt),* $(,)?) => {
        &[$(Extension {
            flag: $flag,
            name: $name,
            #[cfg(target_arch = "x86_64")]
            is_here: || std::is_x86_feature_detected!($name),
            #[cfg(not(target_arch = "x86_64"))]
            is_here: || false,
        }),*]
    };
}

/// What each level adds, as far as the compiler makes use of it.
const X86_64_V2: &[Extension] = x86_64_extensions![
    "has_cmpxchg16b" "cmpxchg16b",
    "has_popcnt" "popcnt",
    "has_sse3" "sse3",
    "has_ssse3" "ssse3",
    "has_sse41" "sse4.1",
    "has_sse42" "sse4.2",
];
const X86_64_V3: &[Extension] = x86_64_extensions![
    "has_avx" "avx",
    "has_avx2" "avx2",
    "has_bmi1" "bmi1",
    "has_bmi2" "bmi2",
    "has_fma" "fma",
    "has_lzcnt" "lzcnt",
];
const X86_64_V4: &[Extension] = x86_64_extensions![
    "has_avx512f" "avx512f",
    "has_avx512dq" "avx512dq",
    "has_avx512vl" "avx512vl",
];

/// Sets the compiler up for that processor; for immediate use the same code is made as for artifacts.
#[cfg(feature = "compiler")]
pub(super) fn configure(config: &mut wasmtime::Config, cpu: Cpu) -> wasmtime::Result<()> {
    config
        .target(cpu.target().triple())?
        .cranelift_opt_level(wasmtime::OptLevel::Speed);
    for extension in cpu.extensions() {
        #[expect(unsafe_code, reason = "the only way to name a processor's instruction sets")]
        // SAFETY: each flag is the name of an instruction set, which changes what instructions are chosen and nothing else;
        // the engine refuses code with one of them where the processor does not have it.
        unsafe {
            config.cranelift_flag_enable(extension.flag);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_processors_belong_together() {
        for cpu in Cpu::ALL {
            assert_eq!(Cpu::named(cpu.name()), Some(cpu));
        }
        assert_eq!(Cpu::named("x86-64-v5"), None);
        for target in Target::ALL {
            assert_eq!(target.baseline().target(), target);
            assert_eq!(target.baseline().lacking(), Vec::<&str>::new());
        }
    }

    #[test]
    fn what_a_machine_lacks_is_told_by_name() {
        let without = |missing: &'static [&str]| move |extension: &Extension| !missing.contains(&extension.name);
        let lacking = |cpu: Cpu, missing| cpu.lacking_where(without(missing));
        assert_eq!(lacking(Cpu::X86_64V3, &["avx2", "fma", "avx512f"]), ["avx2", "fma"]);
        assert_eq!(lacking(Cpu::X86_64V4, &["sse4.2", "avx512vl"]), ["sse4.2", "avx512vl"]);
        assert!(lacking(Cpu::X86_64, &["sse3", "avx"]).is_empty());
        assert!(lacking(Cpu::X86_64V2, &["avx"]).is_empty());
    }
}
