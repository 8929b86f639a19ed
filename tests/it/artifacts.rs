//! Precompiled components: preferred, checked, and refused if they are not ours.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use orlop_tests::{Event, FakeRuntimeApi, Host, TaskRoot, bootstrap, compile, compile_with, examples, guests, orlop};

use sha2::Digest;

use crate::{END, Served, text};

/// Starts the runtime without a compiler where Init is going to fail, and returns the report.
fn refusal(task_root: &TaskRoot) -> serde_json::Value {
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda).task_root(task_root).start();
    let report = lambda.wait_for_init_error().json();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidComponent");
    report
}

/// The artifact with one field of its stamp changed, and a digest that fits.
pub(crate) fn stamped(artifact: impl AsRef<Path>, field: &str, value: impl Into<serde_json::Value>) -> Vec<u8> {
    let artifact = fs::read(artifact).unwrap();
    let (rest, magic) = artifact.split_at(artifact.len() - 8);
    let (rest, length) = rest.split_at(rest.len() - 4);
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    let (code, stamp) = rest[..rest.len() - 32].split_at(rest.len() - 32 - length);
    let mut stamp: serde_json::Value = serde_json::from_slice(stamp).unwrap();
    assert!(!stamp[field].is_null(), "{stamp}");
    stamp[field] = value.into();
    let stamp = stamp.to_string();
    let digested = [code, stamp.as_bytes()].concat();
    let digest = sha2::Sha256::digest(&digested);
    let length = u32::try_from(stamp.len()).unwrap().to_le_bytes();
    [&digested[..], &digest, &length, magic].concat()
}

#[test]
fn an_artifact_is_loaded_without_compiling() {
    let served = Served::new(guests::ECHO);
    served.answer("a", "1");
    let line = served.host.wait_for_log(|line| line.contains("ready"));
    assert!(line.contains("origin=copied"), "{line}");
}

#[test]
fn a_component_alone_is_compiled_at_init_and_one_line_says_what_that_cost() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with("echo.wasm", guests::ECHO);
    let host = Host::orlop(&lambda).task_root(&task_root).start();
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
    host.wait_for_log(|line| line.contains("ready"));
    let lines: Vec<_> = host
        .log()
        .into_iter()
        .filter(|line| line.contains("compileMs="))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("orlop compile"),
        "{lines:?}"
    );
}

#[test]
fn a_runtime_without_a_compiler_hands_over_to_the_tool_beside_it_and_keeps_its_pid() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with("echo.wasm", guests::ECHO)
        .with("bootstrap", bootstrap())
        .with("orlop", orlop());
    let host = Host::binary(&task_root.path().join("bootstrap"))
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .handler("echo")
        .start();
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
    let program = fs::read_link(format!("/proc/{}/exe", host.pid())).unwrap();
    assert!(program.ends_with("orlop"), "{}", program.display());
}

#[test]
fn a_runtime_without_a_compiler_says_how_to_precompile() {
    let report = refusal(&TaskRoot::new().with("echo.wasm", guests::ECHO));
    let message = text(&report, "errorMessage");
    assert!(message.contains("orlop compile echo.wasm -o echo.cwasm"), "{message}");
}

#[test]
fn an_artifact_that_was_changed_is_refused() {
    let artifact = fs::read(compile(guests::ECHO)).unwrap();
    let middle = artifact.len() / 2;
    let mut flipped = artifact.clone();
    flipped[middle] ^= 1;
    let mut zeroed = artifact.clone();
    zeroed[middle..middle + 4096].fill(0);
    let spliced = [&artifact[..middle], &[0; 16], &artifact[middle..]].concat();
    for (content, expected) in [
        (flipped, "was changed after it was compiled"),
        (zeroed, "was changed after it was compiled"),
        (spliced, "was cut, extended or changed"),
        (artifact[..middle].to_vec(), "no stamp of Orlop's"),
        ([&artifact[..], b"more"].concat(), "no stamp of Orlop's"),
        (Vec::new(), "no stamp of Orlop's"),
        (b"\x7fELF".to_vec(), "no stamp of Orlop's"),
        (fs::read(guests::ECHO.path()).unwrap(), "no stamp of Orlop's"),
    ] {
        let report = refusal(&TaskRoot::new().with_content("echo.cwasm", content));
        assert!(text(&report, "errorMessage").contains(expected), "{expected}: {report}");
    }
}

