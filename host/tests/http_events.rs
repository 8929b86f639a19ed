//! HTTP over Lambda events: the fixtures of `tests/fixtures/http`, the events that others published, and properties.
//!
//! A fixture is a folder: `event.json`; the expected `request.json`, or a `response.json` with the expected
//! `answer.json` (the envelope), `prelude.json` (of a stream) or both; and `settings.json` where the default will not
//! do. The headers that describe the invocation are compared where the settings say `lambda_headers`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use orlop_host::events::{self, Envelope, HttpEvent, LambdaContext, RequestSettings, Source, envelope, pass_through};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "http_events/corpora.rs"]
mod corpora;
#[path = "http_events/properties.rs"]
mod properties;

const LAMBDA_HEADERS: [&str; 3] = ["x-amzn-request-context", "x-amzn-lambda-context", "x-amz-tenant-id"];

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    base_path: Option<String>,
    strip_stage: bool,
    pass_through_path: Option<String>,
    lambda_headers: bool,
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Context {
    request_id: String,
    deadline_ms: u64,
    invoked_function_arn: Option<String>,
    trace_id: Option<String>,
    client_context: Option<String>,
    identity: Option<String>,
    tenant_id: Option<String>,
    function_name: String,
    function_version: String,
    memory_mb: u32,
    log_group: Option<String>,
    log_stream: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenResponse {
    status: u16,
    headers: Vec<(String, Value)>,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default)]
    replaced: bool,
}

impl Settings {
    fn request_settings(&self) -> RequestSettings {
        let default = RequestSettings::default();
        RequestSettings {
            base_path: self.base_path.clone(),
            strip_stage: self.strip_stage,
            pass_through_path: self.pass_through_path.clone().unwrap_or(default.pass_through_path),
        }
    }
}

impl Context {
    fn borrowed(&self) -> LambdaContext<'_> {
        LambdaContext {
            request_id: &self.request_id,
            deadline_ms: self.deadline_ms,
            invoked_function_arn: self.invoked_function_arn.as_deref(),
            trace_id: self.trace_id.as_deref(),
            client_context: self.client_context.as_deref(),
            identity: self.identity.as_deref(),
            tenant_id: self.tenant_id.as_deref(),
            function_name: &self.function_name,
            function_version: &self.function_version,
            memory_mb: self.memory_mb,
            log_group: self.log_group.as_deref(),
            log_stream: self.log_stream.as_deref(),
        }
    }
}

impl GivenResponse {
    fn build(&self) -> Response<Bytes> {
        let body = match &self.body_base64 {
            Some(base64) => STANDARD.decode(base64).unwrap(),
            None => self.body.clone().unwrap_or_default().into_bytes(),
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            let value = match value.as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => STANDARD.decode(value["base64"].as_str().unwrap()).unwrap(),
            };
            response = response.header(name, value);
        }
        response.body(Bytes::from(body)).unwrap()
    }
}

fn read<T: for<'de> Deserialize<'de>>(file: &Path) -> Option<T> {
    let text = fs::read(file).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::RestApi => "rest-api",
        Source::HttpApi1 => "http-api-1",
        Source::HttpApi2 => "http-api-2",
        Source::FunctionUrl => "function-url",
        Source::Alb { multi_value: false } => "alb-single",
        Source::Alb { multi_value: true } => "alb-multi",
        Source::WebSocket => "websocket",
        Source::VpcLattice1 => "vpc-lattice-1",
        Source::VpcLattice2 => "vpc-lattice-2",
    }
}

/// What the event became, in the form of a `request.json`.
fn outcome(event: &Bytes, settings: &Settings, expected: &Value) -> Value {
    let Some(http_event) = HttpEvent::recognise(event) else {
        return json!({ "not_http": true });
    };
    let source = source_name(http_event.source());
    let request = match http_event.to_request(&settings.request_settings(), &settings.context.borrowed()) {
        Ok(request) => request,
        Err(refusal) => return json!({ "source": source, "refused": refusal.status.as_u16() }),
    };
    let headers: Vec<_> = request
        .headers()
        .iter()
        .filter(|(name, _)| settings.lambda_headers || !LAMBDA_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap()))
        .collect();
    let (body_name, body) = if expected.get("body_is_event").is_some() {
        ("body_is_event", json!(request.body() == event))
    } else if expected.get("body_base64").is_some() {
        ("body_base64", json!(STANDARD.encode(request.body())))
    } else {
        ("body", json!(String::from_utf8_lossy(request.body())))
    };
    json!({
        "source": source,
        "method": request.method().as_str(),
        "scheme": request.uri().scheme_str(),
        "authority": request.uri().authority().map(|authority| authority.as_str()),
        "path_with_query": request.uri().path_and_query().map(|target| target.as_str()),
        "headers": headers,
        body_name: body,
    })
}

