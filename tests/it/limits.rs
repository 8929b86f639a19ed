//! Every limit of a sandbox: one below it, at it, one beyond it, and raised.

use std::cmp::Ordering;

use orlop_tests::{Event, FakeRuntimeApi, Host, TaskRoot, guests, handwritten};
use serde_json::{Value, json};

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
fn a_thousand_handles_may_be_held_and_more_only_where_the_limit_is_raised() {
    // Its start function makes handles to a resource of its own, and holds nothing else.
    let component = |count: usize| {
        wat::parse_str(format!(
            r#"(component
                (type $resource (resource (rep i32)))
                (core func $new (canon resource.new $resource))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func $start (local $i i32)
                        (loop $again
                            (drop (call $new (local.get $i)))
                            (local.set $i (i32.add (local.get $i) (i32.const 1)))
                            (br_if $again (i32.lt_u (local.get $i) (i32.const {count})))))
                    (start $start)
                    (func (export "f")))
                (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
                (func $f (canon lift (core func $i "f")))
                (instance $interface (export "handle" (func $f)))
                (export "orlop:function/handler@0.1.0" (instance $interface)))"#
        ))
        .unwrap()
    };
    for (count, limit, is_within) in [
        (999, None, true),
        (1000, None, true),
        (1001, None, false),
        (1001, Some("1001"), true),
    ] {
        let message = complaint_at_load(component(count), limit.map(|limit| ("ORLOP_LIMIT_HANDLES", limit)));
        let expected = if is_within { ANOTHER_TYPE } else { "ORLOP_LIMIT_HANDLES" };
        assert!(message.contains(expected), "{count}, {limit:?}: {message}");
    }
}

/// What is left to complain of in a component whose handler is of no use, if it is within all limits.
const ANOTHER_TYPE: &str = "another type";

/// What is said of a component in text that cannot be served.
fn complaint_at_load(component: Vec<u8>, variable: Option<(&str, &str)>) -> String {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_content("odd.wasm", component);
    let host = Host::orlop(&lambda).task_root(&task_root);
    let host = variable
        .into_iter()
        .fold(host, |host, (name, value)| host.env(name, value));
    let host = host.start();
    let report = lambda.wait_for_init_error().json();
    host.wait_for_exit(crate::END);
    text(&report, "errorMessage").to_owned()
}

#[test]
fn random_bytes_per_call_are_limited() {
    let random = |served: &Served, length: usize| served.ask(Event::new(length.to_string(), length.to_string()));
    let served = Served::new(guests::RANDOM);
    for within in [65_535, 65_536] {
        let answer = random(&served, within);
        assert_eq!((answer.is_error, answer.body.len()), (false, within));
    }
    let report = random(&served, 65_537).json();
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded", "{report}");
    assert!(text(&report, "errorMessage").contains("ORLOP_LIMIT_RANDOM"), "{report}");
    assert_eq!(random(&served, 1).body.len(), 1);
    let served = Served::with_env(guests::RANDOM, &[("ORLOP_LIMIT_RANDOM", "65537")]);
    assert_eq!(random(&served, 65_537).body.len(), 65_537);
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

/// A guest that calls itself as often as its event has bytes, and needs nothing but stack for it.
fn descending() -> Vec<u8> {
    handwritten::handler(
        "(func $descend (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (call $descend (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
                (else (i32.const 0))))",
        "(drop (call $descend (i32.load offset=4 (local.get $arguments)))) (call $answer)",
    )
}

/// Whether it comes so deep.
fn descends(served: &Served, depth: usize) -> bool {
    let answer = served.ask(Event::new(depth.to_string(), vec![b' '; depth]));
    let is_full = answer.text().contains("call stack exhausted");
    assert_eq!(answer.is_error, is_full, "{}", answer.text());
    !is_full
}