/// The artifact after a change at random places.
fn changed(artifact: &[u8], random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let (one, other, into) = (random(artifact.len()), random(artifact.len()), random(artifact.len()));
    let range = one.min(other)..one.max(other) + 1;
    let mut changed = artifact.to_vec();
    match random(4) {
        0 => changed[one] ^= 1 << random(8),
        1 => drop(changed.drain(range)),
        2 => changed[range].fill(0),
        _ => drop(changed.splice(into..into, artifact[range].iter().copied())),
    }
    changed
}

#[test]
fn artifacts_that_were_changed_anywhere_are_refused_before_they_are_loaded_and_the_whole_one_beside_them_serves() {
    const CHANGED: usize = 100;
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut state = u64::from(seed);
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let artifact = fs::read(compile(guests::ECHO)).unwrap();
    let mut manifest = "[functions.echo]\n[[routes]]\nsource = 'aws.events'\nfunction = 'echo'\n".to_owned();
    let mut task_root = TaskRoot::new().with_compiled(guests::ECHO);
    for index in 0..CHANGED {
        let _ = write!(
            manifest,
            "[functions.changed-{index}]\n[[routes]]\nsource = 'test.{index}'\nfunction = 'changed-{index}'\n"
        );
        let name = format!("changed-{index}.cwasm");
        task_root = task_root.with_content(&name, changed(&artifact, &mut random));
    }
    let lambda = FakeRuntimeApi::start();
    let task_root = task_root.with_content("orlop.toml", manifest);
    let host = Host::bootstrap(&lambda).task_root(&task_root).start();
    let event = r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;
    lambda.send(Event::new("a", event));
    assert_eq!(lambda.wait_for_answer("a").body, event.as_bytes());
    let log = host.log();
    let refused: Vec<&String> = log.iter().filter(|line| line.contains("cannot be used;")).collect();
    assert_eq!(refused.len(), CHANGED);
    for line in refused {
        // What the stamp says. What the engine says of code would come later.
        let by_its_stamp = [
            "was changed after it was compiled",
            "was cut, extended or changed",
            "no stamp of Orlop's",
        ];
        assert!(by_its_stamp.iter().any(|reason| line.contains(reason)), "{line}");
    }
}

#[test]
fn an_artifact_for_other_features_is_refused_by_their_name() {
    let artifact = compile(guests::ECHO);
    let features = serde_json::json!({ "component-model-async": false, "gc": true });
    let report = refusal(&TaskRoot::new().with_content("echo.cwasm", stamped(&artifact, "features", features)));
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("its component needs gc, which this build does not have"),
        "{message}"
    );
    let features = serde_json::json!({ "component-model-async": true });
    let report = refusal(&TaskRoot::new().with_content("echo.cwasm", stamped(&artifact, "features", features)));
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("concurrency") || message.contains("async"),
        "{message}"
    );
}

#[test]
fn an_artifact_that_everybody_can_write_is_refused() {
    let with_modes = |folder, file| {
        let task_root = TaskRoot::new().with_compiled(guests::ECHO);
        let path = task_root.path().join("echo.cwasm");
        fs::set_permissions(path, fs::Permissions::from_mode(file)).unwrap();
        fs::set_permissions(task_root.path(), fs::Permissions::from_mode(folder)).unwrap();
        task_root
    };
    for (folder, file, expected) in [
        (0o755, 0o666, "everybody can write it"),
        (0o777, 0o644, "everybody can write the folder it lies in"),
    ] {
        let report = refusal(&with_modes(folder, file));
        let message = text(&report, "errorMessage");
        assert!(message.contains(expected) && message.contains("chmod o-w"), "{message}");
    }
    for (folder, file) in [(0o1777, 0o644), (0o775, 0o664)] {
        let lambda = FakeRuntimeApi::start();
        let task_root = with_modes(folder, file);
        let _host = Host::bootstrap(&lambda).task_root(&task_root).start();
        lambda.wait_for_next();
    }
}

