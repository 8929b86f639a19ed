//! What is to fail before the first event: one report, one line of the log, one exit; and beside others, at nobody's cost but
//! its own.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use orlop_tests::handwritten::{handler, module};
use orlop_tests::{Event, FakeRuntimeApi, Host, Served, TaskRoot, guests, text};

use crate::END;

/// A component that cannot be used, and what Lambda hears of it.
struct Case {
    /// The number in the threat model, and what tells it from others of the same number.
    id: &'static str,
    /// The rest of the sentence "a component that …".
    does: &'static str,
    make: fn() -> Vec<u8>,
    error_type: &'static str,
    /// A part of the message.
    says: &'static str,
}

const INVALID: &str = "Runtime.InvalidComponent";

/// What a process that cannot start may take from its start to its end, besides compiling.
const SOON: Duration = Duration::from_secs(5);

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { id: "G02", does: "calls its own tail forever", make: tail_call, error_type: INVALID, says: "tail calls" },
    Case { id: "G04", does: "traps in its start function", make: start_trap, error_type: "Runtime.GuestTrap", says: "unreachable" },
    Case { id: "G08", does: "declares 4 GiB of memory", make: much_memory, error_type: "Runtime.OutOfMemory", says: "ORLOP_LIMIT_MEMORY" },
    Case { id: "G09", does: "has a memory of 64 bits", make: memory64, error_type: INVALID, says: "memory64" },
    Case { id: "G10", does: "declares ten million table entries", make: much_table, error_type: INVALID, says: "ORLOP_LIMIT_TABLE_ENTRIES" },
    Case { id: "G16", does: "throws exceptions", make: exceptions, error_type: INVALID, says: "exceptions" },
    Case { id: "G21-150", does: "nests types 150 deep", make: || beside(nested_types(150)), error_type: INVALID, says: "nesting is too deep" },
    Case { id: "G21-20000", does: "nests types 20,000 deep", make: || beside(nested_types(20_000)), error_type: INVALID, says: "nesting is too deep" },
    Case { id: "G22", does: "has 10,000 flags in one type", make: || beside(many_flags()), error_type: INVALID, says: "flag names" },
    Case { id: "G49", does: "imports what nobody offers", make: || importing("test:database/store@1.0.0"), error_type: INVALID, says: "test:database/store@1.0.0" },
    Case { id: "G50", does: "imports clocks of the far future", make: || importing("wasi:clocks/monotonic-clock@9.9.9"), error_type: INVALID, says: "WASI 0.2 and 0.3" },
    Case { id: "G51-module", does: "is a core module", make: core_module, error_type: INVALID, says: "core module" },
    Case { id: "G51-export", does: "exports no handler", make: no_handler, error_type: INVALID, says: "it exports none of" },
    Case { id: "G51-signature", does: "exports a handler of another type", make: other_handler, error_type: INVALID, says: "another type" },
    Case { id: "G52-empty", does: "is empty", make: Vec::new, error_type: INVALID, says: "it is empty" },
    Case { id: "G52-header", does: "ends after its header", make: || handler("", "unreachable")[..8].to_vec(), error_type: INVALID, says: "it exports none of" },
    Case { id: "G52-page", does: "is a page of a web server", make: || b"<!doctype html><title>404</title>".to_vec(), error_type: INVALID, says: "does not begin as WebAssembly does" },
    Case { id: "G52-machine", does: "is machine code", make: || b"\x7fELF\x02\x01\x01\0".to_vec(), error_type: INVALID, says: "it is machine code" },
    Case { id: "G52-text", does: "is text", make: || b"(component)".to_vec(), error_type: INVALID, says: "does not begin as WebAssembly does" },
    Case { id: "G52-cut", does: "is cut off", make: cut_off, error_type: INVALID, says: "" },
    Case { id: "G53-padded", does: "has 200 MB of nothing in it", make: || padded(200_000_000), error_type: INVALID, says: "larger than" },
    Case { id: "G53-instances", does: "makes 10,001 instances", make: || instances(10_001), error_type: INVALID, says: "" },
    Case { id: "G53-65", does: "makes one instance too many", make: || instances(65), error_type: INVALID, says: "ORLOP_LIMIT_INSTANCES" },
    Case { id: "G56-artifact", does: "is an artifact under another name", make: artifact, error_type: INVALID, says: "it is machine code" },
    Case { id: "G59", does: "makes structures for a garbage collector", make: garbage, error_type: INVALID, says: "gc" },
    Case { id: "G60", does: "shares memory with other threads", make: threads, error_type: INVALID, says: "threads" },
];

