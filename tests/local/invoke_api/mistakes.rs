//! What is refused, and how it is said.

use orlop_local::invoke_api::Config;

use super::Lambda;
use crate::support::function;

#[tokio::test]
async fn mistakes_are_refused_in_the_words_of_lambda_and_reach_no_function() {
    let lambda = Lambda::start([function("orders")], Config::default()).await;
    let script = r#"
status, code, message, whole = refused(lambda: invoke({}, "nobody"))
assert (status, code) == (404, "ResourceNotFoundException") and whole["Type"] == "User"
assert message == "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody", message

def refusal(call):
    status, code, message, _ = refused(call)
    return status, code, message

def of_payload(payload):
    return refusal(lambda: lambda_client.invoke(FunctionName="orders", Payload=payload))

for payload in ["{", "text", b'"\xff"', "{} {}", "{'a': 1}"]:
    status, code, message = of_payload(payload)
    assert (status, code) == (400, "InvalidRequestContentException"), payload
    assert message.startswith("Could not parse request body into json: "), message

too_long = base64.b64encode(json.dumps({"a": "x" * 2700}).encode()).decode()
for context in ["{}", "W10=", "%%%", too_long]:
    status, code, message = refusal(lambda: invoke({}, ClientContext=context))
    assert (status, code) == (400, "InvalidRequestContentException") and message.startswith("Client context must be"), message

for options in [{"InvocationType": "Sometimes"}, {"LogType": "All"}, {"TenantId": "a,b"}, {"Qualifier": "a b"}]:
    assert refusal(lambda: invoke({}, **options))[:2] == (400, "ValidationException"), options
assert refusal(lambda: invoke({}, "orders:1", Qualifier="2"))[:2] == (400, "InvalidParameterValueException")
assert refusal(lambda: invoke({}, "or ders"))[:2] == (400, "ValidationException")
status, code, message = refusal(lambda: lambda_client.delete_function(FunctionName="orders"))
assert (status, code) == (404, "UnknownOperationException") and "DELETE" in message

response, body = raw("POST", "/2015-03-31/functions/nobody/invocations", "{}")
assert response.headers["x-amzn-errortype"] == "ResourceNotFoundException" and response.headers["x-amzn-requestid"]
assert response.headers["content-type"] == "application/json" and json.loads(body)["Message"]
response, body = raw("POST", "/2015-03-31/functions/orders/invocations", "{")
assert json.loads(body)["message"] and json.loads(body)["Type"] == "User"
response, body = raw("POST", "/2015-03-31/functions/orders/invocations", "{}", {"X-Amz-Tenant-Id": "\xe4"})
assert response.status == 400
"#;
    lambda.python(script).await;
    assert!(lambda.platform.environments().is_empty());
}

#[tokio::test]
async fn a_request_that_breaks_off_reaches_no_function() {
    let lambda = Lambda::start([function("orders")], Config::default()).await;
    let script = r#"
import socket
host, port = URL.removeprefix("http://").split(":")
connection = socket.create_connection((host, int(port)))
head = b"POST /2015-03-31/functions/orders/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
connection.sendall(head + b"{}")
connection.shutdown(socket.SHUT_WR)
connection.settimeout(20)
while connection.recv(1000):
    pass
assert invoke({})["StatusCode"] == 200
"#;
    lambda.python(script).await;
    assert_eq!(lambda.platform.environments()[0].events, 1);
}