#[test]
fn nothing_is_loaded_from_a_tmp_that_guests_share_not_even_through_a_link() {
    let shared = tempfile::Builder::new()
        .prefix("orlop-shared-")
        .tempdir_in("/tmp")
        .unwrap();
    let manifest = "[functions.echo.grants]\ntmp = 'shared'\n";
    fs::copy(compile(guests::ECHO), shared.path().join("echo.cwasm")).unwrap();
    fs::write(shared.path().join("orlop.toml"), manifest).unwrap();
    let apart = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (by_folder, by_file) = (apart.path().join("folder"), apart.path().join("file"));
    symlink(shared.path(), &by_folder).unwrap();
    fs::create_dir(&by_file).unwrap();
    fs::write(by_file.join("orlop.toml"), manifest).unwrap();
    symlink(shared.path().join("echo.cwasm"), by_file.join("echo.cwasm")).unwrap();
    for task_root in [
        shared.path(),
        &shared.path().join("../").join(shared.path().file_name().unwrap()),
        &by_folder,
        &by_file,
    ] {
        let lambda = FakeRuntimeApi::start();
        let host = Host::bootstrap(&lambda).task_root(task_root).start();
        let report = lambda.wait_for_init_error().json();
        assert_eq!(host.wait_for_exit(END).code(), Some(1));
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidConfiguration", "{report}");
        assert!(
            text(&report, "errorMessage").contains("no component may be loaded from there"),
            "{report}"
        );
    }
    fs::remove_file(by_file.join("echo.cwasm")).unwrap();
    let concurrent = by_file.join("echo.concurrent.cwasm");
    symlink(shared.path().join("echo.cwasm"), &concurrent).unwrap();
    let lambda = FakeRuntimeApi::start();
    let _host = Host::bootstrap(&lambda).task_root(&by_file).start();
    let report = lambda.wait_for_init_error().json();
    assert_eq!(text(&report, "errorType"), "Runtime.InvalidConfiguration", "{report}");
    fs::remove_file(concurrent).unwrap();
    fs::copy(compile(guests::ECHO), by_file.join("echo.cwasm")).unwrap();
    let lambda = FakeRuntimeApi::start();
    let _host = Host::bootstrap(&lambda).task_root(&by_file).start();
    lambda.wait_for_next();
}

