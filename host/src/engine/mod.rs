//! How wasmtime is configured: for running, and for compiling what will be run. The only maker of engines.
//!
//! Both configurations start from the same features, because an artifact runs only in an engine that agrees with the one that
//! compiled it.

#[cfg(feature = "compiler")]
mod target;

use tracing::debug;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

#[cfg(feature = "compiler")]
pub use target::Target;

use crate::sandbox::Limits;

/// The engine's exact version. `Cargo.toml` pins it; a test compares the two.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// How guests of this build are stopped: their code carries no checks, and the watchdog replaces the process.
pub const KIND: &str = "sequential";

/// Sandboxes alive at a time: the one that runs or waits, and the one being prepared while it is taken down.
const SLOTS: u32 = 2;
/// Memory that a slot keeps between two guests, reset by copying instead of by faulting pages in, in bytes.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;
/// The host's stack for one guest, in bytes. Compiled code gets [`Limits::stack_bytes`] of it, host calls the rest.
const HOST_STACK_BYTES: usize = 1536 << 10;
/// Frames that are captured at a trap. A panic alone puts a dozen of its own on top of the guest's.
const BACKTRACE_FRAMES: usize = 48;

/// What distinguishes an artifact of this engine from every other: patch releases fix the compiler, so code that an older one
/// made is refused.
pub fn version() -> String {
    format!("wasmtime-{WASMTIME_VERSION}+orlop-{}", env!("CARGO_PKG_VERSION"))
}

/// The WebAssembly features of stock toolchains, and no others. Most advisories against the engine concern the rest.
fn features() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_reference_types(true)
        .wasm_simd(true)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_threads(false)
        .concurrency_support(false)
        .gc_support(false)
        // Kept in artifacts that have it, and the same for all of them. Only the tool is built to parse debug information; on
        // Lambda, that of strangers stays unread.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .module_version(ModuleVersionStrategy::Custom(version()))
        .expect("a version of less than 256 bytes is accepted");
    config
}

/// The engine that guests run in.
///
/// Instances come from a pool that is made once, which is what makes a fresh sandbox per event cheap. Where the address space
/// is too small for the pool, they are allocated one by one.
///
/// # Errors
///
/// Of the engine, when the operating system refuses what it needs.
pub fn for_running(limits: &Limits) -> wasmtime::Result<Engine> {
    let pooled = |config: &mut Config| {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    };
    match Engine::new(&running(limits, pooled)?) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            debug!(
                error = format!("{error:#}"),
                "no address space for a pool of instances; allocating one by one"
            );
            Engine::new(&running(limits, |_| {})?)
        }
    }
}

/// An engine that compiles for that processor, and runs nothing.
///
/// # Errors
///
/// Of the engine, if it was built without that processor.
#[cfg(feature = "compiler")]
pub fn for_compiling(target: Target) -> wasmtime::Result<Engine> {
    let mut config = features();
    target::configure(&mut config, target)?;
    Engine::new(&config)
}

fn running(limits: &Limits, allocation: impl FnOnce(&mut Config)) -> wasmtime::Result<Config> {
    let mut config = features();
    config
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes.saturating_add(HOST_STACK_BYTES))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES));
    #[cfg(feature = "compiler")]
    if let Some(target) = Target::host() {
        target::configure(&mut config, target)?;
    }
    allocation(&mut config);
    Ok(config)
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let count = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX / SLOTS);
    let total = |limit: usize| count(limit).saturating_mul(SLOTS);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(SLOTS)
        .max_core_instances_per_component(count(limits.instances))
        .max_memories_per_component(count(limits.memories))
        .max_tables_per_component(count(limits.tables))
        .total_core_instances(total(limits.instances))
        .total_memories(total(limits.memories))
        .total_tables(total(limits.tables))
        .total_stacks(SLOTS)
        .max_unused_warm_slots(SLOTS)
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
