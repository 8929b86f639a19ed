//! Every fixture of `tests/fixtures/http` through the host as it ships: a component sees the request that the folder
//! describes, and its response becomes the answer that is there. `host/tests/http_events.rs` says what a folder holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use orlop_tests::{Answer, Event, FakeRuntimeApi, Served, guests};
use serde_json::{Value, json};

/// A line of the log for each response that cannot be delivered.
const REPLACED: &str = "the response could not be delivered";

/// What only the host may say, compared where a fixture's settings ask for it.
const LAMBDA_HEADERS: [&str; 3] = ["x-amzn-request-context", "x-amzn-lambda-context", "x-amz-tenant-id"];
/// What `wasi:http` never shows to a guest.
const HIDDEN_HEADERS: [&str; 1] = ["host"];

/// One folder.
struct Fixture {
    name: String,
    event: Vec<u8>,
    settings: Value,
    request: Option<Value>,
    response: Option<Value>,
    answer: Option<Value>,
    prelude: Option<Value>,
}

type Variables = BTreeMap<&'static str, String>;

// Conformance statements 89 to 95 and 99.
#[test]
fn a_component_sees_the_request_of_every_fixture() {
    let asked = each_fixture("buffered", |fixture, served| {
        let expected = fixture.request.as_ref()?;
        let answer = served.ask(fixture.event_with(fixture.event.clone()));
        let seen = seen(fixture, expected, &answer);
        Some(difference(&fixture.name, &seen, &comparable(fixture, expected)))
    });
    assert!(asked >= 90, "only {asked} fixtures have a request");
}

// Conformance statements 93, and 96 to 98.
#[test]
fn a_response_becomes_the_answer_of_every_fixture() {
    let asked = each_fixture("buffered", |fixture, served| {
        let expected = fixture.answer.as_ref()?;
        let (answer, replaced) = respond(fixture, served);
        let expected = json!([expected, fixture.is_replaced()]);
        Some(difference(&fixture.name, &json!([answer.json(), replaced]), &expected))
    });
    assert!(asked >= 40, "only {asked} fixtures have an answer");
}

// Conformance statements 62 and 63.
#[test]
fn a_streamed_response_begins_with_the_prelude_of_every_fixture() {
    let asked = each_fixture("streaming", |fixture, served| {
        let expected = fixture.prelude.as_ref()?;
        let (answer, replaced) = respond(fixture, served);
        let end = answer.body.iter().position(|byte| *byte == 0).unwrap();
        let prelude: Value = serde_json::from_slice(&answer.body[..end]).unwrap();
        let rest = answer.body[end..].strip_prefix(&[0; 8]).unwrap();
        let body = match expected["statusCode"].as_u64() {
            // The replacement's text is nobody's business here.
            _ if fixture.is_replaced() => rest.to_vec(),
            Some(204 | 304) => Vec::new(),
            _ => content(fixture.response.as_ref().unwrap()),
        };
        let expected = json!([expected, fixture.is_replaced(), latin_1(&body)]);
        Some(difference(
            &fixture.name,
            &json!([prelude, replaced, latin_1(rest)]),
            &expected,
        ))
    });
    assert!(asked >= 10, "only {asked} fixtures have a prelude");
}

/// Has one host per settings meet all fixtures with these settings, and says how many were to be compared.
fn each_fixture(mode: &str, compare: impl Fn(&Fixture, &Served) -> Option<Result<(), String>>) -> usize {
    let mut by_variables = BTreeMap::<Variables, Vec<Fixture>>::new();
    for fixture in fixtures() {
        by_variables.entry(fixture.variables(mode)).or_default().push(fixture);
    }
    let mut outcomes = Vec::new();
    for (variables, fixtures) in &by_variables {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let served = Served::with(FakeRuntimeApi::start(), guests::HTTP, &variables);
        outcomes.extend(fixtures.iter().filter_map(|fixture| compare(fixture, &served)));
    }
    let count = outcomes.len();
    let differences: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    count
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/http");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.collect();
    folders.sort();
    folders.iter().map(|folder| Fixture::read(folder)).collect()
}

