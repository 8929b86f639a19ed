//! Credentials that expire while messages are taken.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use orlop_tests::certificates::Certificates;
use orlop_tests::strict_queue::{Faults, Settings, StrictQueue};
use orlop_tests::{Process, tools};

use super::attack::Consumer;

/// How long it may take until there have been three, each of which is used for up to six seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Gives credentials that expire after eleven seconds. AWS's SDK gets others five to ten seconds before that.
const SHORT_LIVED: &str = r#"#!/bin/sh
end=$(($(date +%s) + 11))
printf '{"Version": 1, "AccessKeyId": "EXPIRES%s", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": "%s"}' \
    $end "$(date -u -d @$end +%Y-%m-%dT%H:%M:%SZ)"
"#;

#[test]
fn credentials_that_expire_are_fetched_anew_before_they_do() {
    let queue = StrictQueue::start(Settings {
        is_fifo: false,
        visibility: Duration::from_secs(60),
        max_receives: 2,
        clock_ahead: Duration::ZERO,
        faults: Faults::default(),
        seed: 1,
    });
    let certificates = Certificates::new();
    let (_front, port) = tls_front(&certificates, &queue);
    let script = certificates.folder().join("credentials");
    fs::write(&script, SHORT_LIVED).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config = certificates.folder().join("config");
    let profile = format!(
        "[default]\nregion = us-east-1\ncredential_process = {}\n",
        script.display()
    );
    fs::write(&config, profile).unwrap();

    let url = queue.url_at(&format!("https://localhost:{port}"));
    let mut command = Consumer::command(&queue, &url, 0);
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    ] {
        command.env_remove(name);
    }
    command
        .env("AWS_CONFIG_FILE", config)
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("SSL_CERT_FILE", certificates.authority());
    let _consumer = Consumer::spawn(command);
    let end = Instant::now() + PATIENCE;
    let mut sent = 0;
    while queue.access_keys().len() < 3 {
        queue.send([(String::new(), format!("order {sent}"))]);
        sent += 1;
        while queue.left() > 0 {
            assert!(Instant::now() < end, "{sent} sent: {:?}", queue.access_keys());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(queue.refused_signatures(), 0);
}

/// The queue behind TLS, and at which port.
fn tls_front(certificates: &Certificates, queue: &StrictQueue) -> (Process, u16) {
    tools::require(&["python3"], "it runs the front");
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/python/tls_front.py"))
        .args(["server.pem", "server.key", &queue.port().to_string()])
        .current_dir(certificates.folder());
    let front = Process::start(command);
    let port = front.wait_for_stdout(|line| !line.is_empty()).parse().unwrap();
    (front, port)
}