#[test]
fn an_artifact_for_another_architecture_is_refused_with_the_command_that_makes_the_right_one() {
    const X86_64: &str = "x86_64-unknown-linux-gnu";
    const AARCH64: &str = "aarch64-unknown-linux-gnu";
    let (ours, other) = match cfg!(target_arch = "x86_64") {
        true => (X86_64, AARCH64),
        false => (AARCH64, X86_64),
    };
    let artifact = compile_with(guests::ECHO, &["--target", other]);
    let report = refusal(&TaskRoot::new().with("echo.cwasm", artifact));
    let message = text(&report, "errorMessage");
    for expected in [
        &format!("it was compiled for {other}, and this machine is {ours}"),
        &format!("`orlop compile echo.wasm -o echo.cwasm --target {ours}`"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let right = compile_with(guests::ECHO, &["--target", ours]);
    let report = refusal(&TaskRoot::new().with_content("echo.cwasm", stamped(&right, "target", "x86_64-apple-darwin")));
    let message = text(&report, "errorMessage");
    assert!(message.contains("it was compiled for x86_64-apple-darwin"), "{message}");
}

/// The processors of this architecture, from the least, each with what has to be among the machine's `flags`.
#[cfg(target_arch = "x86_64")]
const PROCESSORS: &[(&str, &str)] = &[
    ("x86-64", "sse2"),
    ("x86-64-v2", "sse4_2"),
    ("x86-64-v3", "avx2"),
    ("x86-64-v4", "avx512vl"),
];
#[cfg(target_arch = "aarch64")]
const PROCESSORS: &[(&str, &str)] = &[("armv8-a", "asimd")];

#[test]
fn an_artifact_runs_where_the_processor_has_all_it_needs_and_is_refused_elsewhere() {
    let machine = fs::read_to_string("/proc/cpuinfo").unwrap();
    for (processor, sign) in PROCESSORS {
        let artifact = compile_with(guests::ECHO, &["--cpu", processor]);
        let task_root = TaskRoot::new().with("echo.cwasm", artifact);
        if machine.split_whitespace().any(|flag| flag == *sign) {
            let lambda = FakeRuntimeApi::start();
            let _host = Host::bootstrap(&lambda).task_root(&task_root).start();
            lambda.send(Event::new("a", "1"));
            assert_eq!(lambda.wait_for_answer("a").body, b"1", "{processor}");
        } else {
            refused_for_a_lesser_processor(&task_root, processor);
        }
    }
}

#[test]
fn an_artifact_for_an_unknown_processor_is_refused_with_the_command_that_makes_the_right_one() {
    let artifact = compile(guests::ECHO);
    for processor in ["x86-64-v9", "pentium"] {
        let task_root = TaskRoot::new().with_content("echo.cwasm", stamped(&artifact, "cpu", processor));
        refused_for_a_lesser_processor(&task_root, processor);
    }
}

fn refused_for_a_lesser_processor(task_root: &TaskRoot, processor: &str) {
    let report = refusal(task_root);
    let message = text(&report, "errorMessage");
    let (least, _) = PROCESSORS[0];
    for expected in [
        &format!("it was compiled for the processor {processor}, "),
        &format!("`orlop compile echo.wasm -o echo.cwasm --cpu {least}`"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_artifact_of_another_engine_is_refused_by_name() {
    let other = stamped(compile(guests::ECHO), "engine", "wasmtime-48.0.7+orlop-0.1.0");
    let report = refusal(&TaskRoot::new().with_content("echo.cwasm", other));
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("wasmtime-48.0.7") && message.contains("wasmtime-48.0.8"),
        "{message}"
    );
}

#[test]
fn an_artifact_that_does_not_fit_is_passed_over_if_the_component_is_there_to_compile() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with("echo.wasm", guests::ECHO)
        .with_content("echo.cwasm", "stale");
    let host = Host::orlop(&lambda).task_root(&task_root).handler("echo").start();
    lambda.send(Event::new("a", "1"));
    assert_eq!(lambda.wait_for_answer("a").body, b"1");
    let line = host.wait_for_log(|line| line.contains("compileMs="));
    assert!(line.contains("echo.cwasm") && line.contains("refused"), "{line}");
}

#[test]
fn on_a_read_only_mount_the_artifact_is_mapped() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with_compiled(examples::HELLO)
        .with("bootstrap", bootstrap());
    let host = Host::binary(std::path::Path::new("/usr/bin/unshare"))
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount --bind \"$LAMBDA_TASK_ROOT\" \"$LAMBDA_TASK_ROOT\" && mount -o remount,bind,ro \"$LAMBDA_TASK_ROOT\" && exec \"$LAMBDA_TASK_ROOT/bootstrap\" hello")
        .start();
    lambda.send(Event::new("a", r#"{"name":"Ada"}"#));
    assert_eq!(lambda.wait_for_answer("a").json()["message"], "Hello, Ada!");
    host.wait_for_log(|line| line.contains("origin=mapped"));
}

#[test]
fn features_beyond_the_stock_toolchains_are_refused_when_compiling() {
    let folder = tempfile::tempdir().unwrap();
    for (name, code) in [
        ("memory64", "(memory i64 1)"),
        ("threads", "(memory 1 1 shared)"),
        ("tail calls", "(func $f return_call $f)"),
        ("garbage collection", "(type (struct))"),
        ("exceptions", "(tag)"),
        ("multiple memories", "(memory 1) (memory 1)"),
        (
            "relaxed SIMD",
            "(func (param v128) (result v128) local.get 0 local.get 0 i16x8.relaxed_q15mulr_s)",
        ),
    ] {
        let component = folder.path().join("feature.wasm");
        fs::write(
            &component,
            wat::parse_str(format!("(component (core module {code}))")).unwrap(),
        )
        .unwrap();
        let output = std::process::Command::new(orlop())
            .arg("compile")
            .arg(&component)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains("error: ") && message.contains("cannot compile"),
            "{name}: {message}"
        );
    }
}
