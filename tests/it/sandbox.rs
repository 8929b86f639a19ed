//! What a guest sees of the world: its own `/tmp`, the function's variables, and nothing else.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use orlop_tests::{Event, guests};
use serde_json::{Value, json};

use crate::Served;

/// The directories that hold the guests' directories of that process.
fn workspaces(served: &Served) -> Vec<PathBuf> {
    let name = format!(".orlop-{}", served.host.pid());
    let entries = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| {
            let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found == name || found.starts_with(&format!("{name}-"))
        })
        .collect()
}

fn run(served: &Served, id: &str, operations: &Value) -> Vec<Value> {
    served.answer(id, operations.to_string()).as_array().unwrap().clone()
}

#[test]
fn tmp_is_empty_writable_and_gone_with_the_event() {
    let served = Served::new(guests::FILES);
    let operations = json!([
        { "verb": "list", "path": "/tmp" },
        { "verb": "write", "path": "/tmp/a", "data": "secret" },
        { "verb": "make-directory", "path": "/tmp/d" },
        { "verb": "write", "path": "/tmp/d/b", "data": "x" },
        { "verb": "read", "path": "/tmp/a" },
        { "verb": "list", "path": "/tmp" },
    ]);
    for id in ["first", "second"] {
        let results = run(&served, id, &operations);
        assert_eq!(results[0], json!([]), "{id}");
        assert_eq!(results[4], "secret");
        assert_eq!(results[5], json!(["a", "d"]));
    }
    served.lambda.wait_for_next();
    let workspaces = workspaces(&served);
    assert_eq!(workspaces.len(), 1, "{workspaces:?}");
    assert_eq!(
        fs::read_dir(&workspaces[0]).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn what_a_killed_process_left_in_tmp_is_removed_by_the_next_that_writes_there() {
    let served = Served::with_env(guests::FILES, &[("ORLOP_ISOLATION", "environment")]);
    run(
        &served,
        "a",
        &json!([{ "verb": "write", "path": "/tmp/a", "data": "left" }]),
    );
    assert_eq!(workspaces(&served).len(), 1);
    served.host.signal(orlop_tests::Signal::KILL);
    served.host.wait_for_exit(crate::END);
    // Whatever process does that next removes it; in a run of all tests that may be another test's.
    let other = Served::new(guests::FILES);
    run(&other, "b", &json!([{ "verb": "list", "path": "/tmp" }]));
    assert_eq!(workspaces(&served), [] as [PathBuf; 0]);
}

#[test]
fn a_kept_instance_keeps_its_tmp() {
    let served = Served::with_env(guests::FILES, &[("ORLOP_ISOLATION", "environment")]);
    run(
        &served,
        "a",
        &json!([{ "verb": "write", "path": "/tmp/a", "data": "kept" }]),
    );
    assert_eq!(
        run(&served, "b", &json!([{ "verb": "read", "path": "/tmp/a" }]))[0],
        "kept"
    );
}

#[test]
fn nothing_outside_of_tmp_can_be_reached() {
    let canary = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::write(canary.path(), "canary").unwrap();
    let outside = canary.path().display().to_string();
    let served = Served::new(guests::FILES);
    let mut operations = vec![
        json!({ "verb": "symlink", "target": outside, "path": "/tmp/absolute" }),
        json!({ "verb": "symlink", "target": format!("../../..{outside}"), "path": "/tmp/relative" }),
        json!({ "verb": "symlink", "target": "..", "path": "/tmp/up" }),
    ];
    for path in [
        "/etc/passwd",
        "/proc/self/environ",
        "/var/task",
        "../etc/passwd",
        "/tmp/../etc/passwd",
        "/tmp/../../../etc/passwd",
        "//etc/passwd",
        "/tmp/absolute",
        "/tmp/relative",
        "/tmp/up/../etc/passwd",
        &*outside,
    ] {
        operations.push(json!({ "verb": "read", "path": path }));
        operations.push(json!({ "verb": "write", "path": path, "data": "overwritten" }));
    }
    operations.push(json!({ "verb": "list", "path": "/" }));
    operations.push(json!({ "verb": "list", "path": "/tmp/up" }));
    operations.push(json!({ "verb": "rename", "path": "/tmp/absolute", "to": outside }));
    let results = run(&served, "a", &json!(operations));
    for (operation, result) in operations.iter().zip(&results) {
        // A link that points nowhere it may is not made, and the name is then the guest's own to write to.
        let is_own = operation["path"]
            .as_str()
            .is_some_and(|path| ["/tmp/absolute", "/tmp/relative", "/tmp/up"].contains(&path));
        assert!(is_own || result.get("error").is_some(), "{operation} gave {result}");
        assert_ne!(result, "canary");
    }
    assert_eq!(fs::read_to_string(canary.path()).unwrap(), "canary");
    // Links that a guest leaves behind are removed, not followed.
    served.answer("b", "[]");
    served.lambda.wait_for_next();
    assert_eq!(fs::read_to_string(canary.path()).unwrap(), "canary");
}

// Statement 10.
#[test]
fn the_environment_is_the_functions_without_credentials_and_platform_addresses() {
    let served = Served::with_env(
        guests::ENVIRONMENT,
        &[
            ("TABLE", "orders"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "secret"),
            ("AWS_LAMBDA_METADATA_API", "secret"),
            ("AWS_LAMBDA_METADATA_TOKEN", "secret"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "secret"),
            ("AWS_XRAY_DAEMON_ADDRESS", "secret"),
            ("_AWS_XRAY_DAEMON_PORT", "secret"),
        ],
    );
    let variables = served.answer("a", "{}");
    let variables = variables.as_object().unwrap();
    assert_eq!(variables["TABLE"], "orders");
    assert_eq!(variables["AWS_REGION"], "eu-central-1");
    assert_eq!(variables["AWS_LAMBDA_FUNCTION_NAME"], "test");
    assert!(!variables.contains_key("AWS_LAMBDA_RUNTIME_API"));
    assert!(variables.values().all(|value| value != "secret"), "{variables:?}");
}

// Statement 11.
#[test]
fn there_is_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let served = Served::new(guests::NETWORK);
    let somebody = listener.local_addr().unwrap().to_string();
    for (index, address) in [
        &*somebody,
        &*served.lambda.address(),
        "169.254.169.254:80",
        "[::1]:9001",
    ]
    .iter()
    .enumerate()
    {
        let attempts = json!({ "tcp": address, "udp": address, "listen": "127.0.0.1:0", "lookup": "localhost" });
        let outcomes = served.answer(&format!("event-{index}"), attempts.to_string());
        for (what, outcome) in outcomes.as_object().unwrap() {
            assert_ne!(outcome, "ok", "{what} {address}");
        }
    }
    assert!(listener.accept().is_err(), "somebody called");
}

#[test]
fn stdin_is_closed() {
    let served = Served::new(guests::STDIN);
    assert_eq!(served.answer("a", "{}"), 0);
}

#[test]
fn without_a_writable_tmp_functions_are_served_all_the_same() {
    let lambda = orlop_tests::FakeRuntimeApi::start();
    let task_root = orlop_tests::TaskRoot::new().with_compiled(guests::FILES);
    // A user namespace of its own, in which an empty read-only file system hides `/tmp`; the task root moves out of it.
    let elsewhere = tempfile::Builder::new()
        .prefix("orlop-task-")
        .tempdir_in("/var/tmp")
        .unwrap();
    fs::copy(
        task_root.path().join("files.cwasm"),
        elsewhere.path().join("files.cwasm"),
    )
    .unwrap();
    let bootstrap = elsewhere.path().join("bootstrap");
    fs::copy(orlop_tests::bootstrap(), &bootstrap).unwrap();
    let host = orlop_tests::Host::binary(std::path::Path::new("/usr/bin/unshare"))
        .runtime_api(&lambda.address())
        .task_root(elsewhere.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg("--user")
        .arg("--map-root-user")
        .arg("--mount")
        .arg("sh")
        .arg("-c")
        .arg("mount -t tmpfs -o ro none /tmp && exec \"$0\"")
        .arg(&bootstrap)
        .start();
    lambda.send(Event::new("a", r#"[{"verb":"write","path":"/tmp/a","data":"x"}]"#));
    let answer = lambda.wait_for_answer("a");
    assert!(answer.json()[0].get("error").is_some(), "{}", answer.json());
    host.wait_for_log(|line| line.contains("guests get no /tmp"));
}
