//! `orlop build`: what goes into an image, whole or not at all.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use orlop_tests::{examples, guests, orlop};

use crate::projects::{Desk, said};

#[test]
fn every_program_of_a_crate_becomes_a_component_and_an_artifact_beside_the_orlop_toml() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1"), ("brig", "2")]);
    desk.write("fleet/orlop.toml", "[functions.sloop]\n[functions.brig]\n");
    let built = desk.orlop(&["build", "fleet"]).done();
    assert_eq!(built.stdout, "");
    for expected in [
        "compiling brig (",
        "KiB) for ",
        "compiled in\n",
        "\nbrig ",
        "\nsloop ",
        "built target/orlop/fleet for ",
    ] {
        assert!(built.stderr.contains(expected), "{expected}: {}", built.stderr);
    }
    assert!(
        !built.stderr.contains('\u{1b}'),
        "no escapes where there is no terminal: {}",
        built.stderr
    );
    assert_eq!(
        desk.files_in("target/orlop/fleet"),
        ["brig.cwasm", "brig.wasm", "orlop.toml", "sloop.cwasm", "sloop.wasm"]
    );
    // Lambda's user is another one.
    let mode = fs::metadata(desk.path("target/orlop/fleet/brig.cwasm"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    let said = desk
        .orlop(&["invoke", "target/orlop/fleet", "--function", "brig"])
        .done();
    assert_eq!(said.stdout, "2\n");
}

#[test]
fn what_has_not_changed_is_not_compiled_again() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1"), ("brig", "2")]);
    desk.orlop(&["build", "fleet"]).done();
    let file = |name: &str| {
        let metadata = fs::metadata(desk.path("target/orlop/fleet").join(name)).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    };
    let before = [file("sloop.cwasm"), file("brig.cwasm"), file("brig.wasm")];
    let again = desk.orlop(&["build", "fleet"]).done();
    assert!(!again.stderr.contains("compiling"), "{}", again.stderr);
    assert_eq!(again.stderr.matches("unchanged\n").count(), 2, "{}", again.stderr);
    assert_eq!([file("sloop.cwasm"), file("brig.cwasm"), file("brig.wasm")], before);

    desk.crate_with("fleet", &[("sloop", "3")]);
    let changed = desk.orlop(&["build", "fleet"]).done();
    assert!(changed.stderr.contains("compiling sloop"), "{}", changed.stderr);
    assert_eq!(changed.stderr.matches("unchanged\n").count(), 1, "{}", changed.stderr);
    assert_eq!(file("brig.cwasm"), before[1]);
    assert_ne!(file("sloop.cwasm"), before[0]);

    // An artifact that is not whole is no reason to leave it so.
    let artifact = desk.path("target/orlop/fleet/brig.cwasm");
    let whole = fs::read(&artifact).unwrap();
    fs::write(&artifact, &whole[..whole.len() / 2]).unwrap();
    let mended = desk.orlop(&["build", "fleet"]).done();
    assert!(mended.stderr.contains("compiling brig"), "{}", mended.stderr);
    assert!(fs::read(&artifact).unwrap() == whole);
}

#[test]
fn a_program_that_is_gone_is_gone_from_the_result() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1"), ("brig", "2")]);
    desk.write("fleet/orlop.toml", "[functions.sloop]\n");
    desk.orlop(&["build", "fleet"]).done();
    fs::remove_file(desk.path("fleet/src/bin/brig.rs")).unwrap();
    fs::remove_file(desk.path("fleet/orlop.toml")).unwrap();
    desk.orlop(&["build", "fleet"]).done();
    assert_eq!(desk.files_in("target/orlop/fleet"), ["sloop.cwasm", "sloop.wasm"]);
}

#[test]
fn a_function_of_the_orlop_toml_that_has_no_component_is_pointed_out() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1")]);
    desk.write("fleet/orlop.toml", "[functions.sloop]\n[functions.slope]\n");
    let said = desk.orlop(&["build", "fleet"]).done();
    let warnings: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(
        warnings,
        ["warning: orlop.toml has a function slope, whose component is not made here"]
    );
}

#[test]
fn another_folder_is_filled_on_demand_and_nothing_of_it_is_removed() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1")]);
    desk.write("task/own.wasm", "mine");
    let said = desk.orlop_in("fleet", &["build", "-o", "../task", "--quiet"]).done();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert_eq!(desk.files_in("task"), ["own.wasm", "sloop.cwasm", "sloop.wasm"]);
    assert!(!desk.path("target/orlop").exists());
}

