//! How wasmtime is configured: for running, and for compiling what will be run. The only maker of engines.
//!
//! Both configurations start from the same features, because an artifact runs only in an engine that agrees with the one that
//! compiled it.

mod execution;
mod features;
mod processors;
mod target;

use std::sync::OnceLock;

use tracing::debug;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

pub use execution::{Execution, Ticker};
pub use features::Features;
pub use target::{Cpu, Target};

use crate::sandbox::Limits;

/// The engine's exact version. `Cargo.toml` pins it; a test compares the two.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Memory that a slot keeps between two guests, reset by copying instead of by faulting pages in, in bytes.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;
/// The host's stack for one guest, in bytes. Compiled code gets [`Limits::stack_bytes`] of it, host calls the rest.
const HOST_STACK_BYTES: usize = 1536 << 10;
/// Address space that the linear memories of one pool may reserve, in bytes: a quarter of what a process has on x86-64. Only
/// pools of hundreds of slots come near.
const POOL_ADDRESS_SPACE_BYTES: u64 = 32 << 40;
/// What one linear memory reserves of it, in bytes.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Frames that are captured at a trap. A panic alone puts a dozen of its own on top of the guest's.
const BACKTRACE_FRAMES: usize = 48;

/// What distinguishes an artifact of this engine from every other: patch releases fix the compiler, so code that an older one
/// made is refused.
pub fn version() -> String {
    format!("wasmtime-{WASMTIME_VERSION}+orlop-{}", env!("CARGO_PKG_VERSION"))
}

/// The engines that guests run in: one for each set of features and each kind of code that a component needs, made when the
/// first of them is loaded. Guests of different engines never meet.
///
/// Instances come from a pool that is made with the engine, which is what makes a fresh sandbox per event cheap. Where the
/// address space is too small for the pool, they are allocated one by one.
pub struct Engines {
    limits: Limits,
    slots: u32,
    execution: Execution,
    /// By [`Self::index`].
    engines: [OnceLock<Engine>; 4],
}

impl Engines {
    /// Engines of a process that runs guests in that way, for sandboxes within those limits, `slots` of which may be alive at
    /// a time in each engine.
    pub fn new(limits: Limits, slots: u32, execution: Execution) -> Self {
        Self {
            limits,
            slots: slots.max(1),
            execution,
            engines: [const { OnceLock::new() }; 4],
        }
    }

    /// How the process runs its guests.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// The engine with those features, for code of that kind.
    ///
    /// # Errors
    ///
    /// Of the engine, when the operating system refuses what it needs.
    pub fn with(&self, features: Features, code: Execution) -> wasmtime::Result<&Engine> {
        let cell = &self.engines[Self::index(features, code)];
        if let Some(engine) = cell.get() {
            return Ok(engine);
        }
        let engine = self.make(features, code)?;
        Ok(cell.get_or_init(|| engine))
    }

    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter_map(OnceLock::get)
    }

    fn index(features: Features, code: Execution) -> usize {
        let has_checks = match code {
            Execution::Sequential => false,
            Execution::Concurrent => true,
        };
        2 * usize::from(features.component_model_async) + usize::from(has_checks)
    }

    fn make(&self, features: Features, code: Execution) -> wasmtime::Result<Engine> {
        let pooled = |config: &mut Config| {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(&self.limits, self.slots)));
        };
        let config = running(&self.limits, features, code, pooled)?;
        let make = || Engine::new(&config);
        let made = match self.execution {
            Execution::Sequential => processors::without_quotas(make),
            Execution::Concurrent => make(),
        };
        match made {
            Ok(engine) => Ok(engine),
            Err(error) => {
                debug!(
                    error = format!("{error:#}"),
                    "no address space for a pool of instances; allocating one by one"
                );
                Engine::new(&running(&self.limits, features, code, |_| {})?)
            }
        }
    }
}

