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
    served.answer("after", "1");
}

#[test]
fn random_bytes_per_call_are_limited() {
    let served = Served::new(guests::RANDOM);
    let at = served.ask(orlop_tests::Event::new("at", "65536"));
    assert_eq!((at.is_error, at.body.len()), (false, 65536));
    let report = served.failure("above", "65537");
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded", "{report}");
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
fn instances_memories_and_tables_are_limited() {
    for variable in [
        "ORLOP_LIMIT_INSTANCES",
        "ORLOP_LIMIT_MEMORIES",
        "ORLOP_LIMIT_TABLES",
        "ORLOP_LIMIT_TABLE_ENTRIES",
    ] {
        let minimum = if variable == "ORLOP_LIMIT_MEMORIES" {
            None
        } else {
            Some("1")
        };
        let Some(minimum) = minimum else { continue };
        let served = Served::with_env(guests::ECHO, &[(variable, minimum)]);
        let answer = served.lambda.wait_for_init_error();
        let report = answer.json();
        assert!(
            ["Runtime.LimitExceeded", "Runtime.InvalidComponent"].contains(&text(&report, "errorType")),
            "{variable}: {report}"
        );
    }
}

/// A guest with one more memory than there may be.
#[test]
fn a_component_with_too_many_memories_is_refused() {
    let memories = "(core module (memory 1))".repeat(0);
    let modules: String = (0..9)
        .map(|index| {
            format!("(core module $m{index} (memory (export \"m\") 1) (func (export \"f\"))) (core instance $i{index} (instantiate $m{index}))")
        })
        .collect();
    let component = wat::parse_str(format!(
        r#"(component {memories} {modules}
            (func $f (canon lift (core func $i0 "f")))
            (instance $interface (export "handle" (func $f)))
            (export "orlop:function/handler@0.1.0" (instance $interface)))"#
    ))
    .unwrap();
    let lambda = orlop_tests::FakeRuntimeApi::start();
    let task_root = orlop_tests::TaskRoot::new().with_content("many.wasm", component);
    let host = orlop_tests::Host::orlop(&lambda).task_root(&task_root).start();
    let report = lambda.wait_for_init_error().json();
    assert!(text(&report, "errorMessage").contains("memor"), "{report}");
    host.wait_for_exit(crate::END);
}
