//! Every limit of a sandbox: at it, beyond it, and raised.

use orlop_tests::guests;
use serde_json::json;

use crate::{Served, text};

#[test]
fn open_files_are_limited() {
    let served = Served::new(guests::HANDLES);
    let opened = served.answer("few", "100");
    assert_eq!(opened["opened"], 100);
    let report = served.failure("many", "2000");
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded");
    assert!(
        text(&report, "errorMessage").contains("ORLOP_LIMIT_RESOURCES"),
        "{report}"
    );
    served.answer("after", "1");
    let served = Served::with_env(guests::HANDLES, &[("ORLOP_LIMIT_RESOURCES", "600")]);
    assert_eq!(served.answer("a", "500")["opened"], 500);
}

#[test]
fn handles_are_limited() {
    let served = Served::with_env(
        guests::HANDLES,
        &[("ORLOP_LIMIT_RESOURCES", "10000"), ("ORLOP_LIMIT_HANDLES", "100")],
    );
    let report = served.failure("many", "500");
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded", "{report}");
    assert!(
        text(&report, "errorMessage").contains("ORLOP_LIMIT_HANDLES"),
        "{report}"
    );
    served.answer("after", "1");
}

#[test]
fn random_bytes_per_call_are_limited() {
    let served = Served::new(guests::RANDOM);
    let at = served.ask(orlop_tests::Event::new("at", "65536"));
    assert_eq!((at.is_error, at.body.len()), (false, 65536));
    let report = served.failure("above", "65537");
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded", "{report}");
    assert!(text(&report, "errorMessage").contains("ORLOP_LIMIT_RANDOM"), "{report}");
    served.ask(orlop_tests::Event::new("after", "1"));
}

#[test]
fn memory_is_limited_and_the_limit_can_be_raised() {
    let event = json!({ "bytes": 80 << 20, "aborts": true }).to_string();
    let served = Served::new(guests::ALLOCATE);
    assert_eq!(text(&served.failure("a", &*event), "errorType"), "Runtime.OutOfMemory");
    let served = Served::with_env(guests::ALLOCATE, &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")]);
    served.answer("a", &*event);
    let served = Served::with_env(guests::ALLOCATE, &[("ORLOP_LIMIT_MEMORY", "120MiB")]);
    served.answer("a", &*event);
}

#[test]
fn the_stack_is_limited_and_the_limit_can_be_raised() {
    let depth = "4000";
    let served = Served::with_env(guests::RECURSE, &[("ORLOP_LIMIT_STACK", "64KiB")]);
    let report = served.failure("a", depth);
    assert!(
        text(&report, "errorMessage").contains("call stack exhausted"),
        "{report}"
    );
    let served = Served::with_env(guests::RECURSE, &[("ORLOP_LIMIT_STACK", "8MiB")]);
    assert_eq!(served.answer("a", depth), 4000);
}

#[test]
fn instances_and_tables_are_limited_at_load_with_the_setting_that_would_help() {
    // What `echo` has: three core instances and two tables, of which one has ten entries.
    for (variable, below, at) in [
        ("ORLOP_LIMIT_INSTANCES", "2", "3"),
        ("ORLOP_LIMIT_TABLES", "1", "2"),
        ("ORLOP_LIMIT_TABLE_ENTRIES", "1", "1000"),
    ] {
        let served = Served::with_env(guests::ECHO, &[(variable, below)]);
        let report = served.lambda.wait_for_init_error().json();
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
        assert!(text(&report, "errorMessage").contains(variable), "{report}");
        served.host.wait_for_exit(crate::END);
        Served::with_env(guests::ECHO, &[(variable, at)]).answer("a", "1");
    }
}

#[test]
fn memories_are_limited_at_load() {
    let component = |count: usize| {
        let modules: String = (0..count)
            .map(|index| {
                format!(
                    r#"(core module $m{index} (memory (export "m") 1) (func (export "f")))
                    (core instance $i{index} (instantiate $m{index}))"#
                )
            })
            .collect();
        wat::parse_str(format!(
            r#"(component {modules}
                (func $f (canon lift (core func $i0 "f")))
                (instance $interface (export "handle" (func $f)))
                (export "orlop:function/handler@0.1.0" (instance $interface)))"#
        ))
        .unwrap()
    };
    for (count, is_within) in [(8, true), (9, false)] {
        let lambda = orlop_tests::FakeRuntimeApi::start();
        let task_root = orlop_tests::TaskRoot::new().with_content("many.wasm", component(count));
        let host = orlop_tests::Host::orlop(&lambda).task_root(&task_root).start();
        let report = lambda.wait_for_init_error().json();
        // Within the limit, what is left to complain of is the handler's type.
        let expected = if is_within {
            "another type"
        } else {
            "ORLOP_LIMIT_MEMORIES"
        };
        assert!(text(&report, "errorMessage").contains(expected), "{count}: {report}");
        host.wait_for_exit(crate::END);
    }
}

#[test]
fn tables_that_grow_without_end_are_refused_and_the_guest_goes_on() {
    // A guest whose handler grows a table by a million entries, five times, and answers with nothing.
    let component = wat::parse_str(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (table $t 1 funcref)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "start") (local $i i32)
                    (loop $again
                        (drop (table.grow $t (ref.null func) (i32.const 400000)))
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br_if $again (i32.lt_u (local.get $i) (i32.const 5))))
                    (if (i32.ge_u (table.size $t) (i32.const 1000001)) (then (unreachable))))
                (start 1))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "start")))
            (instance $interface (export "handle" (func $f)))
            (export "orlop:function/handler@0.1.0" (instance $interface)))"#,
    )
    .unwrap();
    let lambda = orlop_tests::FakeRuntimeApi::start();
    let task_root = orlop_tests::TaskRoot::new().with_content("tables.wasm", component);
    let host = orlop_tests::Host::orlop(&lambda).task_root(&task_root).start();
    let report = lambda.wait_for_init_error().json();
    // Its start function did not trap, so that the handler's type is what is left to complain of.
    assert!(text(&report, "errorMessage").contains("another type"), "{report}");
    host.wait_for_exit(crate::END);
}
