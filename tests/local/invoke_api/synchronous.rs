//! Callers who wait for the whole answer.

use std::num::NonZeroU32;
use std::time::Duration;

use orlop_local::Function;
use orlop_local::invocation::Status;
use orlop_local::invoke_api::Config;

use super::{Lambda, ended};
use crate::support::function;

async fn orders() -> Lambda {
    Lambda::start([function("orders")], Config::default()).await
}

#[tokio::test]
async fn an_event_goes_in_and_its_answer_comes_back() {
    let script = r#"
answer = invoke({"order": 1, "name": "Zoë"})
assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST" and "FunctionError" not in answer
assert answer["Payload"]["event"] == {"order": 1, "name": "Zoë"}
told = answer["Payload"]["headers"]
assert told["lambda-runtime-aws-request-id"] == answer["ResponseMetadata"]["RequestId"]
trace = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"]
assert told["lambda-runtime-trace-id"] == trace and trace.startswith("Root=1-")
assert "LogResult" not in answer
# No payload at all is an empty object.
payload = lambda_client.invoke(FunctionName="orders")["Payload"].read()
assert json.loads(payload)["event"] == {}
# Any JSON is an event, and its bytes stay as they are.
for text in ['null', '"text"', ' [1e999, 12345678901234567890]\n']:
    response, body = raw("POST", "/2015-03-31/functions/orders/invocations", text)
    assert response.status == 200 and json.loads(body)["event"] == json.loads(text)
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_function_is_called_by_its_name_its_arn_and_with_a_qualifier() {
    let script = r#"
def invoked(name, **options):
    return invoke({}, name, **options)["Payload"]["headers"]["lambda-runtime-invoked-function-arn"]

arn = "arn:aws:lambda:us-east-1:000000000000:function:orders"
assert invoked("orders") == arn
assert invoked("000000000000:function:orders") == arn
assert invoked("arn:aws:lambda:eu-west-1:123456789012:function:orders") == arn
assert invoked("orders:live") == arn + ":live"
assert invoked(arn + ":$LATEST") == arn + ":$LATEST"
assert invoked("orders", Qualifier="7") == arn + ":7"
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn the_end_of_the_log_comes_with_the_answer_if_asked_for() {
    let script = r#"
answer = invoke({"print": "a line of the guest"}, LogType="Tail")
log = base64.b64decode(answer["LogResult"]).decode()
id = answer["ResponseMetadata"]["RequestId"]
lines = log.splitlines()
assert lines[0].startswith(f"START RequestId: {id}"), log
assert "a line of the guest" in lines
assert any(line.startswith(f"END RequestId: {id}") for line in lines), log
assert lines[-1].startswith(f"REPORT RequestId: {id}"), log
long = "\n".join(f"line {number:05}" for number in range(2000))
log = base64.b64decode(invoke({"print": long}, LogType="Tail")["LogResult"])
assert 3500 < len(log) <= 4096 and b"line 01999" in log and b"line 00001" not in log
failed = invoke({"print": "before", "error": "Function.Odd"}, LogType="Tail")
assert failed["FunctionError"] and b"before" in base64.b64decode(failed["LogResult"])
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn client_context_tenant_and_trace_reach_the_function() {
    let script = r#"
context = json.dumps({"custom": {"name": "Zoë"}, "env": {}}, ensure_ascii=False)
encoded = base64.b64encode(context.encode()).decode()
answer = invoke({}, ClientContext=encoded, TenantId="blue")
told = answer["Payload"]["headers"]
assert told["lambda-runtime-client-context"].encode("latin-1").decode() == context, told
assert told["lambda-runtime-aws-tenant-id"] == "blue"
trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
response, body = raw("POST", "/2015-03-31/functions/orders/invocations", "{}", {"X-Amzn-Trace-Id": trace})
assert response.headers["x-amzn-trace-id"] == trace
assert json.loads(body)["headers"]["lambda-runtime-trace-id"] == trace
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_function_that_fails_is_a_successful_call_with_an_error_in_it() {
    let hasty = Function {
        timeout: Duration::from_secs(1),
        ..function("hasty")
    };
    let missing = Function {
        program: "/nowhere/bootstrap".into(),
        ..function("missing")
    };
    let lambda = Lambda::start([function("orders"), hasty, missing], Config::default()).await;
    let script = r#"
def failed(event, name="orders"):
    answer = invoke(event, name)
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled", answer
    return answer["Payload"]

assert failed({"error": "Function.Odd"}) == {"errorType": "Function.Odd", "errorMessage": "as asked", "stackTrace": []}
crashed = failed({"exit": 7})
assert crashed["errorType"] == "Runtime.ExitError" and crashed["errorMessage"].endswith("exit status 7"), crashed
late = failed({"sleep": 60}, "hasty")
assert late["errorType"] == "Sandbox.Timedout" and late["errorMessage"].endswith("Task timed out after 1.00 seconds"), late
absent = failed({}, "missing")
assert absent["errorType"] == "Runtime.InvalidEntrypoint" and "/nowhere/bootstrap" in absent["errorMessage"], absent
assert failed({"size": 6291557})["errorType"] == "Function.ResponseSizeTooLarge"
assert failed({"stream": ["half"], "break": "Function.Broken"})["errorType"] == "Function.Broken"
assert invoke({})["Payload"]["event"] == {}
"#;
    lambda.python(script).await;
}

#[tokio::test]
async fn a_streamed_answer_is_collected_for_a_caller_who_wants_it_whole() {
    let script = r#"
answer = invoke({"stream": ["[1,", "2]"]})
assert answer["Payload"] == [1, 2] and "FunctionError" not in answer
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn six_mib_go_both_ways_and_a_byte_more_is_refused() {
    let script = r#"
limit = 6291456
path = "/2015-03-31/functions/orders/invocations"
answer = lambda_client.invoke(FunctionName="orders", Payload=json.dumps({"size": 6291556}).ljust(limit))
assert "FunctionError" not in answer and len(answer["Payload"].read()) == 6291556
status, code, message, _ = refused(lambda: lambda_client.invoke(FunctionName="orders", Payload="1".ljust(limit + 1)))
assert (status, code) == (413, "RequestTooLargeException") and str(limit) in message, message
# As soon as it is clear that it is far too large.
connection = http.client.HTTPConnection(URL.removeprefix("http://"))
connection.putrequest("POST", path)
connection.putheader("Content-Length", str(1 << 40))
connection.endheaders()
assert connection.getresponse().status == 413
"#;
    orders().await.python(script).await;
}

#[tokio::test]
async fn a_dry_run_checks_and_calls_nothing() {
    let lambda = orders().await;
    let script = r#"
assert invoke({}, InvocationType="DryRun")["StatusCode"] == 204
assert refused(lambda: invoke({}, "nobody", InvocationType="DryRun"))[0] == 404
assert list(stream({}, InvocationType="DryRun")) == []
"#;
    lambda.python(script).await;
    assert!(lambda.platform.environments().is_empty());
}

#[tokio::test]
async fn beyond_the_limit_a_caller_is_told_to_come_again() {
    let single = Function {
        concurrency: NonZeroU32::MIN,
        ..function("orders")
    };
    let lambda = Lambda::start([single], Config::default()).await;
    let script = r#"
first = occupy(2)
refusal = throttled()
assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 429
assert refusal["Error"]["Code"] == "TooManyRequestsException" and refusal["Error"]["Message"].startswith("Rate Exceeded")
assert refusal["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded" and refusal["Type"] == "User"
assert refusal["retryAfterSeconds"] == "1"
first.join()
assert invoke({})["StatusCode"] == 200
# An SDK that may retry gets through by itself.
patient = boto3.client("lambda", endpoint_url=URL, config=Config(retries={"mode": "standard", "max_attempts": 10}))
first = occupy(1)
assert patient.invoke(FunctionName="orders")["StatusCode"] == 200
first.join()
"#;
    lambda.python(script).await;
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_the_function() {
    let lambda = orders().await;
    let script = r#"
connection = http.client.HTTPConnection(URL.removeprefix("http://"))
connection.request("POST", "/2015-03-31/functions/orders/invocations", '{"sleep": 1}')
time.sleep(0.3)
connection.close()
"#;
    lambda.python(script).await;
    assert_eq!(lambda.until(1, ended).await, [Status::Success]);
}
