//! Generated from `wit/`, and nothing else.

pub(super) mod function {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "function",
        exports: { default: async },
    });
}

pub(super) mod preparation {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "preparation",
        exports: { default: async },
        with: { "orlop:function/types@0.1.0": super::function::orlop::function::types },
    });
}
