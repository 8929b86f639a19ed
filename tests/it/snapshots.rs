//! Snapshots: `init` runs when a component is built, every sandbox starts from what it leaves, and nothing of the build is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use orlop_tests::stock::stock_run;
use orlop_tests::{Event, FakeRuntimeApi, Process, TaskRoot, guests, orlop};
use tempfile::TempDir;

use crate::Served;
use crate::compiling::{assert_is_shut_in, shut_in};

/// What stands in the guest where its `init` looks.
const WORD: &str = "init does:nothing         ";

/// What is said behind `build` to get a snapshot in the folder `task`.
const SNAPSHOT: &[&str] = &["prepared.wasm", "--snapshot", "-o", "task"];

/// A folder with the guest whose `init` does that.
struct Desk(TempDir);

impl Desk {
    fn new(word: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let component = fs::read(guests::PREPARED.path()).unwrap();
        let places: Vec<usize> = component
            .windows(WORD.len())
            .enumerate()
            .filter_map(|(place, bytes)| (bytes == WORD.as_bytes()).then_some(place))
            .collect();
        let [place] = places[..] else {
            panic!("the word stands in {places:?}")
        };
        let word = format!("init does:{word:<16}");
        assert_eq!(word.len(), WORD.len());
        let component = [&component[..place], word.as_bytes(), &component[place + word.len()..]].concat();
        fs::write(folder.path().join("prepared.wasm"), component).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(orlop());
        command.current_dir(&self.0).arg("build").args(arguments);
        command
    }

