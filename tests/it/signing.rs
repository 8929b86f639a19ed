//! Requests to AWS that the host signs, for guests that see no credentials.

use orlop_tests::caller::{BOTH, Caller, task_root};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use orlop_tests::http_server::{Received, hang, respond};
use orlop_tests::{FakeRuntimeApi, HttpServer, Moto, Reply, Served, guests};
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
        let given = [&CREDENTIALS[..], &place_of_credentials("http://127.0.0.1:9001/")].concat();
        let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, "environment", &given);
        let variables = served.answer("a", "{}");
        let names = given.iter().map(|(name, _)| (*name).to_owned());
        names
            .filter(|name| variables.get(name).is_some())
            .collect::<BTreeSet<_>>()
    };
    assert!(seen("aws = [{ service = \"s3\" }]").is_empty());
    for name in ["AWS_ACCESS_KEY_ID", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
        let granted = seen(&format!("environment = [{name:?}]"));
        assert_eq!(granted, BTreeSet::from([name.to_owned()]));
    }
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

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The variables that Lambda sets in place of the keys where a function has a snapshot.
fn place_of_credentials(uri: &str) -> [(&str, &str); 2] {
    [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "kept-authorization"),
    ]
}

/// Gives out one key after the other, `key-1` first, good for so long. After `last`, it gives none.
fn keys(good_for: Duration, last: usize) -> HttpServer {
    let given = AtomicUsize::new(0);
    HttpServer::start(move |request, stream| {
        let number = 1 + given.fetch_add(1, Ordering::SeqCst);
        if number > last || request.header("authorization") != Some("kept-authorization") {
            return respond(stream, 403, &[], b"{\"message\":\"kept\"}");
        }
        let keys = json!({
            "Type": "AWS-HMAC",
            "AccessKeyId": format!("key-{number}"),
            "SecretAccessKey": "kept-secret",
            "Token": format!("token-{number}"),
            "Expiration": humantime::format_rfc3339_millis(SystemTime::now() + good_for).to_string(),
        });
        respond(stream, 200, &[], keys.to_string().as_bytes())
    })
}

/// The key and the token that a request was signed with.
fn signed_with(request: &Received) -> (String, String) {
    let authorization = header(request, "authorization");
    let (_, rest) = authorization.split_once("Credential=").unwrap();
    let key = rest.split('/').next().unwrap().to_owned();
    (key, header(request, "x-amz-security-token").to_owned())
}

#[test]
fn credentials_are_asked_for_where_lambda_keeps_them_and_kept_until_five_minutes_before_they_expire() {
    for guest in BOTH {
        for (good_for, expected) in [(HOUR, [1, 1, 1]), (6 * MINUTE, [1, 1, 1]), (4 * MINUTE, [1, 2, 3])] {
            let (server, place) = (HttpServer::echo(), keys(good_for, 3));
            let uri = place.origin() + "/2021-04-23/credentials?a=b";
            let grants = s3(&server.origin(), "site", "");
            let caller = Caller::with(FakeRuntimeApi::start(), guest, &grants, &place_of_credentials(&uri));
            assert!(place.requests().is_empty(), "nobody has needed them");
            for _ in expected {
                assert_eq!(caller.get(&(server.origin() + "/site/key"))["status"], 201);
            }
            let used: Vec<_> = server.requests().iter().map(signed_with).collect();
            let expected = expected.map(|number| (format!("key-{number}"), format!("token-{number}")));
            assert_eq!(used, expected, "{good_for:?}");
            let asked = place.requests();
            assert_eq!(
                (&*asked[0].method, &*asked[0].target),
                ("GET", "/2021-04-23/credentials?a=b")
            );
            assert_eq!(
                header(&asked[0], "host"),
                place.origin().strip_prefix("http://").unwrap()
            );
        }
    }
}

