//! Which parts of WebAssembly are switched on. Most advisories against the engine concern what stock toolchains do not use.

use wasmtime::Config;

/// What a component needs beyond the features of stock toolchains. An artifact's stamp records it, and the component runs in
/// an engine that has just that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Features {
    /// Streams, futures and asynchronous functions of the component model, on which WASI 0.3 is built.
    pub component_model_async: bool,
}

impl Features {
    /// The names of all, as a stamp has them.
    pub(crate) const NAMES: [&str; 1] = ["component-model-async"];

    /// Their names, for the log and for reports.
    pub fn names(self) -> Vec<&'static str> {
        let Self { component_model_async } = self;
        Self::NAMES
            .into_iter()
            .zip([component_model_async])
            .filter_map(|(name, is_on)| is_on.then_some(name))
            .collect()
    }

    /// Why a component that needs these cannot run in this program, if it was built without one of them.
    pub fn objection(self) -> Option<&'static str> {
        let Self { component_model_async } = self;
        (component_model_async && cfg!(not(feature = "wasi-0-3"))).then_some(
            "it needs the asynchronous component model, on which WASI 0.3 is built, and this `bootstrap` was built without it; \
             build the image on `orlop-lean` or `orlop` instead of `orlop-small`",
        )
    }

    /// What the component in `bytes` needs. Of an invalid one it means nothing; the compiler will say what is wrong with it.
    #[cfg(feature = "compiler")]
    pub fn needed_by(bytes: &[u8]) -> Self {
        use wasmparser::{Validator, WasmFeatures};
        let is_valid = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
        let everything = WasmFeatures::all();
        let without = everything.difference(WasmFeatures::CM_ASYNC);
        Self {
            component_model_async: imports_wasi_0_3(bytes) || (!is_valid(without) && is_valid(everything)),
        }
    }
}

/// The host offers the interfaces of WASI 0.3 only together with the features that most of them use.
#[cfg(feature = "compiler")]
fn imports_wasi_0_3(bytes: &[u8]) -> bool {
    use wasmparser::{Parser, Payload};
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(imports)) if depth == 0 => {
                let is_0_3 = |name: &str| name.starts_with("wasi:") && name.contains("@0.3.");
                if imports.into_iter().flatten().any(|import| is_0_3(import.name.name)) {
                    return true;
                }
            }
            Err(_) => return false,
            Ok(_) => {}
        }
    }
    false
}

/// The features of stock toolchains, and those.
pub(super) fn configure(config: &mut Config, features: Features) {
    let Features { component_model_async } = features;
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
        .concurrency_support(component_model_async)
        .gc_support(false);
    #[cfg(feature = "wasi-0-3")]
    config.wasm_component_model_async(component_model_async);
}
