//! Components that no toolchain makes, each for one case.

use std::fmt::Write as _;

use orlop_tests::handwritten::{handler, module};

/// A component of our own making.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    /// Its name, which is that of its case.
    pub(crate) id: &'static str,
    pub(crate) make: fn() -> Vec<u8>,
}

/// Answers with `length` bytes at `start`.
fn answering(start: u32, length: u32) -> Vec<u8> {
    handler(
        "",
        &format!(
            "(i32.store8 (i32.const 16) (i32.const 0))
            (i32.store (i32.const 20) (i32.const {start}))
            (i32.store (i32.const 24) (i32.const {length}))
            (i32.const 16)"
        ),
    )
}

pub(crate) fn unreachable() -> Vec<u8> {
    handler("", "unreachable")
}

pub(crate) fn answer_outside() -> Vec<u8> {
    answering(64, 100_000_000)
}

pub(crate) fn answer_at_the_end() -> Vec<u8> {
    answering(2 << 16, 1)
}

pub(crate) fn answer_wraps() -> Vec<u8> {
    answering(u32::MAX - 10, 20)
}

pub(crate) fn result_misaligned() -> Vec<u8> {
    handler("", "(drop (call $answer)) (i32.const 17)")
}

pub(crate) fn result_outside() -> Vec<u8> {
    handler("", "(i32.const -4)")
}

pub(crate) fn error_without_utf8() -> Vec<u8> {
    handler(
        r#"(data (i32.const 80) "\ff\fe\c3\28")"#,
        "(i32.store8 (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.const 80)) (i32.store (i32.const 24) (i32.const 4))
        (i32.store (i32.const 28) (i32.const 80)) (i32.store (i32.const 32) (i32.const 4))
        (i32.store (i32.const 36) (i32.const 0)) (i32.store (i32.const 40) (i32.const 0))
        (i32.const 16)",
    )
}

pub(crate) fn result_variant() -> Vec<u8> {
    handler("", "(i32.store8 (call $answer) (i32.const 99)) (i32.const 16)")
}

/// A module with that allocator.
fn allocating(body: &str) -> Vec<u8> {
    module(&format!(
        r#"(module
            (memory (export "memory") 2)
            (data (i32.const 64) "1")
            (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                {body})
            (func (export "orlop:function/handler@0.1.0#handle") (param i32) (result i32)
                (i32.store8 (i32.const 16) (i32.const 0))
                (i32.store (i32.const 20) (i32.const 64))
                (i32.store (i32.const 24) (i32.const 1))
                (i32.const 16)))"#
    ))
}

pub(crate) fn allocate_outside() -> Vec<u8> {
    allocating("(i32.const 0x7ffffff8)")
}

pub(crate) fn allocate_misaligned() -> Vec<u8> {
    allocating("(i32.const 1025)")
}

pub(crate) fn allocate_same() -> Vec<u8> {
    allocating("(i32.const 1024)")
}

pub(crate) fn allocate_never() -> Vec<u8> {
    allocating("unreachable")
}

pub(crate) fn table_growth() -> Vec<u8> {
    handler(
        "(table $table 1 funcref)",
        "(local $tries i32)
        (loop $again
            (drop (table.grow $table (ref.null func) (i32.const 1000000)))
            (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $tries) (i32.const 1000))))
        (call $answer)",
    )
}

pub(crate) fn native_recursion() -> Vec<u8> {
    handler(
        "(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))",
        "(call $deeper (i32.const 0))",
    )
}

/// A handler that goes through 30 functions of these names before it traps.
fn named(name: impl Fn(usize) -> String) -> Vec<u8> {
    const DEPTH: usize = 30;
    let functions = (0..DEPTH).fold(String::new(), |mut functions, index| {
        let call = if index + 1 < DEPTH {
            format!("(call $f{})", index + 1)
        } else {
            "unreachable".to_owned()
        };
        write!(
            functions,
            r#"(func $f{index} (@name "{}") (result i32) {call})"#,
            name(index)
        )
        .unwrap();
        functions
    });
    handler(&functions, "(call $f0)")
}

pub(crate) fn long_names() -> Vec<u8> {
    named(|index| format!("f{index}-{}", "x".repeat(100_000)))
}

pub(crate) fn odd_names() -> Vec<u8> {
    named(|index| format!(r"f{index}\0d\0aSTART RequestId: 1\1b[31m\00\e2\80\ae\c2\9b"))
}

pub(crate) fn false_debug_information() -> Vec<u8> {
    let sections = [
        ".debug_info",
        ".debug_abbrev",
        ".debug_line",
        ".debug_str",
        ".debug_ranges",
    ];
    let sections = sections.iter().fold(String::new(), |mut sections, name| {
        let content = r"\ff\ff\ff\ff\00\80\7f".repeat(500);
        write!(sections, r#"(@custom "{name}" "{content}")"#).unwrap();
        sections
    });
    handler(&sections, "unreachable")
}
