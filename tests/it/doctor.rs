//! `orlop doctor`: what is wrong, in one line each, and what to do about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use orlop_tests::{TaskRoot, compile, guests, orlop};

use crate::artifacts::stamped;

/// What it says of a folder, and its exit code.
fn doctor(folder: &Path) -> (String, Option<i32>) {
    let output = Command::new(orlop()).arg("doctor").arg(folder).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// The line about this, and the one below it.
fn lines<'a>(report: &'a str, about: &str) -> (&'a str, &'a str) {
    let mut lines = report
        .lines()
        .skip_while(|line| line.split_whitespace().nth(1) != Some(about));
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

#[test]
fn a_folder_in_order_is_no_problem() {
    let folder = TaskRoot::new()
        .with_compiled(guests::ECHO)
        .with("echo.wasm", guests::ECHO);
    let (report, code) = doctor(folder.path());
    assert_eq!(code, Some(0), "{report}");
    let (line, _) = lines(&report, "echo.cwasm");
    assert!(line.starts_with("ok ") && line.contains("runs here"), "{report}");
}

#[test]
fn the_engine_is_named_with_the_advisories_known_for_it_and_what_they_mean_here() {
    let (report, _) = doctor(TaskRoot::new().path());
    let (line, _) = lines(&report, "engine");
    assert!(line.contains("wasmtime-48.0.8+orlop-"), "{report}");
    let (line, _) = lines(&report, "GHSA-rc4p-x33f-vpr2");
    assert!(line.starts_with("ok ") && line.contains("out of reach"), "{report}");
    let (line, help) = lines(&report, "GHSA-xrvr");
    assert!(
        line.starts_with("warning ") && line.contains("component-model-async"),
        "{report}"
    );
    assert!(help.contains("orlop inspect"), "{report}");
    for about in ["processor", "kernel", "memory"] {
        assert!(!lines(&report, about).0.is_empty(), "{about}: {report}");
    }
}

#[test]
fn what_would_be_refused_or_is_out_of_date_is_a_problem_with_the_command_that_mends_it() {
    let artifact = compile(guests::ECHO);
    let folder = TaskRoot::new()
        .with("stale.cwasm", &artifact)
        .with("stale.wasm", guests::FAIL)
        .with("open.cwasm", &artifact)
        .with_content("cut.cwasm", &fs::read(&artifact).unwrap()[..1000])
        .with_content(
            "engine.cwasm",
            stamped(&artifact, "engine", "wasmtime-48.0.7+orlop-0.1.0"),
        )
        .with_content("processor.cwasm", stamped(&artifact, "cpu", "x86-64-v9"));
    fs::set_permissions(folder.path().join("open.cwasm"), fs::Permissions::from_mode(0o666)).unwrap();
    let (report, code) = doctor(folder.path());
    assert_eq!(code, Some(1), "{report}");
    for (about, problem, help) in [
        ("stale.cwasm", "made of another stale.wasm", "orlop compile"),
        ("open.cwasm", "everybody can write it", "chmod o-w"),
        ("cut.cwasm", "no stamp of Orlop's", "orlop compile"),
        ("engine.cwasm", "compiled by wasmtime-48.0.7", "orlop compile"),
        ("processor.cwasm", "processor x86-64-v9", "--cpu"),
    ] {
        let (line, below) = lines(&report, about);
        assert!(
            line.starts_with("problem ") && line.contains(problem),
            "{about}: {report}"
        );
        assert!(below.contains(help), "{about}: {report}");
    }
    assert!(
        report.ends_with("warnings\n") && report.contains("5 problems"),
        "{report}"
    );
}

#[test]
fn an_artifact_is_a_problem_where_everybody_or_a_function_can_write() {
    let exposed = TaskRoot::new().with_compiled(guests::ECHO);
    fs::set_permissions(exposed.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let shared = tempfile::tempdir_in("/tmp").unwrap();
    fs::copy(compile(guests::ECHO), shared.path().join("echo.cwasm")).unwrap();
    let manifest = "[functions.echo.grants]\ntmp = 'shared'\n";
    fs::write(shared.path().join("orlop.toml"), manifest).unwrap();
    for (folder, problem, help) in [
        (
            exposed.path(),
            "everybody can write the folder it lies in",
            format!("chmod o-w {}", exposed.path().display()),
        ),
        (
            shared.path(),
            "echo is granted the environment's own /tmp",
            "where only the deployment writes".to_owned(),
        ),
    ] {
        let (report, code) = doctor(folder);
        assert_eq!(code, Some(1), "{report}");
        let (line, below) = lines(&report, "echo.cwasm");
        assert!(line.starts_with("problem ") && line.contains(problem), "{report}");
        assert!(below.contains(&help), "{report}");
    }
}

#[test]
fn every_way_to_the_environments_own_tmp_is_seen_and_every_artifact_that_a_function_names() {
    let artifact = compile(guests::ECHO);
    for (manifest, place, function) in [
        // The handler's name need not be in the file: then the defaults are what holds.
        ("[defaults.grants]\ntmp = 'shared'\n", "echo.cwasm", Some("echo")),
        (
            "[defaults.grants]\ntmp = 'shared'\n[functions.other]\ngrants.tmp = 'private'\n",
            "echo.cwasm",
            Some("echo"),
        ),
        (
            "[defaults.grants]\ntmp = 'shared'\n[functions.echo]\n",
            "echo.cwasm",
            Some("echo"),
        ),
        (
            "[functions.orders]\ncomponent = 'below/echo'\ngrants.tmp = 'shared'\n",
            "below/echo.cwasm",
            Some("orders"),
        ),
        (
            "[functions.orders]\ncomponent = 'below/echo'\n",
            "below/echo.cwasm",
            None,
        ),
        (
            "[defaults.grants]\ntmp = 'shared'\n[functions.echo.grants]\ntmp = 'private'\n",
            "echo.cwasm",
            None,
        ),
    ] {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&artifact, &path).unwrap();
        fs::write(folder.path().join("orlop.toml"), manifest).unwrap();
        let (report, code) = doctor(folder.path());
        assert_eq!(code, Some(i32::from(function.is_some())), "{manifest}: {report}");
        let (line, _) = lines(&report, place);
        let expected = match function {
            Some(function) => format!("the function {function} is granted the environment's own /tmp"),
            None => "runs here".to_owned(),
        };
        assert!(line.contains(&expected), "{manifest}: {report}");
    }
}

#[test]
fn an_orlop_toml_that_is_not_valid_is_a_problem() {
    let folder = TaskRoot::new()
        .with_compiled(guests::ECHO)
        .with_content("orlop.toml", "[functions.echo]\nno-such-setting = 1\n");
    let (report, code) = doctor(folder.path());
    assert_eq!(code, Some(1), "{report}");
    let (line, _) = lines(&report, "orlop.toml");
    assert!(
        line.starts_with("problem ") && line.contains("no-such-setting"),
        "{report}"
    );
}

#[test]
fn without_a_toolchain_it_says_what_cannot_be_done() {
    let output = Command::new(orlop())
        .args(["doctor", "/"])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let (line, help) = lines(&report, "toolchain");
    assert!(line.starts_with("warning ") && help.contains("rustup"), "{report}");
    assert_eq!(output.status.code(), Some(0), "{report}");
}
