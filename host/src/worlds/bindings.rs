//! Generated from `wit/`, and nothing else.

pub(super) mod function {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "function",
        exports: { default: async },
        // A context is lent to the call, not copied for it.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(super) mod snap_start {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "snap-start-hooks",
        exports: { default: async },
        with: { "orlop:function/types@0.1.0": super::function::orlop::function::types },
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
