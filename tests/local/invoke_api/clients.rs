//! What clients do beside invoking, and the AWS CLI.

use orlop_local::invoke_api::Config;
use serde_json::Value;

use super::Lambda;
use crate::support::function;

async fn two() -> Lambda {
    Lambda::start([function("orders"), function("mail")], Config::default()).await
}

#[tokio::test]
async fn functions_are_listed_and_waited_for() {
    let script = r#"
listed = [entry["FunctionName"] for page in lambda_client.get_paginator("list_functions").paginate() for entry in page["Functions"]]
assert listed == ["mail", "orders"], listed
for waiter in ["function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"]:
    lambda_client.get_waiter(waiter).wait(FunctionName="orders", WaiterConfig={"MaxAttempts": 1})
told = lambda_client.get_function(FunctionName="orders", Qualifier="live")["Configuration"]
assert told["FunctionArn"] == "arn:aws:lambda:us-east-1:000000000000:function:orders:live"
configuration = lambda_client.get_function_configuration(FunctionName="orders")
assert (configuration["Timeout"], configuration["MemorySize"], configuration["Version"]) == (20, 128, "$LATEST")
assert refused(lambda: lambda_client.get_function(FunctionName="nobody"))[:2] == (404, "ResourceNotFoundException")
"#;
    two().await.python(script).await;
}

#[tokio::test]
async fn the_aws_cli_invokes_and_lists() {
    let lambda = two().await;
    let listed: Value = serde_json::from_str(&lambda.aws(&["list-functions"]).await).unwrap();
    assert_eq!(listed["Functions"].as_array().unwrap().len(), 2);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer.json");
    let file = file.to_str().unwrap();
    let invoke = ["invoke", "--function-name", "orders", "--log-type", "Tail", "--payload"];
    let told = lambda.aws(&[&invoke[..], &[r#"{"order": 1}"#, file]].concat()).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["StatusCode"], 200);
    assert_eq!(told["ExecutedVersion"], "$LATEST");
    assert!(told["LogResult"].is_string());
    let answer: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(answer["event"]["order"], 1);

    let told = lambda
        .aws(&[&invoke[..], &[r#"{"error": "Function.Odd"}"#, file]].concat())
        .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["FunctionError"], "Unhandled");

    let event = ["invoke", "--function-name", "mail", "--invocation-type", "Event", file];
    let told: Value = serde_json::from_str(&lambda.aws(&event).await).unwrap();
    assert_eq!(told["StatusCode"], 202);
}