/// An engine that compiles into that kind of code for that processor, and runs nothing.
///
/// # Errors
///
/// Of the engine, if it was built without that processor.
#[cfg(feature = "compiler")]
pub fn for_compiling(cpu: Cpu, features: Features, code: Execution) -> wasmtime::Result<Engine> {
    let mut config = base(features, code);
    target::configure(&mut config, cpu)?;
    Engine::new(&config)
}

/// An engine that compiles and runs a component while it is built. What it compiles is thrown away, so it can carry checks:
/// a step of the epoch ends a guest that does not come back.
///
/// # Errors
///
/// Of the engine, when the operating system refuses what it needs.
#[cfg(feature = "compiler")]
pub fn for_snapshots() -> wasmtime::Result<Engine> {
    // Where there is one instance, an image of its memory saves nothing, and the process may have no file to keep it in.
    let without_images = |config: &mut Config| {
        config.memory_init_cow(false);
    };
    Engine::new(&running(
        &Limits::default(),
        Features::default(),
        Execution::Concurrent,
        without_images,
    )?)
}

/// What both kinds of engine agree on.
fn base(features: Features, code: Execution) -> Config {
    let mut config = Config::new();
    features::configure(&mut config, features);
    config
        .epoch_interruption(code == Execution::Concurrent)
        // Kept in artifacts that have it, and the same for all of them. Only the tool is built to parse debug information; on
        // Lambda, that of strangers stays unread.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // The engine finds its way back by frame pointers; these tables would be for debuggers and profilers of the host.
        .native_unwind_info(false)
        .module_version(ModuleVersionStrategy::Custom(version()))
        .expect("a version of less than 256 bytes is accepted");
    config
}

fn running(
    limits: &Limits,
    features: Features,
    code: Execution,
    allocation: impl FnOnce(&mut Config),
) -> wasmtime::Result<Config> {
    let mut config = base(features, code);
    config
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes.saturating_add(HOST_STACK_BYTES))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES));
    #[cfg(feature = "compiler")]
    if let Some(target) = Target::host() {
        target::configure(&mut config, target.baseline())?;
    }
    allocation(&mut config);
    Ok(config)
}

fn pool(limits: &Limits, slots: u32) -> PoolingAllocationConfig {
    let count = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX / slots);
    let total = |limit: usize| count(limit).saturating_mul(slots);
    let affordable = u32::try_from(POOL_ADDRESS_SPACE_BYTES / MEMORY_RESERVATION_BYTES).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .max_core_instances_per_component(count(limits.instances))
        .max_memories_per_component(count(limits.memories))
        .max_tables_per_component(count(limits.tables))
        .max_tables_per_module(count(limits.tables))
        .total_core_instances(total(limits.instances))
        .total_memories(total(limits.memories).min(affordable.max(slots)))
        .total_tables(total(limits.tables))
        .total_stacks(slots)
        .max_unused_warm_slots(slots)
        .table_elements(limits.table_entries)
        .max_core_instance_size(16 << 20)
        .max_component_instance_size(16 << 20)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The limit that a component exceeds by what it declares, if that is what the engine refused it for, with its setting.
/// The engine has no type for it; the tests of these limits notice a change of its words.
pub fn limit_behind(error: &wasmtime::Error) -> Option<String> {
    let message = format!("{error:#}");
    let setting = [
        ("core module instances, which exceeds", "ORLOP_LIMIT_INSTANCES"),
        ("core instances, which exceeds", "ORLOP_LIMIT_INSTANCES"),
        ("memories, which exceeds", "ORLOP_LIMIT_MEMORIES"),
        ("tables, which exceeds", "ORLOP_LIMIT_TABLES"),
        ("defined tables count of", "ORLOP_LIMIT_TABLES"),
        ("has a minimum element size of", "ORLOP_LIMIT_TABLE_ENTRIES"),
    ]
    .iter()
    .find_map(|(words, setting)| message.contains(words).then_some(setting))?;
    let reason = message.replace(" in the pooling allocator", "");
    Some(format!("{reason}; raise {setting} if that is right"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_the_manifest() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(manifest.contains(&format!("wasmtime = {{ version = \"={WASMTIME_VERSION}\"")));
    }
}