/// The JSON of a prelude, and what follows the delimiter.
fn split_prelude(prelude: &Envelope) -> (Value, &[u8]) {
    let bytes = &prelude.bytes;
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .expect("a prelude ends with NULs");
    assert_eq!(bytes[end..end + 8], [0; 8]);
    (serde_json::from_slice(&bytes[..end]).unwrap(), &bytes[end + 8..])
}

fn check_response(event: &Bytes, folder: &Path, given: &GivenResponse, mismatches: &mut Vec<String>) {
    let name = folder.display();
    let event = HttpEvent::recognise(event).unwrap_or_else(|| panic!("{name} has an answer and is no HTTP event"));
    let (source, method) = (event.source(), event.method());
    let mut checks = 0;
    let mut compare = |what: &str, actual: &Value, expected: &Value| {
        checks += 1;
        if actual != expected {
            mismatches.push(format!("{name}: {what}\n  is       {actual}\n  expected {expected}"));
        }
    };
    if let Some(expected) = read::<Value>(&folder.join("answer.json")) {
        let answer = envelope(source, method, given.build());
        compare("answer", &serde_json::from_slice(&answer.bytes).unwrap(), &expected);
        compare(
            "answer.replaced",
            &json!(answer.replaced.is_some()),
            &json!(given.replaced),
        );
    }
    if let Some(expected) = read::<Value>(&folder.join("prelude.json")) {
        let prelude = events::prelude(source, &given.build().into_parts().0);
        let (json, rest) = split_prelude(&prelude);
        compare("prelude", &json, &expected);
        compare(
            "prelude.replaced",
            &json!(prelude.replaced.is_some()),
            &json!(given.replaced),
        );
        compare(
            "body after the prelude",
            &json!(!rest.is_empty()),
            &json!(given.replaced),
        );
    }
    assert!(checks > 0, "{name} has a response and no expectation");
}

#[test]
fn every_fixture_gives_what_its_folder_says() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/http");
    let mut folders: Vec<PathBuf> = fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() >= 100, "only {} fixtures", folders.len());
    let mut mismatches = Vec::new();
    for folder in &folders {
        let event = Bytes::from(fs::read(folder.join("event.json")).unwrap());
        let expected = read::<Value>(&folder.join("request.json"));
        let response = read::<GivenResponse>(&folder.join("response.json"));
        assert!(
            expected.is_some() || response.is_some(),
            "{} expects nothing",
            folder.display()
        );
        if let Some(expected) = expected {
            let settings = read::<Settings>(&folder.join("settings.json")).unwrap_or_default();
            let actual = outcome(&event, &settings, &expected);
            if actual != expected {
                mismatches.push(format!(
                    "{}\n  is       {actual}\n  expected {expected}",
                    folder.display()
                ));
            }
        }
        if let Some(response) = response {
            check_response(&event, folder, &response, &mut mismatches);
        }
    }
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

fn request_of(event: &Value) -> Result<Request<Bytes>, StatusCode> {
    let event = Bytes::from(event.to_string());
    let event = HttpEvent::recognise(&event).expect("an HTTP event");
    event
        .to_request(&RequestSettings::default(), &LambdaContext::default())
        .map_err(|refusal| refusal.status)
}

fn alb_event_with_headers(count: usize) -> Value {
    let headers: BTreeMap<_, _> = (0..count)
        .map(|index| (format!("x-{index}"), index.to_string()))
        .collect();
    json!({ "requestContext": { "elb": {} }, "httpMethod": "GET", "path": "/", "headers": headers })
}

#[test]
fn two_thousand_headers_arrive() {
    let request = request_of(&alb_event_with_headers(2_000)).unwrap();
    assert!((0..2_000).all(|index| request.headers()[format!("x-{index}").as_str()] == index.to_string()));
    let response = Response::builder().status(200);
    let response = (0..2_000).fold(response, |response, index| response.header(format!("x-{index}"), "y"));
    let answer = envelope(Source::FunctionUrl, "GET", response.body(Bytes::new()).unwrap());
    let answer: Value = serde_json::from_slice(&answer.bytes).unwrap();
    assert_eq!(answer["headers"].as_object().unwrap().len(), 2_000);
}