#[test]
fn another_processors_code_is_made_for_it() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1")]);
    let is_for = |flag: &str, value: &str, name: &str| {
        let said = desk.orlop(&["build", "fleet", flag, value]).done();
        assert!(
            said.stderr
                .contains(&format!("built target/orlop/fleet for {name} in ")),
            "{}",
            said.stderr
        );
        let artifact = fs::read(desk.path("target/orlop/fleet/sloop.cwasm")).unwrap();
        let stamp = String::from_utf8_lossy(&artifact[artifact.len() - 400..]).into_owned();
        assert!(stamp.contains(value), "{stamp}");
    };
    let (x86_64, aarch64) = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu");
    is_for("--target", aarch64, aarch64);
    is_for("--target", x86_64, x86_64);
    is_for("--cpu", "x86-64-v3", &format!("{x86_64} (x86-64-v3)"));
    is_for("--cpu", "x86-64", x86_64);
    let said = desk.orlop(&["build", "fleet", "--target", "riscv64"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("aarch64-unknown-linux-gnu"), "{}", said.stderr);
}

#[test]
fn a_component_gets_its_artifact_beside_it_or_where_one_wants_it() {
    let desk = Desk::new();
    fs::create_dir(desk.path("made")).unwrap();
    fs::copy(examples::HELLO.path(), desk.path("made/hello.wasm")).unwrap();
    fs::copy(guests::ECHO.path(), desk.path("made/echo.wasm")).unwrap();
    desk.orlop(&["build", "made/hello.wasm"]).done();
    assert_eq!(desk.files_in("made"), ["echo.wasm", "hello.cwasm", "hello.wasm"]);
    desk.orlop(&["build", "made/hello.wasm", "-o", "one"]).done();
    assert_eq!(desk.files_in("one"), ["hello.cwasm", "hello.wasm"]);
    // The whole folder, of which one is built already.
    let said = desk.orlop(&["build", "made"]).done();
    assert!(
        said.stderr.contains("compiling echo") && !said.stderr.contains("compiling hello"),
        "{}",
        said.stderr
    );
    assert_eq!(
        desk.files_in("made"),
        ["echo.cwasm", "echo.wasm", "hello.cwasm", "hello.wasm"]
    );
    let said = desk
        .orlop(&["invoke", "made", "--function", "echo", "-A", "[1]"])
        .done();
    assert_eq!(said.stdout, "[1]\n");
}

#[test]
fn crates_below_an_orlop_toml_become_one_deployment() {
    let desk = Desk::apart();
    desk.crate_with("shop/api", &[("api", "1")]);
    desk.crate_with("shop/worker", &[("worker", "2")]);
    desk.write(
        "shop/api/Cargo.toml",
        "[package]\nname = 'api'\nedition = '2024'\n[workspace]\n",
    );
    desk.write(
        "shop/worker/Cargo.toml",
        "[package]\nname = 'worker'\nedition = '2024'\n[workspace]\n",
    );
    desk.write(
        "shop/orlop.toml",
        "[functions.api]\n[functions.worker]\n[functions.ready]\ncomponent = 'more/echo'\n",
    );
    fs::create_dir(desk.path("shop/more")).unwrap();
    fs::copy(guests::ECHO.path(), desk.path("shop/more/echo.wasm")).unwrap();
    desk.orlop(&["build", "shop", "-o", "task"]).done();
    assert_eq!(
        desk.files_in("task"),
        [
            "api.cwasm",
            "api.wasm",
            "more",
            "orlop.toml",
            "worker.cwasm",
            "worker.wasm"
        ]
    );
    assert_eq!(desk.files_in("task/more"), ["echo.cwasm", "echo.wasm"]);
    let answer = |arguments: &[&str]| desk.orlop(&[&["invoke", "shop", "-A", "{}"], arguments].concat());
    assert_eq!(answer(&["--function", "worker"]).done().stdout, "2\n");
    assert_eq!(answer(&["--function", "ready"]).done().stdout, "{}\n");
    let (error, help) = answer(&[]).mistake();
    assert_eq!(error, "there are 3 functions: api, ready, worker");
    assert_eq!(help, "name one with `--function NAME`");
    let (error, help) = answer(&["--function", "hold"]).mistake();
    assert_eq!(
        (error.as_str(), help.as_str()),
        ("there is no function `hold`", "name one of api, ready, worker")
    );
}

#[test]
fn an_error_of_the_compiler_is_shown_as_it_is_and_what_was_built_stays() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1")]);
    desk.orlop(&["build", "fleet"]).done();
    let before = fs::read(desk.path("target/orlop/fleet/sloop.cwasm")).unwrap();
    desk.write("fleet/src/bin/sloop.rs", "fn main() { anchors_aweigh(); }\n");
    for arguments in [&["build", "fleet"][..], &["build", "fleet", "-q"]] {
        let said = desk.orlop(arguments);
        let (error, help) = said.mistake();
        assert!(error.ends_with("does not build for wasm32-wasip2"), "{error}");
        assert_eq!(help, "mend what cargo reports above");
        for expected in ["error[E0425]", "anchors_aweigh", "--> src/bin/sloop.rs:1:13"] {
            assert!(said.stderr.contains(expected), "{expected}: {}", said.stderr);
        }
    }
    assert!(fs::read(desk.path("target/orlop/fleet/sloop.cwasm")).unwrap() == before);
}

