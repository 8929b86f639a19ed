//! Calls over TLS, and whom the host trusts to vouch for a name.

use std::fs;
use std::process::Command;

use orlop_tests::caller::{BOTH, Caller};
use orlop_tests::certificates::Certificates;
use orlop_tests::{FakeRuntimeApi, Process, Served, TaskRoot, guests};
use serde_json::json;

/// A server with a certificate for `localhost`.
struct SecureServer {
    certificates: Certificates,
    port: u16,
    _process: Process,
}

impl SecureServer {
    fn start() -> Self {
        let certificates = Certificates::new();
        // It serves the files of its working directory.
        fs::write(certificates.folder().join("page"), "over TLS").unwrap();
        let mut command = Command::new("openssl");
        command
            .current_dir(certificates.folder())
            .args("s_server -WWW -accept 127.0.0.1:0 -cert server.pem -key server.key".split(' '));
        let process = Process::start(command);
        let line = process.wait_for_stdout(|line| line.starts_with("ACCEPT "));
        let port = line.rsplit(':').next().unwrap().parse().unwrap();
        Self {
            certificates,
            port,
            _process: process,
        }
    }
}

#[test]
fn a_call_over_tls_needs_a_certificate_of_an_authority_that_is_trusted() {
    let server = SecureServer::start();
    let origin = format!("https://localhost:{}", server.port);
    let by_address = format!("https://127.0.0.1:{}", server.port);
    let grants = format!("outbound = {}", json!([origin, by_address]));
    let authority = server.certificates.authority();
    for guest in BOTH {
        let stranger = Caller::new(guest, &grants);
        assert_eq!(stranger.refusal(&format!("{origin}/page")), "TlsCertificateError");
        let variables = [("ORLOP_CA_CERTIFICATES", authority.to_str().unwrap())];
        let caller = Caller::with(FakeRuntimeApi::start(), guest, &grants, &variables);
        let outcome = caller.get(&format!("{origin}/page"));
        assert_eq!(outcome["body"], "over TLS", "{outcome}");
        assert_eq!(
            caller.refusal(&format!("{by_address}/page")),
            "TlsCertificateError",
            "it is no address"
        );
    }
}

#[test]
fn unusable_certificates_are_an_error_of_configuration() {
    let task_root = TaskRoot::new()
        .with_compiled(guests::ECHO)
        .with_content("empty.pem", "");
    let path = task_root.path().join("empty.pem");
    let lambda = FakeRuntimeApi::start();
    let variables = [("ORLOP_CA_CERTIFICATES", path.to_str().unwrap())];
    let served = Served::in_task_root(lambda, task_root, "echo", &variables);
    let report = served.lambda.wait_for_init_error().json();
    assert_eq!(report["errorType"], "Runtime.InvalidConfiguration", "{report}");
    assert!(
        report["errorMessage"]
            .as_str()
            .unwrap()
            .contains("ORLOP_CA_CERTIFICATES"),
        "{report}"
    );
}
