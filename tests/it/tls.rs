//! Calls over TLS, and whom the host trusts to vouch for a name.

use std::fs;
use std::process::Command;

use orlop_tests::caller::{BOTH, Caller};
use orlop_tests::{FakeRuntimeApi, Process, Served, TaskRoot, guests, tools};
use serde_json::json;

/// An authority of nobody's, a certificate of it for `localhost`, and a server that has it.
struct SecureServer {
    folder: tempfile::TempDir,
    port: u16,
    _process: Process,
}

impl SecureServer {
    fn start() -> Self {
        tools::require(&["openssl"], "it makes certificates");
        let folder = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.current_dir(folder.path()).args(arguments.split(' '));
            command
        };
        fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for arguments in [
            format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=nobody"),
            format!("req {key} -keyout server.key -out server.csr -subj /CN=server"),
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names"
                .to_owned(),
        ] {
            tools::run(openssl(&arguments), "it makes certificates");
        }
        // It serves the files of its working directory.
        fs::write(folder.path().join("page"), "over TLS").unwrap();
        let process = Process::start(openssl(
            "s_server -WWW -accept 127.0.0.1:0 -cert server.pem -key server.key",
        ));
        let line = process.wait_for_stdout(|line| line.starts_with("ACCEPT "));
        let port = line.rsplit(':').next().unwrap().parse().unwrap();
        Self {
            folder,
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
    let authority = server.folder.path().join("ca.pem");
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