    fn build(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Builds a snapshot into the folder `task`.
    fn snapshot(&self) -> Output {
        self.build(SNAPSHOT)
    }

    /// What the build ends with.
    #[track_caller]
    fn refusal(&self) -> String {
        let output = self.snapshot();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(!self.path("task/prepared.cwasm").exists());
        stderr(&output)
    }

    /// A process that serves the snapshot.
    fn served(&self, variables: &[(&str, &str)]) -> Served {
        let output = self.snapshot();
        assert!(output.status.success(), "{}", stderr(&output));
        let task_root = TaskRoot::new().with("prepared.cwasm", self.path("task/prepared.cwasm"));
        Served::in_task_root(FakeRuntimeApi::start(), task_root, "prepared", variables)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(served: &Served, id: &str, question: &str) -> String {
    let answer = served.answer(id, format!("\"{question}\""));
    answer.as_str().unwrap().to_owned()
}

#[test]
fn every_sandbox_starts_where_init_had_come_to_and_sees_nothing_of_the_event_before() {
    let served = Desk::new("nothing").served(&[]);
    for id in ["a", "b", "c"] {
        assert_eq!(text(&served, id, "count"), "101");
    }
    served.host.wait_for_log(|line| line.contains("isolation=event"));
}

#[test]
fn a_snapshot_is_kept_from_event_to_event_where_the_deployment_says_so() {
    let served = Desk::new("nothing").served(&[("ORLOP_ISOLATION", "environment")]);
    for (id, count) in [("a", "101"), ("b", "102")] {
        assert_eq!(text(&served, id, "count"), count);
    }
}

#[test]
fn a_sandbox_that_starts_from_a_snapshot_has_its_own_variables_seeds_files_and_streams() {
    let served = Desk::new("nothing").served(&[("GREETING", "ahoy")]);
    assert_eq!(text(&served, "variable", "variable"), "ahoy");
    assert_ne!(text(&served, "one", "seed"), text(&served, "other", "seed"));
    assert_eq!(text(&served, "file", "file"), "written");
    text(&served, "print", "print");
    served.host.wait_for_log(|line| line.contains("printed by the handler"));
}

#[test]
fn the_snapshot_is_a_component_that_the_stock_wasmtime_runs_and_its_init_is_not_run_again() {
    let desk = Desk::new("nothing");
    assert!(desk.snapshot().status.success());
    let output = stock_run(desk.path("task/prepared.wasm"), &[], b"\"count\"", &[]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "\"101\"",
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_not_the_same_in_every_sandbox_ends_the_build_by_name() {
    for (word, interface, advice) in [
        ("hash-map", "`insecure-seed` of wasi:random/insecure-seed", "BTreeMap"),
        ("random", "`get-random-bytes` of wasi:random/random", "in the handler"),
        (
            "insecure",
            "`get-insecure-random-bytes` of wasi:random/insecure",
            "in the handler",
        ),
        ("instant", "`now` of wasi:clocks/monotonic-clock", "in the handler"),
        ("system-time", "`now` of wasi:clocks/wall-clock", "in the handler"),
        ("sleep", "of wasi:clocks/monotonic-clock", "in the handler"),
        (
            "variable",
            "`get-environment` of wasi:cli/environment",
            "in the handler",
        ),
        ("arguments", "`get-arguments` of wasi:cli/environment", "in the handler"),
        (
            "file",
            "`get-directories` of wasi:filesystem/preopens",
            "include_bytes!",
        ),
        ("tcp", "of wasi:sockets/", "no network"),
        ("name", "of wasi:sockets/", "no network"),
        ("http", "`handle` of wasi:http/outgoing-handler", "no network"),
    ] {
        let refusal = Desk::new(word).refusal();
        assert!(
            refusal.contains(interface) && refusal.contains(advice),
            "{word}: {refusal}"
        );
    }
    let refusal = Desk::new("hash-map").refusal();
    assert!(refusal.contains(" in prepared::prepare: "), "{refusal}");
}

#[test]
fn an_open_stream_ends_the_build() {
    for word in ["print", "hold"] {
        let refusal = Desk::new(word).refusal();
        assert!(refusal.contains("leaves a stream"), "{word}: {refusal}");
    }
}

#[test]
fn an_init_that_fails_fails_the_build_with_its_message() {
    for (word, message) in [
        ("fail", "its `init` failed with NotReady: told to fail"),
        ("panic", "told to panic"),
        ("exit", "exited with status"),
    ] {
        let refusal = Desk::new(word).refusal();
        assert!(refusal.contains(message), "{word}: {refusal}");
    }
}

#[test]
fn init_runs_where_components_are_compiled_with_the_same_limits() {
    let desk = Desk::new("nothing");
    let output = desk.build(&[SNAPSHOT, &["--compile-memory", "8MiB"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for expected in [
        "cannot take a snapshot of ",
        "takes more than 8.0 MiB of memory",
        "--compile-memory",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let desk = Desk::new("spin");
    let mut command = desk.command(SNAPSHOT);
    command.env("AWS_SECRET_ACCESS_KEY", "secret");
    let tool = Process::start(command);
    assert_is_shut_in(shut_in(&tool));
}

#[test]
fn an_init_that_never_returns_is_given_up_with_the_limit_and_how_to_raise_it() {
    let desk = Desk::new("spin");
    let by_flag = desk.build(&[SNAPSHOT, &["--snapshot-time", "300ms"]].concat());
    let mut command = desk.command(SNAPSHOT);
    let by_variable = command.env("ORLOP_LIMIT_SNAPSHOT_TIME", "300ms").output().unwrap();
    for output in [by_flag, by_variable] {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!desk.path("task/prepared.cwasm").exists());
        for expected in [
            "its `init` was still running after 300ms",
            "raise ORLOP_LIMIT_SNAPSHOT_TIME",
            "help: a trusted component gets more with `--snapshot-time DURATION`",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
    // One that returns does so within the limit, and the flag comes first.
    let desk = Desk::new("nothing");
    let mut command = desk.command(&[SNAPSHOT, &["--snapshot-time", "1m"]].concat());
    let output = command.env("ORLOP_LIMIT_SNAPSHOT_TIME", "1ns").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_memory_that_init_leaves_is_limited_to_the_byte() {
    let desk = Desk::new("nothing");
    let build = |bytes: u64| desk.build(&[SNAPSHOT, &["--snapshot-memory", &bytes.to_string()]].concat());
    let refusal = |output: &Output| {
        let said = stderr(output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for expected in [
            "raise ORLOP_LIMIT_SNAPSHOT_MEMORY",
            "help: a trusted component gets more with `--snapshot-memory SIZE`",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        let (_, rest) = said.split_once("its `init` takes ").unwrap();
        rest.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let taken = refusal(&build(1));
    assert_eq!(refusal(&build(taken - 1)), taken);
    let by_variable = |bytes: u64| {
        let mut command = desk.command(SNAPSHOT);
        command.env("ORLOP_LIMIT_SNAPSHOT_MEMORY", bytes.to_string());
        command.output().unwrap()
    };
    assert_eq!(refusal(&by_variable(taken - 1)), taken);
    for output in [build(taken), build(taken + 1), by_variable(taken)] {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn the_same_component_gives_the_same_snapshot_and_is_not_run_again() {
    let desk = Desk::new("nothing");
    let first = desk.snapshot();
    let snapshot = fs::read(desk.path("task/prepared.wasm")).unwrap();
    let told = stderr(&first);
    assert!(told.contains("running the init of prepared"), "{told}");
    assert!(
        told.contains("init ran in\n") && told.contains(" of memory\n"),
        "{told}"
    );
    let again = stderr(&desk.snapshot());
    assert!(!again.contains("running") && !again.contains("compiling"), "{again}");
    assert!(again.contains("unchanged, "), "{again}");
    fs::remove_dir_all(desk.path("task")).unwrap();
    desk.snapshot();
    assert!(fs::read(desk.path("task/prepared.wasm")).unwrap() == snapshot);
    // A snapshot of another component is none of this one.
    fs::copy(Desk::new("fail").path("prepared.wasm"), desk.path("prepared.wasm")).unwrap();
    assert!(stderr(&desk.snapshot()).contains("NotReady"));
}

#[test]
fn a_snapshot_never_takes_the_place_of_its_component_and_is_its_own_snapshot() {
    let desk = Desk::new("nothing");
    let output = desk.build(&["prepared.wasm", "--snapshot"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("-o DIR"), "{}", stderr(&output));
    desk.snapshot();
    let output = desk.build(&["task/prepared.wasm", "--snapshot", "-o", "again"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read(desk.path("again/prepared.wasm")).unwrap() == fs::read(desk.path("task/prepared.wasm")).unwrap());
}

#[test]
fn inspect_says_what_a_snapshot_was_made_of() {
    let desk = Desk::new("nothing");
    desk.snapshot();
    let inspect = |path: &Path| {
        let output = Command::new(orlop()).arg("inspect").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let report = inspect(&desk.path("task/prepared.wasm"));
    assert!(report.contains("\nsnapshot: of a component with SHA-256 "), "{report}");
    assert!(report.contains("every event gets a fresh instance"), "{report}");
    assert!(!inspect(&desk.path("prepared.wasm")).contains("\nsnapshot: "));
}

#[test]
fn the_orlop_toml_can_ask_for_a_snapshot_and_what_should_be_one_and_is_none_runs_its_init_for_every_event() {
    let desk = Desk::new("nothing");
    let manifest = "[functions.prepared]\nsnapshot = true\n";
    fs::write(desk.path("orlop.toml"), manifest).unwrap();
    let invoked = Command::new(orlop())
        .current_dir(&desk.0)
        .args(["invoke", ".", "-A", "\"count\"", "--repeat", "2"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&invoked.stdout),
        "\"101\"\n\"101\"\n",
        "{}",
        stderr(&invoked)
    );
    let task_root = TaskRoot::new()
        .with_compiled(desk.path("prepared.wasm"))
        .with_content("orlop.toml", manifest);
    let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, "prepared", &[]);
    for id in ["a", "b"] {
        assert_eq!(served.ask(Event::new(id, "\"count\"")).json(), "101");
    }
    served
        .host
        .wait_for_log(|line| line.contains("WARN") && line.contains("asks for a snapshot"));
}

#[test]
fn without_an_init_there_is_nothing_to_take_a_snapshot_of() {
    let desk = tempfile::tempdir().unwrap();
    fs::copy(guests::ECHO.path(), desk.path().join("echo.wasm")).unwrap();
    let output = Command::new(orlop())
        .current_dir(&desk)
        .args(["build", "echo.wasm", "--snapshot", "-o", "task"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("there is no `init` to run"),
        "{}",
        stderr(&output)
    );
}