fn tail_call() -> Vec<u8> {
    handler("(func $again (result i32) (return_call $again))", "(call $again)")
}

fn start_trap() -> Vec<u8> {
    handler("(func $start unreachable) (start $start)", "(call $answer)")
}

/// A handler in a module with that memory.
fn with_memory(memory: &str) -> Vec<u8> {
    module(&format!(
        r#"(module
            {memory}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "orlop:function/handler@0.1.0#handle") (param i32) (result i32) (i32.const 16)))"#
    ))
}

fn much_memory() -> Vec<u8> {
    with_memory(r#"(memory (export "memory") 65536)"#)
}

/// Beside the component's own code: what its module has could not be lifted.
fn memory64() -> Vec<u8> {
    with_module("(module (memory i64 1))")
}

fn much_table() -> Vec<u8> {
    handler("(table 10000000 funcref)", "(call $answer)")
}

fn exceptions() -> Vec<u8> {
    with_module("(module (tag $oops) (func (throw $oops)))")
}

fn garbage() -> Vec<u8> {
    with_module(
        "(module (type $bomb (array (mut i64)))
            (func (drop (array.new $bomb (i64.const 0) (i32.const 500000000)))))",
    )
}

fn threads() -> Vec<u8> {
    with_module(
        "(module (memory 1 1 shared)
            (func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))",
    )
}

/// A good component that contains another one.
fn beside(component: Vec<u8>) -> Vec<u8> {
    const COMPONENT_SECTION: u8 = 4;
    with_section(handler("", "(call $answer)"), COMPONENT_SECTION, &component)
}

/// A good component that contains that module, too.
fn with_module(text: &str) -> Vec<u8> {
    const CORE_MODULE_SECTION: u8 = 1;
    let inner = wat::parse_str(text).unwrap();
    with_section(handler("", "(call $answer)"), CORE_MODULE_SECTION, &inner)
}

fn with_section(mut component: Vec<u8>, id: u8, content: &[u8]) -> Vec<u8> {
    component.push(id);
    let mut length = content.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        component.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    component.extend(content);
    component
}

fn padded(bytes: usize) -> Vec<u8> {
    const CUSTOM_SECTION: u8 = 0;
    // The name of the section is empty.
    with_section(handler("", "(call $answer)"), CUSTOM_SECTION, &vec![0; bytes])
}

fn component(items: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {items})")).unwrap()
}

fn nested_types(depth: usize) -> Vec<u8> {
    let types = (1..depth).fold(String::from("(type (list u8))"), |mut types, index| {
        write!(types, "(type (list {}))", index - 1).unwrap();
        types
    });
    component(&types)
}

fn many_flags() -> Vec<u8> {
    let names = (0..10_000).fold(String::new(), |mut names, index| {
        write!(names, "\"f{index}\" ").unwrap();
        names
    });
    component(&format!("(type (flags {names}))"))
}

fn many_fields() -> Vec<u8> {
    let fields = (0..5_000).fold(String::new(), |mut fields, index| {
        write!(fields, "(field \"f{index}\" u32) ").unwrap();
        fields
    });
    component(&format!("(type (record {fields}))"))
}

fn many_functions() -> Vec<u8> {
    let functions = "(func (result i32) (i32.const 1))".repeat(10_000);
    with_module(&format!("(module {functions})"))
}

/// An otherwise useless component whose only export is an interface with one function that takes and returns nothing.
fn exporting(items: &str, function: &str, interface: &str) -> Vec<u8> {
    component(&format!(
        r#"{items}
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $interface (export "{function}" (func $f)))
        (export "{interface}" (instance $interface))"#
    ))
}