impl Fixture {
    fn read(folder: &Path) -> Self {
        let json = |name| {
            let text = fs::read(folder.join(name)).ok()?;
            Some(serde_json::from_slice(&text).unwrap())
        };
        Self {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            event: fs::read(folder.join("event.json")).unwrap(),
            settings: json("settings.json").unwrap_or_default(),
            request: json("request.json"),
            response: json("response.json"),
            answer: json("answer.json"),
            prelude: json("prelude.json"),
        }
    }

    /// What the host is started with.
    fn variables(&self, mode: &str) -> Variables {
        let (settings, context) = (&self.settings, &self.settings["context"]);
        let mut variables = Variables::from([("ORLOP_RESPONSE_MODE", mode.to_owned())]);
        for (name, value) in [
            ("ORLOP_BASE_PATH", &settings["base_path"]),
            ("ORLOP_STRIP_STAGE", &settings["strip_stage"]),
            ("ORLOP_PASS_THROUGH_PATH", &settings["pass_through_path"]),
            ("AWS_LAMBDA_FUNCTION_NAME", &context["function_name"]),
            ("AWS_LAMBDA_FUNCTION_VERSION", &context["function_version"]),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &context["memory_mb"]),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &context["log_group"]),
            ("AWS_LAMBDA_LOG_STREAM_NAME", &context["log_stream"]),
        ] {
            match value {
                Value::Null => {}
                Value::String(text) => drop(variables.insert(name, text.clone())),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    drop(variables.insert(name, value.to_string()));
                }
            }
        }
        variables
    }

    /// An event with the fixture's metadata.
    fn event_with(&self, payload: Vec<u8>) -> Event {
        type Set = fn(Event, Vec<u8>) -> Event;
        let setters: [(&str, Set); 5] = [
            ("invoked_function_arn", Event::function_arn),
            ("trace_id", Event::trace_id),
            ("client_context", Event::client_context),
            ("identity", Event::cognito_identity),
            ("tenant_id", Event::tenant_id),
        ];
        let context = &self.settings["context"];
        let event = Event::new(&self.name, payload);
        setters
            .into_iter()
            .fold(event, |event, (name, set)| match context[name].as_str() {
                Some(value) => set(event, value.as_bytes().to_vec()),
                None => event,
            })
    }

    fn is_replaced(&self) -> bool {
        self.response.as_ref().unwrap()["replaced"] == true
    }
}

/// What the guest saw, in the form of a `request.json`.
fn seen(fixture: &Fixture, expected: &Value, answer: &Answer) -> Value {
    assert!(!answer.is_error, "{}: {}", fixture.name, answer.text());
    let answer = answer.json();
    if expected["refused"].is_number() {
        return json!({ "refused": answer["statusCode"] });
    }
    let is_enveloped = expected["not_http"] != true;
    let mut seen: Value = if is_enveloped {
        assert_eq!(answer["statusCode"], 200, "{}: {answer}", fixture.name);
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    } else {
        answer
    };
    seen["headers"] = comparable_headers(fixture, &seen["headers"]);
    seen.as_object_mut().unwrap().remove("count");
    seen
}

/// The `request.json`, in the form of what the guest tells.
fn comparable(fixture: &Fixture, expected: &Value) -> Value {
    if expected["refused"].is_number() {
        return json!({ "refused": expected["refused"] });
    }
    if expected["not_http"] == true {
        let content_length = fixture.event.len().to_string();
        return json!({
            "method": "POST",
            "scheme": "http",
            "authority": "localhost",
            "path_with_query": "/events",
            "headers": [["content-length", content_length], ["content-type", "application/json"]],
            "body": latin_1(&fixture.event),
        });
    }
    let body = if expected["body_is_event"] == true {
        fixture.event.clone()
    } else {
        content(expected)
    };
    let headers = expected["headers"].as_array().unwrap().iter();
    let headers: Vec<_> = headers
        .map(|header| json!([header[0], latin_1(header[1].as_str().unwrap().as_bytes())]))
        .collect();
    json!({
        "method": expected["method"],
        "scheme": expected["scheme"],
        "authority": expected["authority"],
        "path_with_query": expected["path_with_query"],
        "headers": comparable_headers(fixture, &json!(headers)),
        "body": latin_1(&body),
    })
}

