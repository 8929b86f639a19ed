//! Components made from core modules in text, for behaviour that no toolchain produces.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component whose handler has this `body`, in a module with these further `items`.
///
/// The body finds its arguments behind the local `$arguments` and leaves the address of its result, as the canonical ABI
/// asks for. Besides, there are a memory of two pages, an allocator that never frees, and `$answer`, which answers with `1`.
///
/// # Panics
///
/// If the text is none that makes a component.
pub fn handler(items: &str, body: &str) -> Vec<u8> {
    module(&format!(
        r#"(module
            (memory (export "memory") 2)
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get $size)))
                (if (i32.gt_u (global.get $free) (i32.shl (memory.size) (i32.const 16)))
                    (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
                (local.get $at))
            {RESULT_OF_ONE}
            {items}
            (func $handle (export "orlop:function/handler@0.1.0#handle") (param $arguments i32) (result i32) {body}))"#
    ))
}

/// A component made of this module, which exports all that a handler has to.
///
/// # Panics
///
/// As [`handler`].
pub fn module(text: &str) -> Vec<u8> {
    let module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    component_of(module)
}

/// As [`module`], of a module in bytes.
///
/// # Panics
///
/// As [`handler`].
pub fn component_of(mut module: Vec<u8>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let interfaces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve
        .push_dir(interfaces)
        .expect("the project's own interfaces are valid");
    let world = resolve
        .select_world(&[package], Some("function"))
        .expect("the project has a world of that name");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world can be encoded");
    // Without validation: some of these are meant to be invalid.
    let encoder = ComponentEncoder::default().validate(false).module(&module);
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.unwrap_or_else(|error| panic!("{error:#}"))
}

const RESULT_OF_ONE: &str = r#"
    (data (i32.const 64) "1")
    (func $answer (result i32)
        (i32.store8 (i32.const 16) (i32.const 0))
        (i32.store (i32.const 20) (i32.const 64))
        (i32.store (i32.const 24) (i32.const 1))
        (i32.const 16))"#;