#[test]
fn a_guest_does_not_reach_the_place_where_lambda_keeps_credentials_whatever_it_is_granted() {
    let place = keys(HOUR, 1);
    let grants = format!("outbound = [\"{}\"]", place.origin());
    let url = place.origin() + "/2021-04-23/credentials";
    let caller = Caller::with(
        FakeRuntimeApi::start(),
        guests::FETCH,
        &grants,
        &place_of_credentials(&url),
    );
    assert_eq!(caller.refusal(&url), "DestinationIpProhibited");
    assert!(place.requests().is_empty());
}

#[test]
fn credentials_that_are_still_good_are_used_when_there_are_no_others_to_be_had() {
    let (server, place) = (HttpServer::echo(), keys(4 * MINUTE, 1));
    let uri = place.origin();
    let grants = s3(&server.origin(), "site", "");
    let caller = Caller::with(
        FakeRuntimeApi::start(),
        guests::FETCH,
        &grants,
        &place_of_credentials(&uri),
    );
    for _ in 0..2 {
        assert_eq!(caller.get(&(server.origin() + "/site/key"))["status"], 201);
    }
    assert_eq!(place.requests().len(), 2);
    let used: BTreeSet<_> = server.requests().iter().map(signed_with).collect();
    assert_eq!(used, BTreeSet::from([("key-1".to_owned(), "token-1".to_owned())]));
}

#[test]
fn a_place_that_gives_no_credentials_is_an_error_that_says_so_and_nothing_secret() {
    let server = HttpServer::echo();
    let grants = s3(&server.origin(), "site", "");
    let answering = |status: u16, body: &'static str| {
        let place = HttpServer::start(move |_, stream| respond(stream, status, &[], body.as_bytes()));
        place.origin()
    };
    let expired = keys(Duration::ZERO, 0).origin();
    let silent = HttpServer::start(|_, stream| hang(stream)).origin();
    for (uri, reason) in [
        (expired, "status 403"),
        (answering(500, "{}"), "status 500"),
        (answering(200, "kept"), "no credentials"),
        (answering(200, "{\"AccessKeyId\":\"kept\"}"), "no credentials"),
        (
            answering(200, "{\"AccessKeyId\":\"kept\",\"SecretAccessKey\":\"kept\\n\"}"),
            "no credentials",
        ),
        (
            answering(
                200,
                "{\"AccessKeyId\":\"kept\",\"SecretAccessKey\":\"kept\",\"Expiration\":\"soon\"}",
            ),
            "no moment in time",
        ),
        ("http://127.0.0.1:1/".to_owned(), "refused the connection"),
        (silent, "within 5 s"),
        // Nobody is asked there.
        (
            "http://10.0.0.1/credentials".to_owned(),
            "nor AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
    ] {
        let variables = place_of_credentials(&uri);
        let caller = Caller::with(FakeRuntimeApi::start(), guests::FETCH, &grants, &variables);
        let refusal = caller.refusal(&(server.origin() + "/site/key"));
        assert_eq!(refusal, "ConfigurationError", "{uri}");
        let lines = caller.refusals(reason);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            !caller.host().log().iter().any(|line| line.contains("kept")),
            "{lines:?}"
        );
    }
    assert!(server.requests().is_empty());
}

#[test]
fn no_copy_of_a_snapshot_signs_with_credentials_of_before() {
    let (server, place) = (HttpServer::echo(), keys(HOUR, 2));
    let (guest, uri, url) = (guests::FETCH_IN_INIT, place.origin(), server.origin() + "/site/key");
    let variables = [
        &place_of_credentials(&uri)[..],
        &[("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start"), ("URL", &url)],
    ]
    .concat();
    let lambda = FakeRuntimeApi::builder().snap_start().start();
    let task_root = task_root(guest, &s3(&server.origin(), "site", ""));
    let served = Served::in_task_root(lambda, task_root, guest.name(), &variables);
    served.lambda.wait_for_snapshot();
    served.lambda.restore(Reply::status(200));
    served.answer("a", "{}");
    let used: Vec<_> = server.requests().iter().map(|request| signed_with(request).0).collect();
    assert_eq!(used, ["key-1", "key-2"]);
}
