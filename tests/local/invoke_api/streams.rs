//! Callers who get the answer as it is made.

use orlop_local::invocation::Status;
use orlop_local::invoke_api::Config;

use super::{Lambda, ended};
use crate::support::function;

async fn orders() -> Lambda {
    Lambda::start([function("orders")], Config::default()).await
}

#[tokio::test]
async fn pieces_arrive_while_the_function_is_still_at_work() {
    let script = r#"
arrivals = []
parts = []
for part in stream({"stream": ["one", "two", "three"], "pause": 0.5}):
    arrivals.append(time.monotonic())
    parts.append(part)
assert parts == [b"one", b"two", b"three", {}], parts
assert arrivals[1] - arrivals[0] > 0.25 and arrivals[2] - arrivals[1] > 0.25, arrivals
answer = lambda_client.invoke_with_response_stream(FunctionName="orders", Payload="{}")
assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
assert answer["ResponseMetadata"]["RequestId"] in str([part for part in answer["EventStream"]])
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_the_error_and_the_log() {
    let script = r#"
*pieces, end = stream({"print": "a line", "stream": ["one"], "break": "Function.Broken"}, LogType="Tail")
assert pieces == [b"one"]
assert end["ErrorCode"] == "Unhandled", end
assert json.loads(end["ErrorDetails"]) == {"errorType": "Function.Broken", "errorMessage": "it broke", "stackTrace": []}
log = base64.b64decode(end["LogResult"]).decode()
assert "a line" in log and "REPORT RequestId" in log, log
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_function_that_does_not_stream_answers_in_one_piece() {
    let script = r#"
assert list(stream({"raw": "whole"})) == [b"whole", {}]
assert list(stream({"raw": ""})) == [{}]
*pieces, end = stream({"error": "Function.Odd"})
assert pieces == [] and end["ErrorCode"] == "Unhandled" and json.loads(end["ErrorDetails"])["errorType"] == "Function.Odd"
*pieces, end = stream({"exit": 7})
assert pieces == [] and json.loads(end["ErrorDetails"])["errorType"] == "Runtime.ExitError"
*pieces, end = stream({"size": 6291556})
assert len(b"".join(pieces)) == 6291556 and end == {}
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_large_stream_arrives_byte_for_byte() {
    let script = r#"
pieces = [chr(97 + number % 26) * 100_000 for number in range(50)]
*received, end = stream({"stream": pieces})
assert b"".join(received).decode() == "".join(pieces) and end == {}
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_stream_is_refused_as_any_call_is() {
    let script = r#"
def refusal(call):
    status, code, *_ = refused(call)
    return status, code

assert refusal(lambda: list(stream({}, "nobody"))) == (404, "ResourceNotFoundException")
assert refusal(lambda: list(stream({}, InvocationType="Event"))) == (400, "InvalidParameterValueException")
bad = lambda: lambda_client.invoke_with_response_stream(FunctionName="orders", Payload="{")
assert refusal(bad) == (400, "InvalidRequestContentException")
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_caller_who_leaves_a_stream_does_not_stop_the_function() {
    let lambda = orders().await;
    let script = r#"
parts = stream({"stream": ["x" * 50_000] * 100, "pause": 0.005})
assert len(next(parts)) > 0
"#;
    lambda.python(script).await;
    assert_eq!(lambda.until(1, ended).await, [Status::Success]);
}
