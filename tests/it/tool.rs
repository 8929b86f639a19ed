//! `orlop` as a developer uses it: what it prints, what it writes, and how it says what went wrong.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use orlop_tests::{compile, compile_with, examples, guests, orlop};
use sha2::Digest;

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(orlop())
        .args(arguments)
        .env_remove("AWS_LAMBDA_RUNTIME_API")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that is a mistake, and returns its two lines.
fn mistake(arguments: &[&str]) -> (String, String) {
    let output = run(arguments, "");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    let text = stderr(&output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("\tFATAL\t")).collect();
    let [error, help] = lines.as_slice() else {
        panic!("{arguments:?}: two lines, not {text}")
    };
    let part = |line: &str, start| line.strip_prefix(start).unwrap_or_else(|| panic!("{text}")).to_owned();
    (part(error, "error: "), part(help, "help: "))
}

#[test]
fn invoke_prints_the_answer_to_an_event_from_a_file_stdin_or_the_command_line() {
    let hello = path(examples::HELLO.path());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), r#"{"name":"file"}"#).unwrap();
    for (arguments, name) in [
        (&["invoke", hello, "-e", path(file.path())][..], "file"),
        (&["invoke", hello, "-e", "-"], "stdin"),
        (&["invoke", hello, "-A", r#"{"name":"command line"}"#], "command line"),
        (&["invoke", hello], "World"),
        (&["invoke", path(&compile(examples::HELLO)), "-e", "-"], "stdin"),
    ] {
        let output = run(arguments, r#"{"name":"stdin"}"#);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), format!("{{\"message\":\"Hello, {name}!\"}}\n"));
        assert_eq!(stderr(&output), "", "a success is quiet");
    }
}

#[test]
fn a_mistake_in_the_arguments_is_told_in_two_lines_like_any_other() {
    for (arguments, error, help) in [
        (
            &["invoke"][..],
            "required arguments were not provided: <COMPONENT>",
            "the usage is: orlop invoke",
        ),
        (&["ivoke"], "unrecognized subcommand 'ivoke'", "'invoke'"),
        (
            &["dev", "--timout", "3s"],
            "unexpected argument '--timout'",
            "'--timeout'",
        ),
        (
            &["dev", "--http", "65536"],
            "invalid value '65536' for '--http <ADDRESS>'",
            "--help",
        ),
        (
            &["dev", "--concurrency", "0"],
            "invalid value '0' for '--concurrency <N>'",
            "--help",
        ),
        (
            &["dev", ".", "--timeout", "3s", "--timeout", "4s"],
            "cannot be used multiple times",
            "orlop dev",
        ),
    ] {
        let told = mistake(arguments);
        assert!(
            told.0.contains(error) && told.1.contains(help),
            "{arguments:?}: {told:?}"
        );
    }
}

#[test]
fn invoke_builds_a_crate_folder_first() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    let output = run(&["invoke", path(&folder), "-A", "{}"], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "{\"message\":\"Hello, World!\"}\n");
}

#[test]
fn invoke_sends_several_events_in_a_row_to_one_environment() {
    let counter = path(guests::COUNTER.path());
    let output = run(&["invoke", counter, "-A", "{}", "--repeat", "3"], "");
    assert_eq!(stdout(&output), "101\n102\n103\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "1").unwrap();
    let output = run(
        &[
            "invoke",
            path(guests::ECHO.path()),
            "-e",
            path(file.path()),
            "-e",
            "-",
            "--repeat",
            "2",
        ],
        "2",
    );
    assert_eq!(stdout(&output), "1\n2\n1\n2\n");
}

#[test]
fn a_function_error_goes_to_stderr_with_exit_code_1_and_the_others_are_answered() {
    let fail = path(guests::FAIL.path());
    let failure = tempfile::NamedTempFile::new().unwrap();
    fs::write(failure.path(), r#"{"type":"OrderNotFound","message":"no order 7"}"#).unwrap();
    let output = run(&["invoke", fail, "-e", path(failure.path()), "-e", "-"], "{}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "null\n");
    assert!(
        stderr(&output).contains(r#""errorType":"OrderNotFound""#),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_overrun_and_a_trap_are_shown_as_on_lambda() {
    let output = run(
        &["invoke", path(guests::SPIN.path()), "-A", "true", "--timeout", "500ms"],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("Runtime.DeadlineExceeded"),
        "{}",
        stderr(&output)
    );
    let output = run(&["invoke", path(guests::PANIC.path()), "-A", "\"boo\""], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("boo") && stderr(&output).contains("Runtime.GuestTrap"),
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("orlop_host"), "no backtrace of the host's");
}

#[test]
fn invoke_runs_a_function_that_is_granted_the_whole_tmp() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("files.wasm");
    fs::copy(guests::FILES.path(), &component).unwrap();
    fs::write(
        folder.path().join("orlop.toml"),
        "[functions.files.grants]\ntmp = 'shared'\n",
    )
    .unwrap();
    let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    fs::write(file.path(), "of the host").unwrap();
    let event = format!(r#"[{{"verb":"read","path":"{}"}}]"#, path(file.path()));
    let output = run(&["invoke", path(&component), "-A", &event], "");
    assert_eq!(stdout(&output), "[\"of the host\"]\n", "{}", stderr(&output));
}

#[test]
fn invoke_gives_the_guest_lambdas_variables_and_the_ones_asked_for_and_no_others() {
    let mut command = Command::new(orlop());
    command
        .args([
            "invoke",
            path(guests::ENVIRONMENT.path()),
            "--env",
            "TABLE=orders",
            "--memory",
            "256",
        ])
        .env("SECRET_OF_THE_SHELL", "x")
        .env_remove("AWS_LAMBDA_RUNTIME_API");
    let output = command.output().unwrap();
    let variables: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(variables["TABLE"], "orders");
    assert_eq!(variables["AWS_LAMBDA_FUNCTION_NAME"], "environment");
    assert_eq!(variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(variables.get("SECRET_OF_THE_SHELL"), None);
}

#[test]
fn compile_writes_an_artifact_that_the_runtime_loads() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("hello.wasm");
    fs::copy(examples::HELLO.path(), &component).unwrap();
    let output = run(&["compile", path(&component)], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("hello.cwasm"), "{}", stderr(&output));
    let elsewhere = folder.path().join("other.cwasm");
    assert!(
        run(&["compile", path(&component), "-o", path(&elsewhere)], "")
            .status
            .success()
    );
    let artifact = fs::read(folder.path().join("hello.cwasm")).unwrap();
    assert!(
        artifact == fs::read(&elsewhere).unwrap(),
        "the same component gives the same artifact"
    );
    let output = run(&["invoke", path(&elsewhere)], "");
    assert_eq!(stdout(&output), "{\"message\":\"Hello, World!\"}\n");
}

#[test]
fn inspect_says_what_a_component_is_and_what_it_is_denied() {
    let output = run(&["inspect", path(guests::NETWORK.path())], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for expected in [
        "world: handler: an event is passed to its `handle`; every event gets a fresh instance",
        "features: those of stock toolchains",
        "orlop:function/handler@0.1.0",
        "wasi:cli/run@",
        "KiB",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let socket = text.lines().find(|line| line.contains("wasi:sockets/tcp@")).unwrap();
    assert!(socket.ends_with("refuses when called"), "{socket}");
    let text = stdout(&run(&["inspect", path(guests::COUNTER.path())], ""));
    assert!(text.contains("its `init` runs once"), "{text}");
}

#[test]
fn inspect_says_what_an_orlop_toml_means_and_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(guests::ECHO.path(), folder.path().join("echo.wasm")).unwrap();
    let file = folder.path().join("orlop.toml");
    let manifest = "[functions.echo]\ngrants = { tmp = \"shared\", outbound = [\"https://api.example.com\"] }\n\
                    batch = \"record\"\n[[routes]]\npath = \"/orders/{id}\"\nfunction = \"echo\"\n";
    fs::write(&file, manifest).unwrap();
    let text = stdout(&run(&["inspect", path(folder.path())], ""));
    for expected in [
        "function echo",
        "component           echo.wasm",
        "batches are         record by record",
        "may call            https://api.example.com",
        "/tmp                the environment's own",
        "1. path = \"/orders/{id}\" -> echo",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    fs::write(&file, "[functions.echo]\ntmp = \"shared\"\n").unwrap();
    let (error, help) = mistake(&["inspect", path(folder.path())]);
    assert!(error.contains("line 2: functions.echo.tmp is no key"), "{error}");
    assert!(help.contains("orlop.toml"), "{help}");
}

#[test]
fn inspect_says_for_which_processor_and_engine_an_artifact_is_and_whether_it_runs_here() {
    let ours = stdout(&run(&["inspect", path(&compile(examples::HELLO))], ""));
    let other = match cfg!(target_arch = "x86_64") {
        true => "armv8-a",
        false => "x86-64-v3",
    };
    let others = compile_with(examples::HELLO, &["--cpu", other]);
    let others = stdout(&run(&["inspect", path(&others)], ""));
    let component = fs::read(examples::HELLO.path()).unwrap();
    let made_of = sha2::Sha256::digest(component);
    let made_of: String = made_of.iter().map(|byte| format!("{byte:02x}")).collect();
    for report in [&ours, &others] {
        for expected in ["engine: wasmtime-", "features: those of stock", "KiB", &made_of] {
            assert!(report.contains(expected), "{expected}: {report}");
        }
    }
    assert!(ours.contains("here: runs\n"), "{ours}");
    for expected in [&format!("cpu: {other}\n"), "here: refused, it was compiled for "] {
        assert!(others.contains(expected), "{expected}: {others}");
    }
}

#[test]
fn a_processor_of_another_architecture_is_a_mistake() {
    let (error, help) = mistake(&[
        "compile",
        path(examples::HELLO.path()),
        "--cpu",
        "x86-64-v3",
        "--target",
        "aarch64-unknown-linux-gnu",
    ]);
    assert!(error.contains("x86-64-v3 is none of aarch64"), "{error}");
    assert!(help.contains("--cpu armv8-a"), "{help}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(orlop())
        .args(["inspect", path(guests::NETWORK.path())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn mistakes_are_one_line_of_error_and_one_of_help_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        file
    };
    let empty = file("empty.wasm", b"");
    let page = file("page.wasm", b"<html>");
    let module = file("module.wasm", &wat::parse_str("(module)").unwrap());
    let half = fs::read(guests::ECHO.path()).unwrap();
    let half = file("half.wasm", &half[..half.len() / 2]);
    let stale = file("stale.cwasm", b"stale");
    let missing = folder.path().join("missing.wasm");
    let bare = folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for (arguments, expected) in [
        (&["invoke", path(&missing)][..], "cannot read"),
        (&["invoke", path(&bare)], "without a Cargo.toml"),
        (&["invoke", path(&empty)], "it is empty"),
        (&["invoke", path(&page)], "does not begin as WebAssembly does"),
        (&["invoke", path(&module)], "core module"),
        (&["invoke", path(&half)], "cannot compile"),
        (&["invoke", path(&stale)], "no stamp"),
        (&["compile", path(&module)], "core module"),
        (
            &["compile", path(examples::HELLO.path()), "-o", "/nowhere/hello.cwasm"],
            "cannot write",
        ),
        (&["inspect", path(&half)], "no valid component"),
        (&["inspect", path(&stale)], "no stamp"),
        (
            &["invoke", path(examples::HELLO.path()), "-e", "/nowhere/event.json"],
            "cannot read the event",
        ),
        (
            &["invoke", path(guests::COUNTER.path()), "--env", "INIT=fail"],
            "told to fail",
        ),
        (
            &["invoke", path(examples::HELLO.path()), "--env", "ORLOP_ISOLATION=none"],
            "ORLOP_ISOLATION",
        ),
    ] {
        let (error, help) = mistake(arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!help.is_empty());
    }
}

#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let output = run(&["--help"], "");
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for expected in ["invoke", "compile", "inspect", "Exit codes:", "AWS_LAMBDA_RUNTIME_API"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(run(&["nonsense"], "").status.code(), Some(2));
    assert_eq!(run(&["invoke", "--nonsense"], "").status.code(), Some(2));
}