/// The headers by name, those of one name in their order: a header that the guest must not see changes the order of the
/// others. What this host cannot be told, such as when the fixture's event ends, is left out.
fn comparable_headers(fixture: &Fixture, headers: &Value) -> Value {
    let is_compared = |name: &str| {
        let is_lambda_header = LAMBDA_HEADERS.contains(&name);
        !HIDDEN_HEADERS.contains(&name) && (fixture.settings["lambda_headers"] == true || !is_lambda_header)
    };
    let mut headers: Vec<(String, Value)> = serde_json::from_value(headers.clone()).unwrap();
    headers.retain(|(name, _)| is_compared(name));
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "x-amzn-lambda-context") {
        let mut context: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        let members = context.as_object_mut().unwrap();
        assert!(members.remove("request_id").unwrap().is_string());
        assert!(members.remove("deadline").unwrap().is_u64());
        if fixture.settings["context"].is_null() {
            members.remove("invoked_function_arn");
            members.remove("env_config");
        }
        *value = context;
    }
    json!(headers)
}

/// Has the guest give the fixture's response, and says whether the host complained of it.
fn respond(fixture: &Fixture, served: &Served) -> (Answer, bool) {
    let response = fixture.response.as_ref().unwrap();
    let order = json!({ "respond": described(response) });
    let mut event: Value = serde_json::from_slice(&fixture.event).unwrap();
    event["body"] = json!(order.to_string());
    event["isBase64Encoded"] = json!(false);
    event["is_base64_encoded"] = json!(false);
    // A WebSocket event is the request's body as a whole.
    event["respond"] = order["respond"].clone();
    let answer = served.ask(fixture.event_with(event.to_string().into_bytes()));
    assert!(!answer.is_error, "{}: {}", fixture.name, answer.text());
    let log = log_until_now(fixture, served);
    let mut lines = log
        .iter()
        .filter(|line| line.contains(&format!("\t{}\t", fixture.name)));
    (answer, lines.any(|line| line.contains(REPLACED)))
}

/// The log with all lines that are on their way: the guest of one more event writes the last one, about a header that
/// it cannot set.
fn log_until_now(fixture: &Fixture, served: &Served) -> Vec<String> {
    let mark = format!("end of {}", fixture.name);
    let order = json!({ "respond": { "status": 200, "headers": [[mark, ""]], "body": "" } });
    served.ask(Event::new(format!("after-{}", fixture.name), order.to_string()));
    served.host.wait_for_log(|line| line.contains(&mark));
    served.host.log()
}

/// The response in Latin-1. A length that is wrong is left out; that is a test of its own.
fn described(response: &Value) -> Value {
    let body = content(response);
    let length = body.len().to_string();
    let headers = response["headers"].as_array().unwrap().iter();
    let headers = headers
        .map(|header| {
            let value = match header[1].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => BASE64.decode(header[1]["base64"].as_str().unwrap()).unwrap(),
            };
            json!([header[0], latin_1(&value)])
        })
        .filter(|header| header[0] != "content-length" || header[1] == *length);
    json!({
        "status": response["status"],
        "headers": headers.collect::<Vec<_>>(),
        "body": latin_1(&body),
    })
}

fn content(message: &Value) -> Vec<u8> {
    match message["body_base64"].as_str() {
        Some(base64) => BASE64.decode(base64).unwrap(),
        None => message["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn difference(name: &str, actual: &Value, expected: &Value) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{name}\n  is       {actual}\n  expected {expected}"))
}