/// The last number for which something holds that holds for the first of these, and not for the second.
fn last(mut holding: usize, mut beyond: usize, holds: impl Fn(usize) -> bool) -> usize {
    assert!(holds(holding) && !holds(beyond));
    while holding + 1 < beyond {
        let middle = usize::midpoint(holding, beyond);
        match holds(middle) {
            true => holding = middle,
            false => beyond = middle,
        }
    }
    holding
}

#[test]
fn the_stack_may_be_used_to_the_last_byte_and_not_beyond() {
    // What a call takes is the compiler's choice, so the limit that is just enough has to be found.
    const DEPTH: usize = 2000;
    let component = descending();
    let is_enough = |limit: usize| {
        let served = served(&component, &[("ORLOP_LIMIT_STACK", &*limit.to_string())]);
        descends(&served, DEPTH)
    };
    let too_little = last(8 << 10, 512 << 10, |limit| !is_enough(limit));
    for (limit, is_within) in [(too_little, false), (too_little + 1, true), (too_little + 2, true)] {
        assert_eq!(is_enough(limit), is_within, "{limit}");
    }
}

#[test]
fn the_stack_is_half_a_mebibyte_unless_a_setting_says_otherwise() {
    let component = descending();
    let deepest = |variables: &[(&str, &str)]| {
        let served = served(&component, variables);
        last(1, 200_000, |depth| descends(&served, depth))
    };
    let default = deepest(&[]);
    for (limit, expected) in [
        ("511KiB", Ordering::Less),
        ("512KiB", Ordering::Equal),
        ("513KiB", Ordering::Greater),
    ] {
        let other = deepest(&[("ORLOP_LIMIT_STACK", limit)]);
        assert_eq!(
            other.cmp(&default),
            expected,
            "{limit}: {other}, and {default} by default"
        );
    }
}

#[test]
fn instances_and_tables_are_limited_at_load_with_the_setting_that_would_help() {
    let ten_entries = handwritten::handler("(table 10 funcref)", "(call $answer)");
    let serve = |variable: &str, limit: usize| {
        let variables = [(variable, &*limit.to_string())];
        match variable {
            "ORLOP_LIMIT_TABLE_ENTRIES" => served(&ten_entries, &variables),
            _ => Served::with_env(guests::ECHO, &variables),
        }
    };
    for (variable, at) in [
        // What `echo` has: three core instances and two tables.
        ("ORLOP_LIMIT_INSTANCES", 3),
        ("ORLOP_LIMIT_TABLES", 2),
        ("ORLOP_LIMIT_TABLE_ENTRIES", 10),
    ] {
        let below = serve(variable, at - 1);
        let report = below.lambda.wait_for_init_error().json();
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
        assert!(text(&report, "errorMessage").contains(variable), "{report}");
        below.host.wait_for_exit(crate::END);
        for within in [at, at + 1] {
            serve(variable, within).answer("a", "1");
        }
    }
}

