//! Callers who do not wait.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use orlop_local::Function;
use orlop_local::invoke_api::{Config, EventInvokeConfig};
use orlop_local::journal::What;
use serde_json::{Value, json};

use super::{Lambda, ended, notice};
use crate::support::function;

/// Retries that do not take long, and all the queues there can be.
fn events() -> EventInvokeConfig {
    EventInvokeConfig {
        backoff: Duration::from_millis(50),
        on_success: Some("handled".to_owned()),
        on_failure: Some("given-up".to_owned()),
        dead_letter: Some("dead".to_owned()),
        ..EventInvokeConfig::default()
    }
}

async fn start(function: Function, events: EventInvokeConfig) -> Lambda {
    let config = Config {
        events,
        ..Config::default()
    };
    let lambda = Lambda::start([function], config).await;
    for queue in ["handled", "given-up", "dead"] {
        lambda.queues.create(queue, &[]).await.unwrap();
    }
    lambda
}

fn recording(folder: &Path) -> Function {
    let mut function = function("orders");
    let file = folder.join("record").to_str().unwrap().to_owned();
    function.variables.push(("RECORD".to_owned(), file));
    function
}

fn single() -> Function {
    Function {
        concurrency: NonZeroU32::MIN,
        ..function("orders")
    }
}

/// Waits until a queue has so many messages, and returns their bodies.
async fn messages(lambda: &Lambda, queue: &str, count: usize) -> Vec<Value> {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let messages = lambda.queues.peek(queue, count + 1).unwrap();
        if messages.len() >= count {
            assert_eq!(messages.len(), count);
            let bodies = messages
                .iter()
                .map(|message| serde_json::from_str(&message.body).unwrap());
            return bodies.collect();
        }
        assert!(Instant::now() < patience, "{queue} has {} messages", messages.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn started(what: &What) -> Option<String> {
    let What::InvocationStarted { request_id, .. } = what else {
        return None;
    };
    Some(request_id.clone())
}

/// Sends events, and returns their request ids.
async fn send(lambda: &Lambda, events: &[Value]) -> Vec<String> {
    let events = Value::from(events.to_vec());
    let script = format!(
        r#"
for event in json.loads({:?}):
    answer = invoke(event, InvocationType="Event", ClientContext="e30=")
    assert answer["StatusCode"] == 202 and answer["Payload"] is None, answer
    print(answer["ResponseMetadata"]["RequestId"])
"#,
        events.to_string()
    );
    lambda.python(&script).await.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_event_is_accepted_at_once_and_its_success_recorded() {
    let lambda = start(function("orders"), events()).await;
    let ids = send(&lambda, &[json!({"sleep": 0.2, "order": 1})]).await;
    let record = &messages(&lambda, "handled", 1).await[0];
    assert_eq!(record["version"], "1.0");
    assert_eq!(
        record["requestContext"],
        json!({
            "requestId": ids[0],
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:orders:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        })
    );
    assert_eq!(record["requestPayload"], json!({"sleep": 0.2, "order": 1}));
    assert_eq!(
        record["responseContext"],
        json!({"statusCode": 200, "executedVersion": "$LATEST"})
    );
    assert_eq!(record["responsePayload"]["event"]["order"], 1);
    let headers = &record["responsePayload"]["headers"];
    assert_eq!(headers["lambda-runtime-aws-request-id"], Value::from(ids[0].as_str()));
    assert!(headers.get("lambda-runtime-client-context").is_none());
    assert!(lambda.queues.peek("given-up", 1).unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_fails_is_tried_twice_more_under_the_same_id_and_then_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let lambda = start(recording(folder.path()), events()).await;
    let event = json!({"record": "attempt", "error": "Function.Odd"});
    let ids = send(&lambda, std::slice::from_ref(&event)).await;
    let record = &messages(&lambda, "given-up", 1).await[0];
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(record["requestContext"]["requestId"], Value::from(ids[0].as_str()));
    assert_eq!(record["responseContext"]["functionError"], "Unhandled");
    assert_eq!(record["responsePayload"]["errorType"], "Function.Odd");
    assert_eq!(messages(&lambda, "dead", 1).await, [event]);
    let attempts = std::fs::read_to_string(folder.path().join("record")).unwrap();
    assert_eq!(attempts.lines().count(), 3);
    assert_eq!(lambda.journal(started), vec![ids[0].clone(); 3]);
    assert!(lambda.queues.peek("handled", 1).unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_letter_says_what_went_wrong() {
    let lambda = start(function("orders"), EventInvokeConfig { retries: 0, ..events() }).await;
    let ids = send(&lambda, &[json!({"error": "Function.Odd"})]).await;
    messages(&lambda, "dead", 1).await;
    let message = lambda.queues.answer(receive("dead")).await;
    let received: Value = serde_json::from_slice(message.body()).unwrap();
    let attributes = &received["Messages"][0]["MessageAttributes"];
    assert_eq!(attributes["RequestID"]["StringValue"], Value::from(ids[0].as_str()));
    assert_eq!(
        attributes["ErrorCode"],
        json!({"DataType": "Number", "StringValue": "200"})
    );
    assert_eq!(attributes["ErrorMessage"]["StringValue"], "as asked");
    assert_eq!(lambda.journal(started).len(), 1);
}

fn receive(queue: &str) -> hyper::Request<bytes::Bytes> {
    let body = json!({"QueueUrl": format!("http://localhost/000000000000/{queue}"), "MessageAttributeNames": ["All"]});
    hyper::Request::post("/")
        .header("x-amz-target", "AmazonSQS.ReceiveMessage")
        .header("content-type", "application/x-amz-json-1.0")
        .body(body.to_string().into())
        .unwrap()
}

#[tokio::test]
async fn more_events_than_environments_are_handled_one_after_the_other() {
    let lambda = start(single(), events()).await;
    let many: Vec<_> = (0..30).map(|number| json!({"order": number})).collect();
    send(&lambda, &many).await;
    let records = messages(&lambda, "handled", 30).await;
    let order: Vec<_> = records.iter().map(|record| record["requestPayload"].clone()).collect();
    assert_eq!(order, many);
    assert_eq!(lambda.platform.environments().len(), 1);
}

#[tokio::test]
async fn a_throttled_event_waits_without_losing_an_attempt() {
    let lambda = start(single(), EventInvokeConfig { retries: 0, ..events() }).await;
    let script = r#"
busy = occupy(1.5)
invoke({"order": 1}, InvocationType="Event")
busy.join()
"#;
    lambda.python(script).await;
    let record = &messages(&lambda, "handled", 1).await[0];
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 1);
    let throttled = |what: &What| {
        let What::Throttled { source, .. } = what else {
            return None;
        };
        source.contains("asynchronous").then_some(())
    };
    assert!(!lambda.journal(throttled).is_empty());
}

#[tokio::test]
async fn an_event_that_becomes_too_old_is_given_up_without_being_handled() {
    let brief = EventInvokeConfig {
        max_age: Duration::from_millis(300),
        ..events()
    };
    let lambda = start(single(), brief).await;
    send(&lambda, &[json!({"sleep": 2}), json!({"order": 2})]).await;
    let record = &messages(&lambda, "given-up", 1).await[0];
    assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
    assert_eq!(record["requestPayload"], json!({"order": 2}));
    assert_eq!(messages(&lambda, "dead", 1).await, [json!({"order": 2})]);
    // The one that was under way is not disturbed.
    assert_eq!(
        messages(&lambda, "handled", 1).await[0]["requestPayload"],
        json!({"sleep": 2})
    );
}

#[tokio::test]
async fn what_is_given_up_without_a_queue_and_what_a_queue_does_not_take_is_said() {
    let silent = EventInvokeConfig {
        backoff: Duration::ZERO,
        ..EventInvokeConfig::default()
    };
    let lambda = start(function("orders"), silent).await;
    let ids = send(&lambda, &[json!({"error": "Function.Odd"})]).await;
    let said = &lambda.until(1, notice).await[0];
    assert!(
        said.contains(&ids[0]) && said.contains("given up after 3 attempts"),
        "{said}"
    );

    let nowhere = EventInvokeConfig {
        on_success: Some("nowhere".to_owned()),
        ..EventInvokeConfig::default()
    };
    let lambda = start(function("orders"), nowhere).await;
    let ids = send(&lambda, &[json!({})]).await;
    let said = &lambda.until(1, notice).await[0];
    assert!(said.contains(&ids[0]) && said.contains("the queue `nowhere`"), "{said}");
}

#[tokio::test]
async fn events_have_settings_of_their_function_and_a_limit_of_a_mib() {
    let config = Config {
        events: events(),
        events_of: [("orders".to_owned(), EventInvokeConfig { retries: 1, ..events() })].into(),
    };
    let lambda = Lambda::start([function("orders"), function("mail")], config).await;
    lambda.queues.create("given-up", &[]).await.unwrap();
    lambda.queues.create("dead", &[]).await.unwrap();
    let script = r#"
for name in ["orders", "mail"]:
    invoke({"error": "Function.Odd", "name": name}, name, InvocationType="Event")
payload = json.dumps({"error": "Function.Odd"}).ljust(1048576)
assert lambda_client.invoke(FunctionName="orders", InvocationType="Event", Payload=payload)["StatusCode"] == 202
too_large = lambda: lambda_client.invoke(FunctionName="orders", InvocationType="Event", Payload=payload + " ")
status, code, message, _ = refused(too_large)
assert (status, code) == (413, "RequestTooLargeException") and "1048577 byte payload" in message, message
assert refused(lambda: invoke({}, "nobody", InvocationType="Event"))[0] == 404
"#;
    lambda.python(script).await;
    let counts = lambda.until(2 + 3 + 2, started).await;
    assert_eq!(counts.len(), 7);
}

#[tokio::test]
async fn what_is_not_handled_at_the_end_is_named() {
    let patient = EventInvokeConfig {
        backoff: Duration::from_secs(600),
        ..events()
    };
    let lambda = start(function("orders"), patient).await;
    let failing = json!({"error": "Function.Odd"});
    let ids = send(&lambda, &[failing, json!({"sleep": 0.5})]).await;
    lambda.until(1, ended).await;
    let left = lambda.api.shut_down(Duration::from_secs(20)).await;
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].request_id, left[0].function.as_str()), (&ids[0], "orders"));
    assert!(lambda.journal(notice)[0].contains(&ids[0]));
    // What was under way was waited for.
    assert_eq!(
        messages(&lambda, "handled", 1).await[0]["requestContext"]["requestId"],
        Value::from(ids[1].as_str())
    );
    let late = r#"
assert refused(lambda: invoke({}, InvocationType="Event"))[:2] == (500, "ServiceException")
"#;
    lambda.python(late).await;
}
