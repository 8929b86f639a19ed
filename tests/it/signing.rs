//! Requests to AWS that the host signs, for guests that see no credentials.

use orlop_tests::caller::{BOTH, Caller, task_root};
use orlop_tests::http_server::Received;
use orlop_tests::{FakeRuntimeApi, HttpServer, Moto, Served, guests};
use serde_json::json;

/// Credentials that nobody checks.
const CREDENTIALS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "kept-secret"),
    ("AWS_SESSION_TOKEN", "kept-token"),
];

// Conformance statement 10.
#[test]
fn a_guest_sees_credentials_only_where_a_grant_names_the_variable() {
    let seen = |grants: &str| {
        let task_root = task_root(guests::ENVIRONMENT, grants);
        let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, "environment", &CREDENTIALS);
        let variables = served.answer("a", "{}");
        let names = variables.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let is_one = |name: &&str| names.iter().any(|known| known == name);
        CREDENTIALS
            .iter()
            .map(|(name, _)| *name)
            .filter(is_one)
            .collect::<Vec<_>>()
    };
    assert_eq!(seen("aws = [{ service = \"s3\" }]"), [] as [&str; 0]);
    assert_eq!(seen("environment = [\"AWS_ACCESS_KEY_ID\"]"), ["AWS_ACCESS_KEY_ID"]);
}

/// A grant for a bucket at that endpoint.
fn s3(endpoint: &str, bucket: &str, rest: &str) -> String {
    format!(
        "aws = [{{ service = \"s3\", region = \"eu-central-1\", bucket = \"{bucket}\", endpoint = \"{endpoint}\"{rest} }}]"
    )
}

fn header<'a>(request: &'a Received, name: &str) -> &'a str {
    request
        .header(name)
        .unwrap_or_else(|| panic!("no {name} in {request:?}"))
}

#[test]
fn a_guest_without_credentials_puts_and_gets_objects_of_a_bucket_whose_owner_checks_signatures() {
    let moto = Moto::start(&["site"]);
    let credentials = moto.credentials();
    moto.check_signatures();
    for guest in BOTH {
        let grants = s3(&moto.endpoint(), "site", "");
        let caller = Caller::with(FakeRuntimeApi::start(), guest, &grants, &credentials.variables());
        for (key, version) in [
            ("index.html", "one"),
            ("index.html", "two"),
            ("a%20b/%C3%A4%2B(1)~.txt", "three"),
            ("large", &"0123456789".repeat(100_000)),
        ] {
            let url = format!("{}/site/{key}", moto.endpoint());
            let put = caller.fetch(&json!({
                "url": url,
                "method": "PUT",
                "headers": { "content-type": "text/plain", "content-length": version.len().to_string() },
                "body": version,
            }));
            assert_eq!(put["status"], 200, "{key}: {put}");
            let got = caller.get(&url);
            assert!(got["status"] == 200 && got["body"] == *version, "{key}: {got}");
        }
        let listing = caller.get(&format!("{}/site?list-type=2&prefix=index", moto.endpoint()));
        assert!(
            listing["body"].as_str().unwrap().contains("<Key>index.html</Key>"),
            "{listing}"
        );
    }
    // That signatures are checked shows in what a stranger and a forger get.
    assert_eq!(moto.request("GET", "/site/index.html", &[], b"").status, 403);
    let mut variables = credentials.variables();
    variables[1].1 = "forged";
    let forger = s3(&moto.endpoint(), "site", "");
    let forger = Caller::with(FakeRuntimeApi::start(), guests::FETCH, &forger, &variables);
    let outcome = forger.get(&format!("{}/site/index.html", moto.endpoint()));
    assert_eq!(outcome["status"], 403, "{outcome}");
    assert!(
        outcome["body"].as_str().unwrap().contains("SignatureDoesNotMatch"),
        "{outcome}"
    );
}

#[test]
fn the_host_signs_with_its_own_credentials_whatever_the_guest_writes_into_those_headers() {
    let server = HttpServer::echo();
    for guest in BOTH {
        let grants = s3(&server.origin(), "site", "");
        let caller = Caller::with(FakeRuntimeApi::start(), guest, &grants, &CREDENTIALS);
        let outcome = caller.fetch(&json!({
            "url": server.origin() + "/site/key",
            "method": "PUT",
            "headers": {
                "authorization": "forged",
                "x-amz-date": "19700101T000000Z",
                "x-amz-security-token": "forged",
                "x-amz-content-sha256": "forged",
                "x-amz-meta-own": "kept",
            },
            "body": "content",
        }));
        assert_eq!(outcome["status"], 201, "{outcome}");
        assert!(!outcome.to_string().contains("kept-secret"));
        let request = server.requests().pop().unwrap();
        let authorization = header(&request, "authorization");
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{authorization}"
        );
        assert!(
            authorization.contains("/eu-central-1/s3/aws4_request"),
            "{authorization}"
        );
        assert!(authorization.contains("x-amz-meta-own"), "{authorization}");
        assert_eq!(header(&request, "x-amz-security-token"), "kept-token");
        assert_eq!(header(&request, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert_eq!(header(&request, "x-amz-meta-own"), "kept");
        assert_ne!(header(&request, "x-amz-date"), "19700101T000000Z");
        assert_eq!(header(&request, "content-length"), "7");
        assert_eq!(request.body, b"content");
        let forged = request
            .headers
            .iter()
            .filter(|(_, value)| value.as_slice() == b"forged");
        assert_eq!(forged.count(), 0, "{request:?}");
    }
}

#[test]
fn what_a_grant_for_aws_does_not_cover_stays_inside() {
    let server = HttpServer::echo();
    let grants = s3(&server.origin(), "site", ", methods = [\"PUT\"], path = \"/pages/*\"");
    let caller = Caller::with(FakeRuntimeApi::start(), guests::FETCH, &grants, &CREDENTIALS);
    let put = |path: &str| json!({ "url": server.origin() + path, "method": "PUT" });
    assert_eq!(caller.fetch(&put("/site/pages/a.html"))["status"], 201);
    for path in [
        "/site/other/a.html",
        "/site",
        "/other/pages/a.html",
        "/pages/a.html",
        "/site/pages/../other/a.html",
        "/site/pages/%2e%2e/other/a.html",
        "/site-2/pages/a.html",
    ] {
        assert_eq!(
            caller.fetch(&put(path))["error"],
            "ErrorCode::HttpRequestDenied",
            "{path}"
        );
    }
    for method in ["GET", "DELETE", "POST"] {
        let outcome = caller.fetch(&json!({ "url": server.origin() + "/site/pages/a.html", "method": method }));
        assert_eq!(outcome["error"], "ErrorCode::HttpRequestDenied", "{method}");
    }
    let copy = json!({
        "url": server.origin() + "/site/pages/a.html",
        "method": "PUT",
        "headers": { "x-amz-copy-source": "/other/secret" },
    });
    assert_eq!(caller.fetch(&copy)["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!(server.requests().len(), 1);
    let lines = caller.refusals(&server.origin());
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("aws = [{ service = \"s3\""), "{lines:?}");
}

#[test]
fn a_signature_without_credentials_is_an_error_of_configuration() {
    let server = HttpServer::echo();
    let caller = Caller::new(guests::FETCH, &s3(&server.origin(), "site", ""));
    assert_eq!(caller.refusal(&(server.origin() + "/site/key")), "ConfigurationError");
    assert!(caller.refusals("AWS_ACCESS_KEY_ID").len() == 1);
    assert!(server.requests().is_empty());
}
