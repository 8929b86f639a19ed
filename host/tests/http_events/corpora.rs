//! The events that others published, read from their packages: each is told apart from all others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use orlop_host::events::{HttpEvent, LambdaContext, RequestSettings};
use serde_json::Value;

use crate::source_name;

/// The name of an event that is HTTP, its source, and the method and the target that its request has.
type HttpCase = (&'static str, &'static str, &'static str, &'static str);

/// All others of that package, questions to authorizers among them, are no HTTP.
const IN_AWS_LAMBDA_EVENTS: [HttpCase; 22] = [
    (
        "alb-lambda-target-request-headers-only",
        "alb-single",
        "GET",
        "/?key=hello",
    ),
    (
        "alb-lambda-target-request-multivalue-headers",
        "alb-multi",
        "GET",
        "/?key=hello",
    ),
    ("apigw-console-request", "rest-api", "POST", "/path/to/resource?foo=bar"),
    ("apigw-console-test-request", "rest-api", "POST", "/myPath"),
    ("apigw-request", "rest-api", "POST", "/hello/world?name=me"),
    ("apigw-request-catch-all", "rest-api", "POST", "/hello/world?name=me"),
    (
        "apigw-request-multi-value-parameters",
        "rest-api",
        "POST",
        "/hello/world?name=me&name=me2",
    ),
    (
        "apigw-restapi-openapi-request",
        "rest-api",
        "POST",
        "/hello/world?name=me",
    ),
    ("apigw-sam-http-request", "http-api-2", "GET", "/dump?foo=bar"),
    ("apigw-sam-rest-request", "http-api-1", "GET", "/test"),
    (
        "apigw-v2-request-iam",
        "http-api-2",
        "GET",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    (
        "apigw-v2-request-jwt-authorizer",
        "http-api-2",
        "GET",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    (
        "apigw-v2-request-lambda-authorizer",
        "http-api-2",
        "GET",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    (
        "apigw-v2-request-multi-value-parameters",
        "http-api-2",
        "GET",
        "/my/path?Parameter1=value1&Parameter1=value2",
    ),
    ("apigw-v2-request-no-authorizer", "http-api-2", "GET", "/"),
    ("apigw-websocket-request", "websocket", "POST", "/events"),
    (
        "apigw-websocket-request-disconnect-route",
        "websocket",
        "POST",
        "/events",
    ),
    ("apigw-websocket-request-without-method", "websocket", "POST", "/events"),
    (
        "vpc-lattice-v1-request",
        "vpc-lattice-1",
        "POST",
        "/api/product?category=electronics&sort=price&limit=10&tags=tv",
    ),
    (
        "vpc-lattice-v2-request",
        "vpc-lattice-2",
        "GET",
        "/health?state=prod&multi=a&multi=DEF&multi=g",
    ),
    (
        "vpc-lattice-v2-request-base64",
        "vpc-lattice-2",
        "POST",
        "/api/files/upload?uploadType=profile-image",
    ),
    (
        "vpc-lattice-v2-request-roles-anywhere",
        "vpc-lattice-2",
        "POST",
        "/api/external/data-sync?sync-type=incremental&validate=true",
    ),
];

/// All events of that package are HTTP.
const IN_LAMBDA_HTTP: [HttpCase; 18] = [
    ("alb_health_check", "alb-single", "GET", "/"),
    (
        "alb_multi_value_request",
        "alb-multi",
        "GET",
        "/?myKey=val1&myKey=val2&myOtherKey=val3&myOtherKey=val4",
    ),
    (
        "alb_multi_value_request_encoded_query_parameters",
        "alb-multi",
        "GET",
        "/?myKey=%3FshowAll%3Dtrue&myKey=%3FshowAll%3Dfalse",
    ),
    ("alb_no_host", "alb-single", "GET", "/v1/health/"),
    ("alb_request", "alb-single", "GET", "/?myKey=val2"),
    (
        "alb_request_encoded_query_parameters",
        "alb-single",
        "GET",
        "/?myKey=%3FshowAll%3Dtrue",
    ),
    (
        "apigw_multi_value_proxy_request",
        "rest-api",
        "POST",
        "/hello/world?name=me&multiValueName=you&multiValueName=me",
    ),
    ("apigw_no_host", "rest-api", "GET", "/hello?name=me"),
    ("apigw_proxy_request", "rest-api", "GET", "/hello?name=me"),
    (
        "apigw_request_path_with_space",
        "http-api-2",
        "POST",
        "/my/path-with%20space?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    (
        "apigw_v2_proxy_request",
        "http-api-2",
        "POST",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    ("apigw_v2_proxy_request_minimal", "http-api-2", "GET", "/"),
    (
        "apigw_v2_proxy_request_with_stage_in_path",
        "http-api-2",
        "POST",
        "/Prod/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    ("apigw_v2_sam_local", "http-api-2", "GET", "/hello"),
    (
        "lambda_function_url_request",
        "function-url",
        "GET",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
    ),
    (
        "vpc_lattice_v2_request",
        "vpc-lattice-2",
        "GET",
        "/health?state=prod&multi=a&multi=DEF&multi=g",
    ),
    (
        "vpc_lattice_v2_request_base64",
        "vpc-lattice-2",
        "GET",
        "/health?state=prod&multi=a&multi=DEF&multi=g",
    ),
    (
        "vpc_lattice_v2_request_encoded_query",
        "vpc-lattice-2",
        "GET",
        "/search?filter=%3FshowAll%3Dtrue&q=hello%20world",
    ),
];

/// The folder of a package's sources. `cargo metadata` knows where this build took it from.
fn package_folder(name: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == name)
        .expect("a dependency");
    Path::new(package["manifest_path"].as_str().unwrap())
        .parent()
        .unwrap()
        .to_owned()
}

/// Checks every event of a corpus: those in the table are HTTP, with that source, method and target, and no other is.
fn check_corpus(folder: &Path, prefix: &str, http_events: &[HttpCase]) {
    let mut mismatches = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = name.strip_prefix(prefix).unwrap_or(name);
        let expected = http_events.iter().find(|(event, ..)| *event == name);
        seen += usize::from(expected.is_some());
        let expected = expected.map(|(_, source, method, target)| format!("{source} {method} {target}"));
        let bytes = Bytes::from(fs::read(&file).unwrap());
        let actual = HttpEvent::recognise(&bytes).map(|event| {
            let request = event
                .to_request(&RequestSettings::default(), &LambdaContext::default())
                .unwrap();
            let target = request.uri().path_and_query().unwrap();
            format!("{} {} {target}", source_name(event.source()), request.method())
        });
        if actual != expected {
            mismatches.push(format!("{name}: is {actual:?}, expected {expected:?}"));
        }
    }
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
    assert_eq!(
        seen,
        http_events.len(),
        "events of the table are missing in {}",
        folder.display()
    );
}

#[test]
fn the_events_of_the_package_aws_lambda_events_are_told_apart() {
    let folder = package_folder("aws_lambda_events").join("src/fixtures");
    check_corpus(&folder, "example-", &IN_AWS_LAMBDA_EVENTS);
}

#[test]
fn the_events_of_the_package_lambda_http_are_told_apart() {
    let folder = package_folder("lambda_http").join("tests/data");
    check_corpus(&folder, "", &IN_LAMBDA_HTTP);
}