#[test]
fn builds_at_the_same_time_do_not_disturb_each_other() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1"), ("brig", "2")]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| desk.orlop(&["build", "fleet"]).done());
        }
    });
    assert_eq!(
        desk.files_in("target/orlop/fleet"),
        ["brig.cwasm", "brig.wasm", "sloop.cwasm", "sloop.wasm"]
    );
    let said = desk.orlop(&["build", "fleet"]).done();
    assert_eq!(
        said.stderr.matches("unchanged\n").count(),
        2,
        "all is whole: {}",
        said.stderr
    );
}

#[test]
fn an_interrupted_build_leaves_whole_artifacts_or_none_and_the_next_one_succeeds() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1"), ("brig", "2"), ("frigate", "3")]);
    for rounds in 1..=3 {
        let mut child = desk
            .command(orlop(), "", &["build", "fleet"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        // In the middle of the first, second and third component, as far as they are not done yet.
        let reached = lines.filter(|line| line.starts_with("compiling")).take(rounds).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(rounds > 1 || reached == 1);
        let folder = desk.path("target/orlop/fleet");
        for artifact in desk.files_in(&folder).iter().filter(|name| name.ends_with(".cwasm")) {
            let path = folder.join(artifact);
            desk.orlop(&["invoke", path.to_str().unwrap()]).done();
        }
    }
    desk.orlop(&["build", "fleet"]).done();
    let expected = ["brig", "frigate", "sloop"].map(|name| [format!("{name}.cwasm"), format!("{name}.wasm")]);
    assert_eq!(
        desk.files_in("target/orlop/fleet"),
        expected.concat(),
        "and no temporary file"
    );
}

/// A `rustup` that knows no WebAssembly target, and whose `target add` ends like this.
fn with_rustup(desk: &Desk, end: &str) -> std::process::Output {
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\n[ \"$2\" = list ] || {end}\n",
        desk.path("asked").display()
    );
    desk.write("bin/rustup", script);
    fs::set_permissions(desk.path("bin/rustup"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", desk.path("bin").display(), inherited_path());
    desk.command(orlop(), "", &["build", "fleet"])
        .env("PATH", path)
        .output()
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "where cargo lies is said by the environment")]
fn inherited_path() -> String {
    std::env::var("PATH").unwrap()
}

#[test]
fn a_missing_target_is_installed_and_that_is_said() {
    let desk = Desk::apart();
    desk.crate_with("fleet", &[("sloop", "1")]);
    let done = said(with_rustup(&desk, "exit 0")).done();
    assert!(
        done.stderr.starts_with("installing the Rust target wasm32-wasip2\n"),
        "{}",
        done.stderr
    );
    assert_eq!(
        fs::read_to_string(desk.path("asked")).unwrap(),
        "target list --installed\ntarget add wasm32-wasip2\n"
    );
    let (error, help) = said(with_rustup(&desk, "exit 1")).mistake();
    assert_eq!(error, "the Rust target wasm32-wasip2 could not be installed");
    assert_eq!(help, "run `rustup target add wasm32-wasip2`");
}

#[test]
fn what_cannot_be_built_is_told_with_what_can() {
    let desk = Desk::apart();
    desk.write("empty/README", "");
    desk.write("library/Cargo.toml", "[package]\nname = 'library'\n[workspace]\n");
    desk.write("library/src/lib.rs", "");
    desk.write("broken/Cargo.toml", "[package\n");
    desk.write("page.wasm", "<html>");
    desk.write("ready/hello.cwasm", "");
    desk.crate_with("unclear", &[("sloop", "1")]);
    desk.write("unclear/orlop.toml", "[functions.sloop]\nmemroy = 1\n");
    desk.write("twice/orlop.toml", "");
    desk.crate_with("twice/a", &[("sloop", "1")]);
    desk.crate_with("twice/b", &[("sloop", "2")]);
    desk.write(
        "twice/a/Cargo.toml",
        "[package]\nname = 'a'\nedition = '2024'\n[workspace]\n",
    );
    desk.write(
        "twice/b/Cargo.toml",
        "[package]\nname = 'b'\nedition = '2024'\n[workspace]\n",
    );
    for (path, expected) in [
        ("nowhere", "cannot read `nowhere`: No such file or directory"),
        ("empty", "`empty` is a folder without a Cargo.toml"),
        ("library", "has no program"),
        ("broken", "cargo cannot read"),
        ("page.wasm", "does not begin as WebAssembly does"),
        ("ready", "there is nothing to build in `ready`, only artifacts"),
        ("ready/hello.cwasm", "only artifacts"),
        ("unclear", "line 2"),
        ("twice", "two programs are called sloop"),
    ] {
        let (error, help) = desk.orlop(&["build", path]).mistake();
        assert!(error.contains(expected), "{path}: {error}");
        assert!(!help.is_empty());
    }
    desk.crate_with("fleet", &[("sloop", "1")]);
    let (error, _) = desk.orlop(&["build", "fleet", "-o", "page.wasm/task"]).mistake();
    assert!(error.starts_with("cannot write `page.wasm/task`"), "{error}");
    assert!(Path::new(&desk.path("page.wasm")).is_file());
}