fn importing(interface: &str) -> Vec<u8> {
    exporting(
        &format!(r#"(import "{interface}" (instance $store (export "get" (func))))"#),
        "handle",
        "orlop:function/handler@0.1.0",
    )
}

fn no_handler() -> Vec<u8> {
    exporting("", "run", "test:other/program@1.0.0")
}

fn other_handler() -> Vec<u8> {
    exporting("", "handle", "orlop:function/handler@0.1.0")
}

fn instances(count: usize) -> Vec<u8> {
    exporting(
        &format!(
            "(core module $empty) {}",
            "(core instance (instantiate $empty))".repeat(count)
        ),
        "handle",
        "orlop:function/handler@0.1.0",
    )
}

fn core_module() -> Vec<u8> {
    wat::parse_str("(module)").unwrap()
}

fn cut_off() -> Vec<u8> {
    let whole = std::fs::read(guests::ECHO.path()).unwrap();
    whole[..whole.len() / 2].to_vec()
}

fn artifact() -> Vec<u8> {
    std::fs::read(orlop_tests::compile(guests::ECHO.path())).unwrap()
}

#[test]
fn a_component_that_cannot_be_used_is_reported_once_and_ends_the_process_soon() {
    let complaints = CASES.iter().filter_map(complaint).collect::<Vec<_>>();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with how a process ends that is to serve that component, if anything is.
fn complaint(case: &Case) -> Option<String> {
    let Case {
        id,
        does,
        make,
        error_type,
        says,
    } = case;
    let task_root = TaskRoot::new().with_content("odd.wasm", make());
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda).task_root(&task_root).function(128);
    let began = Instant::now();
    let host = host.start();
    let report = lambda.wait_for_init_error().json();
    let code = host.wait_for_exit(END).code();
    let took = began.elapsed();
    let message = text(&report, "errorMessage");
    let is_right = text(&report, "errorType") == *error_type && message.contains(says) && message.len() <= 4096;
    let fatal = host.log().iter().filter(|line| line.contains("\tFATAL\t")).count();
    let is_over = code == Some(1) && took < SOON && lambda.requests().len() == 1 && fatal == 1;
    (!is_right || !is_over).then(|| {
        format!(
            "{id}: a component that {does} took {took:?}, gave {report}, ended with {code:?}: {:?}",
            host.log()
        )
    })
}

#[test]
fn an_artifact_that_is_a_component_is_refused() {
    let task_root = TaskRoot::new().with("odd.cwasm", guests::ECHO);
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda).task_root(&task_root).start();
    let report = lambda.wait_for_init_error().json();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert_eq!(text(&report, "errorType"), INVALID);
}

#[test]
fn start_up_code_that_never_ends_is_given_up_after_the_init_timeout() {
    let start = "(func $start (loop $again (br $again)))";
    for (id, items) in [
        ("G03", format!("{start} (start $start)")),
        ("G05", format!("{start} (export \"_initialize\" (func $start))")),
    ] {
        let task_root = TaskRoot::new().with_content("endless.wasm", handler(&items, "(call $answer)"));
        let lambda = FakeRuntimeApi::start();
        let host = Host::orlop(&lambda)
            .task_root(&task_root)
            .env("ORLOP_INIT_TIMEOUT", "1s")
            .start();
        let report = lambda.wait_for_init_error().json();
        assert_eq!(text(&report, "errorType"), "Runtime.DeadlineExceeded", "{id}: {report}");
        assert_eq!(host.wait_for_exit(END).code(), Some(1), "{id}");
    }
}

#[test]
fn components_that_cannot_be_used_do_not_take_the_good_one_down() {
    // Those that compile for long, or that are long, have been seen to fail alone.
    let cases = || CASES.iter().filter(|case| !case.id.starts_with("G53"));
    let mut task_root = TaskRoot::new().with("echo.wasm", guests::ECHO);
    let mut routes = String::from("routes = [");
    let mut functions = String::from("[functions.echo]\n");
    for case in cases() {
        task_root = task_root.with_content(&format!("{}.wasm", case.id), (case.make)());
        write!(routes, "{{ source = '{0}', function = '{0}' }}, ", case.id).unwrap();
        writeln!(functions, "[functions.{}]", case.id).unwrap();
    }
    let manifest = format!("{routes}{{ function = 'echo' }}]\n{functions}");
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda);
    let served = Served::by(host, lambda, task_root.with_content("orlop.toml", manifest), None, &[]);
    for case in cases() {
        let event = crate::cases::addressed(case.id, &serde_json::json!({})).to_string();
        let report = served.failure(case.id, event);
        assert_eq!(text(&report, "errorType"), case.error_type, "{}", case.id);
    }
    assert_eq!(served.answer("good", "1"), 1);
    let ready = served.host.wait_for_log(|line| line.contains("\tready "));
    assert!(ready.contains(&format!("broken={}", cases().count())), "{ready}");
}

#[test]
fn large_and_odd_components_that_are_valid_are_served() {
    for (id, component) in [
        ("G21-99", beside(nested_types(99))),
        ("G22-record", beside(many_fields())),
        ("G53-functions", many_functions()),
        ("G53-100MB", padded(100_000_000)),
    ] {
        let task_root = TaskRoot::new().with_content("odd.wasm", component);
        let lambda = FakeRuntimeApi::start();
        let _host = Host::orlop(&lambda).task_root(&task_root).function(128).start();
        lambda.send(Event::new(id, "1").due_in(Duration::from_secs(60)));
        let answer = lambda.wait_for_answer(id);
        assert!(!answer.is_error && answer.body == b"1", "{id}: {}", answer.text());
    }
}
