//! Compiling is a jail: what a component can make the compiler do ends at limits that have names.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use orlop_tests::{Event, FakeRuntimeApi, Host, Process, Signal, TaskRoot, guests, orlop, text};

use crate::END;

/// A small component that costs the compiler much time and memory: every variable may change in every loop, and the loops
/// lie in each other.
fn bomb(loops: usize, variables: usize) -> Vec<u8> {
    let mut body = String::new();
    for index in 0..loops {
        let (to, from) = (index % variables, (index * 7 + 1) % variables);
        let _ = write!(
            body,
            "(loop (br_if 0 (local.get {from})) (local.set {to} (i32.add (local.get {from}) (local.get {to})))"
        );
    }
    body.push_str(&")".repeat(loops));
    let locals = "i32 ".repeat(variables);
    let module = format!("(func (export \"f\") (local {locals}) {body})");
    component(&module)
}

fn component(module: &str) -> Vec<u8> {
    wat::parse_str(format!("(component (core module {module}))")).unwrap()
}

fn folder_with(component: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bomb.wasm"), component).unwrap();
    folder
}

/// Runs `orlop compile` on the folder's only component.
fn compile(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(orlop())
        .arg("compile")
        .arg(folder.join("bomb.wasm"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs it where it has to fail, and returns what is said in two lines.
fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = compile(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        matches!(lines.as_slice(), [error, help] if error.starts_with("error: ") && help.starts_with("help: ")),
        "{said}"
    );
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["bomb.wasm"], "nothing half-written stays behind");
    said
}

#[test]
fn a_component_that_takes_long_to_compile_is_given_up_with_the_limit_and_how_to_raise_it() {
    let folder = folder_with(&bomb(2_000, 2_000));
    let begun = Instant::now();
    let said = refusal(folder.path(), &["--compile-time", "500ms"]);
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    for expected in ["takes longer than 500ms", "ORLOP_LIMIT_COMPILE_TIME", "--compile-time"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_component_that_takes_much_memory_to_compile_is_given_up_with_the_limit_and_how_to_raise_it() {
    let folder = folder_with(&bomb(4_000, 4_000));
    let said = refusal(folder.path(), &["--compile-memory", "128MiB"]);
    for expected in [
        "takes more than 128.0 MiB of memory",
        "ORLOP_LIMIT_COMPILE_MEMORY",
        "--compile-memory",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let folder = folder_with(&fs::read(guests::ECHO.path()).unwrap());
    assert!(refusal(folder.path(), &["--compile-memory", "4MiB"]).contains("takes more than 4.0 MiB of memory"));
    let output = compile(folder.path(), &["--compile-memory", "64MiB"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_component_of_just_the_largest_size_is_compiled_and_one_byte_more_is_refused() {
    let small = component("");
    let folder = folder_with(&small);
    for within in [small.len(), small.len() + 1] {
        let limit = within.to_string();
        assert!(compile(folder.path(), &["--component-size", &limit]).status.success());
        fs::remove_file(folder.path().join("bomb.cwasm")).unwrap();
    }
    let below = (small.len() - 1).to_string();
    let said = refusal(folder.path(), &["--component-size", &below]);
    for expected in ["the limit for components", "ORLOP_LIMIT_COMPONENT", "--component-size"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn the_limits_can_be_set_by_variables_and_flags_come_first() {
    let folder = folder_with(&component(""));
    let compile = |variable: &str, value: &str, arguments: &[&str]| {
        let mut command = Command::new(orlop());
        command
            .arg("compile")
            .arg(folder.path().join("bomb.wasm"))
            .args(arguments);
        let output = command.env(variable, value).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (succeeded, said) = compile("ORLOP_LIMIT_COMPONENT", "5", &[]);
    assert!(!succeeded && said.contains("larger than 5 B"), "{said}");
    let (succeeded, said) = compile("ORLOP_LIMIT_COMPONENT", "5", &["--component-size", "1MiB"]);
    assert!(succeeded, "{said}");
    let (succeeded, said) = compile("ORLOP_LIMIT_COMPILE_MEMORY", "much", &[]);
    assert!(
        !succeeded && said.contains("ORLOP_LIMIT_COMPILE_MEMORY") && said.contains("64MiB"),
        "{said}"
    );
}

#[test]
fn deep_nesting_and_many_functions_are_compiled_or_refused_but_never_end_the_tool() {
    let deep = 30_000;
    let nested = format!("(func {}{})", "(block ".repeat(deep), ")".repeat(deep));
    let many = "(func (result i32) i32.const 7)".repeat(10_000);
    for module in [nested, many] {
        let folder = folder_with(&component(&module));
        let output = compile(folder.path(), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut types = "(type $t0 (list u8))".to_owned();
    for depth in 1..=150 {
        let _ = write!(types, "(type $t{depth} (list $t{}))", depth - 1);
    }
    let instances = "(core instance (instantiate $m))".repeat(10_001);
    for text in [
        format!("(component {types})"),
        format!("(component (core module $m) {instances})"),
    ] {
        let folder = folder_with(&wat::parse_str(text).unwrap());
        assert!(refusal(folder.path(), &[]).contains("cannot compile"));
    }
}

#[test]
fn a_bomb_at_init_is_an_init_error_that_names_the_limit() {
    let task_root = TaskRoot::new().with_content("bomb.wasm", bomb(2_000, 2_000));
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda)
        .task_root(&task_root)
        .env("ORLOP_LIMIT_COMPILE_TIME", "500ms")
        .start();
    let report = lambda.wait_for_init_error().json();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("takes longer than 500ms") && message.contains("ORLOP_LIMIT_COMPILE_TIME"),
        "{message}"
    );
}

#[test]
fn a_bomb_beside_other_functions_fails_its_own_events_only() {
    let manifest = "[functions.echo]\n[functions.bomb]\n[[routes]]\nsource = 'aws.events'\nfunction = 'echo'\n\
        [[routes]]\nsource = 'test'\nfunction = 'bomb'\n";
    let task_root = TaskRoot::new()
        .with("echo.wasm", guests::ECHO)
        .with_content("bomb.wasm", bomb(4_000, 4_000))
        .with_content("orlop.toml", manifest);
    let lambda = FakeRuntimeApi::start();
    let host = Host::orlop(&lambda)
        .task_root(&task_root)
        .env("ORLOP_LIMIT_COMPILE_MEMORY", "128MiB")
        .start();
    let event = r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;
    lambda.send(Event::new("a", event));
    assert_eq!(lambda.wait_for_answer("a").body, event.as_bytes());
    let line = host.wait_for_log(|line| line.contains("the function cannot be used"));
    assert!(line.contains("takes more than 128.0 MiB of memory"), "{line}");
}

/// A process that compiles for a long time, and the process that does the work for it.
fn compiling(folder: &Path) -> (Process, i32) {
    let mut command = Command::new(orlop());
    command
        .arg("compile")
        .arg(folder.join("bomb.wasm"))
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let tool = Process::start(command);
    let child = shut_in(&tool);
    (tool, child)
}

/// The process that compiles for this one, once it is shut in.
pub(crate) fn shut_in(tool: &Process) -> i32 {
    let children = format!("/proc/{0}/task/{0}/children", tool.pid());
    let child = wait_for(|| {
        fs::read_to_string(&children)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    // It is shut in before it reads the component.
    wait_for(|| limit(child, "Max open files").filter(|limit| limit == "3"));
    child
}

/// That a process has what the compiler has, and no more.
#[track_caller]
pub(crate) fn assert_is_shut_in(child: i32) {
    let environment = fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
    let names: Vec<&str> = environment
        .split_terminator('\0')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["RAYON_NUM_THREADS"]);
    assert_eq!(limit(child, "Max data size").unwrap(), (2_u64 << 30).to_string());
    assert_eq!(limit(child, "Max file size").unwrap(), "0");
    assert_eq!(limit(child, "Max core file size").unwrap(), "0");
}

fn limit(pid: i32, name: &str) -> Option<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + orlop_tests::process::PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_compiles_has_no_environment_no_files_and_its_limits() {
    let folder = folder_with(&bomb(2_000, 2_000));
    let (_tool, child) = compiling(folder.path());
    assert_is_shut_in(child);
}

#[test]
fn what_compiles_ends_with_the_tool_even_if_that_is_killed() {
    let folder = folder_with(&bomb(2_000, 2_000));
    let (tool, child) = compiling(folder.path());
    tool.signal(Signal::KILL);
    tool.wait_for_exit(END);
    wait_for(|| (!is_running(child)).then_some(()));
}

/// Whether it is there, and not only waits for somebody to ask how it ended.
fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
