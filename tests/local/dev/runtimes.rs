//! Any program that speaks the Runtime API is a function: AWS's own clients, and a loop in bash.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use orlop_tests::tools;
use serde_json::{Value, json};

use super::{Dev, path};

#[test]
fn awss_client_for_python_runs_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "import os\n\
                   def handler(event, context):\n    \
                       if event.get('fail'):\n        raise ValueError('as asked')\n    \
                       return {'event': event, 'id': context.aws_request_id, 'name': context.function_name}\n";
    fs::write(folder.path().join("app.py"), handler).unwrap();
    let packages = format!("PYTHONPATH={}", path(&tools::awslambdaric()));
    let dev = Dev::start(&[
        path(folder.path()),
        "--function",
        "python",
        "--timeout",
        "20s",
        "--env",
        &packages,
        "--",
        "python3",
        "-m",
        "awslambdaric",
        "app.handler",
    ]);
    let answer: Value = serde_json::from_str(&dev.invoke("python", &json!({"a": 1})).body).unwrap();
    assert_eq!(answer["event"], json!({"a": 1}));
    assert_eq!(answer["name"], "python");
    assert_eq!(answer["id"], dev.entries("invocation-started")[0]["request_id"]);
    let error: Value = serde_json::from_str(&dev.invoke("python", &json!({"fail": true})).body).unwrap();
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("ValueError"), &json!("as asked"))
    );
    assert_eq!(dev.entries("environment-started").len(), 1);
}

#[test]
fn awss_client_for_rust_runs_unchanged() {
    let program = env!("CARGO_BIN_EXE_echo-on-lambda-runtime");
    let dev = Dev::start(&["--function", "rust", ".", "--", program]);
    let answer = dev.invoke("rust", &json!({"a": 1}));
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"a":1}"#));
}

#[test]
fn a_loop_in_bash_runs_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = folder.path().join("bootstrap");
    let script = r#"#!/bin/bash
set -euo pipefail
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  headers="$(mktemp)"
  event="$(curl -sS -LD "$headers" "$api/invocation/next")"
  request_id="$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)"
  curl -sS -X POST "$api/invocation/$request_id/response" -d "{\"echo\": $event}" > /dev/null
  rm "$headers"
done
"#;
    fs::write(&bootstrap, script).unwrap();
    fs::set_permissions(&bootstrap, fs::Permissions::from_mode(0o755)).unwrap();
    let dev = Dev::start(&[
        "--function",
        "bash",
        "--timeout",
        "20s",
        path(folder.path()),
        "--",
        "./bootstrap",
    ]);
    for number in 1..=2 {
        let answer: Value = serde_json::from_str(&dev.invoke("bash", &json!(number)).body).unwrap();
        assert_eq!(answer, json!({"echo": number}));
    }
    assert_eq!(dev.entries("environment-started").len(), 1);
}