#[test]
fn one_core_module_may_have_all_the_tables_that_there_may_be() {
    let tables = |count: usize| handwritten::handler(&"(table 1 funcref)".repeat(count), "(call $answer)");
    for (count, variables, is_within) in [
        (15, &[][..], true),
        (16, &[], true),
        (17, &[], false),
        (17, &[("ORLOP_LIMIT_TABLES", "17")], true),
    ] {
        let served = served(&tables(count), variables);
        if is_within {
            served.answer("a", "1");
        } else {
            let report = served.lambda.wait_for_init_error().json();
            assert!(text(&report, "errorMessage").contains("ORLOP_LIMIT_TABLES"), "{report}");
            served.host.wait_for_exit(crate::END);
        }
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
    for (count, limit, is_within) in [(7, None, true), (8, None, true), (9, None, false), (9, Some("9"), true)] {
        let message = complaint_at_load(component(count), limit.map(|limit| ("ORLOP_LIMIT_MEMORIES", limit)));
        let expected = if is_within {
            ANOTHER_TYPE
        } else {
            "ORLOP_LIMIT_MEMORIES"
        };
        assert!(message.contains(expected), "{count}, {limit:?}: {message}");
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
    // Its start function did not trap.
    let message = complaint_at_load(component, None);
    assert!(message.contains(ANOTHER_TYPE), "{message}");
}

/// Serves a component of a core module in text.
fn served(component: &[u8], variables: &[(&str, &str)]) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handwritten.wasm");
    std::fs::write(&path, component).unwrap();
    let task_root = TaskRoot::new().with_compiled(&path);
    Served::in_task_root(FakeRuntimeApi::start(), task_root, None, variables)
}

#[test]
fn memory_may_be_used_to_the_last_byte_and_not_beyond() {
    // Two pages to begin with, and one more by each event.
    let component = handwritten::handler(
        "",
        "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable))) (call $answer)",
    );
    for (limit, expected) in [
        ("196607", Some("Runtime.OutOfMemory")),
        ("196608", None),
        ("196609", None),
    ] {
        let served = served(&component, &[("ORLOP_LIMIT_MEMORY", limit)]);
        let answer = served.ask(Event::new("a", "1"));
        let error_type = answer.is_error.then(|| answer.error_type_header.clone().unwrap());
        assert_eq!(error_type.as_deref(), expected, "{limit}: {}", answer.text());
    }
    let served = served(&component, &[("ORLOP_LIMIT_MEMORY", "131071")]);
    let report = served.lambda.wait_for_init_error().json();
    assert_eq!(text(&report, "errorType"), "Runtime.OutOfMemory", "{report}");
}

#[test]
fn tables_may_grow_to_the_last_entry_and_not_beyond() {
    // One entry to begin with, and 99 more by each event.
    let component = handwritten::handler(
        "(table $t 1 funcref)",
        "(if (i32.eq (table.grow $t (ref.null func) (i32.const 99)) (i32.const -1)) (then (unreachable))) (call $answer)",
    );
    for (limit, is_within) in [("99", false), ("100", true), ("101", true)] {
        let served = served(&component, &[("ORLOP_LIMIT_TABLE_ENTRIES", limit)]);
        let answer = served.ask(Event::new("a", "1"));
        assert_eq!(!answer.is_error, is_within, "{limit}: {}", answer.text());
        if !is_within {
            assert_eq!(answer.json()["errorType"], "Runtime.LimitExceeded");
            assert!(answer.text().contains("ORLOP_LIMIT_TABLE_ENTRIES"), "{}", answer.text());
        }
    }
}

#[test]
fn a_guest_that_copes_with_a_refusal_and_fails_of_something_else_is_told_so() {
    let served = Served::new(guests::HOSTILE);
    let report = served.failure("a", r#"{"does":"grow-then-panic"}"#);
    assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap", "{report}");
    let report = served.failure("b", r#"{"does":"grow","aborts":true}"#);
    assert_eq!(text(&report, "errorType"), "Runtime.OutOfMemory", "{report}");
}

#[test]
fn data_per_call_is_limited_to_the_byte() {
    let served = Served::with_env(guests::BIG, &[("ORLOP_LIMIT_HOST_CALL_DATA", "100000")]);
    for (bytes, is_within) in [(99_999, true), (100_000, true), (100_001, false)] {
        let answer = served.ask(Event::new(format!("{bytes}"), bytes.to_string()));
        assert_eq!(!answer.is_error, is_within, "{bytes}: {:.200}", answer.text());
        if !is_within {
            assert_eq!(answer.json()["errorType"], "Function.ResponseTooLarge");
        }
    }
    // Other calls than the answer name the setting.
    let served = Served::with_env(guests::HOSTILE, &[("ORLOP_LIMIT_HOST_CALL_DATA", "100000")]);
    assert_eq!(
        served.answer("short", r#"{"does":"long-path","bytes":90000}"#),
        "InvalidFilename"
    );
    let report = served.failure("long", r#"{"does":"long-path","bytes":100001}"#);
    assert_eq!(text(&report, "errorType"), "Runtime.LimitExceeded", "{report}");
    assert!(
        text(&report, "errorMessage").contains("ORLOP_LIMIT_HOST_CALL_DATA"),
        "{report}"
    );
}

#[test]
fn one_more_resource_or_handle_is_one_more_file() {
    for (variable, other) in [
        ("ORLOP_LIMIT_RESOURCES", "ORLOP_LIMIT_HANDLES"),
        ("ORLOP_LIMIT_HANDLES", "ORLOP_LIMIT_RESOURCES"),
    ] {
        // The library holds some for itself.
        let most = |limit: usize| {
            let variables = [(variable, &*limit.to_string()), (other, "10000")];
            let served = Served::with_env(guests::HANDLES, &variables);
            let is_too_many = |wanted: &usize| served.ask(Event::new(format!("{wanted}"), wanted.to_string())).is_error;
            (0..=limit).rev().find(|wanted| !is_too_many(wanted)).unwrap()
        };
        let (fewer, more) = (most(30), most(31));
        assert!((20..30).contains(&fewer), "{variable}: {fewer}");
        assert_eq!(more, fewer + 1, "{variable}");
    }
}

#[test]
fn output_is_kept_to_the_byte() {
    for (bytes, is_cut) in [(99, false), (100, false), (101, true)] {
        let served = Served::with_env(guests::PRINT, &[("ORLOP_LIMIT_OUTPUT", "100")]);
        let outputs = json!([{ "stream": "stdout", "text": "x".repeat(bytes) }]);
        served.answer("a", outputs.to_string());
        served.host.wait_for_log(|line| line.contains("xxx"));
        served.answer("b", "[]");
        let log = served.host.log();
        let kept = log
            .iter()
            .find_map(|line| Some(line.split_once("stdout\t")?.1.len()))
            .unwrap();
        assert_eq!(kept, bytes.min(100), "{log:?}");
        assert_eq!(
            log.iter().any(|line| line.contains("ORLOP_LIMIT_OUTPUT")),
            is_cut,
            "{log:?}"
        );
    }
}

fn write(path: &str, bytes: usize) -> Value {
    json!({ "verb": "write", "path": path, "data": "x".repeat(bytes) })
}

fn run(served: &Served, id: &str, operations: &Value) -> Vec<Value> {
    served.answer(id, operations.to_string()).as_array().unwrap().clone()
}

#[test]
fn files_are_limited_to_the_byte_and_what_is_removed_can_be_used_again() {
    let served = Served::with_env(guests::FILES, &[("ORLOP_LIMIT_TMP", "1000")]);
    for (bytes, is_within) in [(999, true), (1000, true), (1001, false)] {
        let results = run(&served, &format!("{bytes}"), &json!([write("/tmp/a", bytes)]));
        assert_eq!(results[0].get("error").is_none(), is_within, "{bytes}: {results:?}");
    }
    let operations = json!([
        write("/tmp/a", 600),
        write("/tmp/b", 400),
        { "verb": "append", "path": "/tmp/b", "data": "x" },
        { "verb": "remove", "path": "/tmp/a" },
        { "verb": "append", "path": "/tmp/b", "data": "x" },
        write("/tmp/b", 1000),
        write("/tmp/c", 1),
        { "verb": "size", "path": "/tmp/b" },
    ]);
    let results = run(&served, "both", &operations);
    let failed = results.iter().map(|result| result.get("error").is_some());
    let expected = [false, false, true, false, false, false, true, false];
    assert_eq!(failed.collect::<Vec<_>>(), expected, "{results:?}");
    assert_eq!(results[7], 1000);
    let served = Served::with_env(guests::FILES, &[("ORLOP_LIMIT_TMP", "2000")]);
    assert_eq!(run(&served, "raised", &json!([write("/tmp/a", 1001)])), [Value::Null]);
}

#[test]
fn entries_are_limited_and_what_is_removed_can_be_used_again() {
    let served = Served::with_env(guests::FILES, &[("ORLOP_LIMIT_TMP_ENTRIES", "3")]);
    let full = json!({ "error": "StorageFull" });
    let operations = json!([
        write("/tmp/a", 1),
        { "verb": "make-directory", "path": "/tmp/d" },
        { "verb": "symlink", "target": "a", "path": "/tmp/l" },
        write("/tmp/b", 1),
        { "verb": "make-directory", "path": "/tmp/e" },
        { "verb": "hard-link", "target": "/tmp/a", "path": "/tmp/h" },
        { "verb": "symlink", "target": "a", "path": "/tmp/m" },
        write("/tmp/a", 2),
        { "verb": "rename", "path": "/tmp/a", "to": "/tmp/d/a" },
        { "verb": "remove", "path": "/tmp/l" },
        write("/tmp/b", 1),
        write("/tmp/c", 1),
    ]);
    let results = run(&served, "a", &operations);
    let done = &Value::Null;
    let expected = [
        done, done, done, &full, &full, &full, &full, done, done, done, done, &full,
    ];
    assert_eq!(results.iter().collect::<Vec<_>>(), expected);
    let served = Served::with_env(guests::FILES, &[("ORLOP_LIMIT_TMP_ENTRIES", "4")]);
    assert!(!run(&served, "raised", &operations).contains(&json!({ "error": "NotFound" })));
}

#[test]
fn files_of_wasi_0_3_are_limited_to_the_byte_too() {
    let served = Served::with_env(guests::FILES_03, &[("ORLOP_LIMIT_TMP", "1000")]);
    let write = |path: &str, length: usize| json!({ "verb": "write", "path": path, "length": length });
    for (length, is_within) in [(999, true), (1000, true), (1001, false)] {
        let results = run(&served, &format!("{length}"), &json!([write("a", length)]));
        assert_eq!(results[0].is_null(), is_within, "{length}: {results:?}");
    }
    let operations = json!([
        write("a", 600),
        write("b", 400),
        { "verb": "append", "path": "b", "length": 1 },
        { "verb": "set-size", "path": "b", "length": 401 },
        { "verb": "remove", "path": "a" },
        { "verb": "append", "path": "b", "length": 1 },
        { "verb": "set-size", "path": "b", "length": 1000 },
        { "verb": "set-size", "path": "b", "length": 1001 },
        write("c", 1),
        { "verb": "size", "path": "b" },
    ]);
    let results = run(&served, "both", &operations);
    let is_full = |result: &Value| {
        result["error"]
            .as_str()
            .is_some_and(|error| error.contains("InsufficientSpace"))
    };
    let expected = [false, false, true, true, false, false, false, true, true, false];
    assert_eq!(results.iter().map(is_full).collect::<Vec<_>>(), expected, "{results:?}");
    assert_eq!(results[9], 1000);
}

#[test]
fn entries_of_wasi_0_3_are_limited_too() {
    let served = Served::with_env(guests::FILES_03, &[("ORLOP_LIMIT_TMP_ENTRIES", "3")]);
    let operations = json!([
        { "verb": "write", "path": "a", "length": 1 },
        { "verb": "make-directory", "path": "d" },
        { "verb": "symlink", "target": "a", "path": "l" },
        { "verb": "write", "path": "b", "length": 1 },
        { "verb": "make-directory", "path": "e" },
        { "verb": "hard-link", "target": "a", "path": "h" },
        { "verb": "symlink", "target": "a", "path": "m" },
        { "verb": "write", "path": "a", "length": 2 },
        { "verb": "remove", "path": "l" },
        { "verb": "write", "path": "b", "length": 1 },
        { "verb": "write", "path": "c", "length": 1 },
    ]);
    let results = run(&served, "a", &operations);
    let is_done = results.iter().map(Value::is_null).collect::<Vec<_>>();
    let expected = [true, true, true, false, false, false, false, true, true, true, false];
    assert_eq!(is_done, expected, "{results:?}");
}