#[test]
fn what_is_beyond_all_bounds_is_refused() {
    assert_eq!(
        request_of(&alb_event_with_headers(40_000)).unwrap_err(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let event = json!({ "requestContext": { "elb": {} }, "path": "/".repeat(70_000) });
    assert_eq!(request_of(&event).unwrap_err(), StatusCode::URI_TOO_LONG);
}

// Conformance statement 98.
#[test]
fn an_envelope_above_the_limit_is_replaced_by_a_small_502_and_a_remark() {
    let answer = |content_type: &str, body: Vec<u8>| {
        let response = Response::builder()
            .header("content-type", content_type)
            .body(Bytes::from(body));
        envelope(Source::RestApi, "GET", response.unwrap())
    };
    let frame = answer("text/plain", Vec::new()).bytes.len();
    let largest = orlop_host::error::MAX_RESPONSE_BYTES - frame;
    for (content_type, body, fits) in [
        ("text/plain", vec![b'a'; largest], true),
        ("text/plain", vec![b'a'; largest + 1], false),
        ("text/plain", vec![b'\n'; largest / 2 + 1], false),
        ("image/png", vec![b'a'; largest / 4 * 3 - 9], true),
        ("image/png", vec![b'a'; largest / 4 * 3 + 9], false),
        ("image/png", vec![b'a'; 8_000_000], false),
    ] {
        let bytes = body.len();
        let answer = answer(content_type, body);
        let json: Value = serde_json::from_slice(&answer.bytes).unwrap();
        assert_eq!(
            json["statusCode"],
            if fits { 200 } else { 502 },
            "{content_type}, {bytes} bytes"
        );
        assert_eq!(answer.replaced.is_none(), fits);
        assert!(answer.bytes.len() <= orlop_host::error::MAX_RESPONSE_BYTES);
        if let Some(replaced) = answer.replaced {
            assert!(answer.bytes.len() < 300);
            assert!(replaced.to_string().contains(&format!("{bytes} bytes")), "{replaced}");
        }
    }
}

#[test]
fn a_prelude_that_api_gateway_would_not_read_to_its_end_is_replaced() {
    let parts = Response::builder()
        .header("x-long", "y".repeat(20_000))
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let replaced = events::prelude(Source::RestApi, &parts);
    assert_eq!(split_prelude(&replaced).0["statusCode"], 502);
    assert!(replaced.replaced.unwrap().to_string().contains("API Gateway"));
    let kept = events::prelude(Source::FunctionUrl, &parts);
    assert_eq!(split_prelude(&kept).0["statusCode"], 200);
}

#[test]
fn an_event_that_is_no_http_is_posted_as_it_is() {
    let event = Bytes::from_static(b"\xff not even JSON");
    let context = LambdaContext {
        request_id: "r",
        tenant_id: Some("t"),
        trace_id: Some("Root=1"),
        ..LambdaContext::default()
    };
    let request = pass_through(event.clone(), "/queue", &context);
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/queue"));
    assert_eq!(request.body(), &event);
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(headers[0], ("content-type", b"application/json".as_slice()));
    assert_eq!(headers[1], ("content-length", b"15".as_slice()));
    assert!(headers[2].0 == "x-amzn-lambda-context" && headers[2].1.starts_with(br#"{"request_id":"r","#));
    assert_eq!(
        headers[3..],
        [
            ("x-amz-tenant-id", b"t".as_slice()),
            ("x-amzn-trace-id", b"Root=1".as_slice())
        ]
    );
}

#[test]
fn a_refusal_is_a_response_that_every_source_can_carry() {
    let event = json!({ "requestContext": { "elb": {} }, "httpMethod": "no method" });
    let event = Bytes::from(event.to_string());
    let event = HttpEvent::recognise(&event).unwrap();
    let refusal = event
        .to_request(&RequestSettings::default(), &LambdaContext::default())
        .unwrap_err();
    let answer = envelope(event.source(), event.method(), refusal.into_response());
    let answer: Value = serde_json::from_slice(&answer.bytes).unwrap();
    assert_eq!(answer["statusCode"], 400);
    assert_eq!(answer["body"], "the request's method is not a valid one");
}
