//! Function URLs that stream.

use std::io::Read as _;
use std::process::Stdio;

use orlop_local::gateway::{Kind, RestApi};
use serde_json::{Value, json};

use super::Front;
use super::clients::{curl_command, get_with};

const STREAMED: Kind = Kind::FunctionUrl { streamed: true };
const BUFFERED: Kind = Kind::FunctionUrl { streamed: false };
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

fn with_prelude(rest: Value) -> Value {
    let prelude = json!({"statusCode": 201, "headers": {"x-a": "1", "date": "then"}, "cookies": ["a=1", "b=2"]});
    let mut todo = json!({
        "type": WITH_PRELUDE,
        "stream": [prelude.to_string(), "\0\0\0\0", "\0\0\0\0one", "two"],
    });
    todo.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    todo
}

#[tokio::test]
async fn a_piece_arrives_before_the_function_writes_the_next() {
    let front = Front::of(STREAMED).await;
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let todo = json!({"type": "text/event-stream", "stream": ["one", "two"], "wait": gate});
    let mut command = curl_command(&front.url("/"), &["--no-buffer", "-H", &format!("x-todo: {todo}")]);
    let received = tokio::task::spawn_blocking(move || {
        let mut curl = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = curl.stdout.take().unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"one") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            received.push(byte[0]);
        }
        std::fs::write(&gate, "").unwrap();
        stdout.read_to_end(&mut received).unwrap();
        assert!(curl.wait().unwrap().success());
        String::from_utf8(received).unwrap()
    });
    let received = received.await.unwrap();
    assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "{received}");
    assert!(received.contains("content-type: text/event-stream\r\n"), "{received}");
    assert!(received.ends_with("\r\n\r\nonetwo"), "{received}");
}

#[tokio::test]
async fn a_prelude_says_status_headers_and_cookies() {
    let front = Front::of(STREAMED).await;
    let got = get_with(&front.url("/"), &with_prelude(json!({}))).await;
    assert_eq!((got.status, got.body.as_str(), got.exit_code), (201, "onetwo", 0));
    assert_eq!(got.header("x-a"), "1");
    assert_eq!(got.header("x-amzn-remapped-date"), "then");
    assert_eq!(got.headers("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(got.header("transfer-encoding"), "chunked");
}

#[tokio::test]
async fn a_stream_that_fails_breaks_off() {
    let front = Front::of(STREAMED).await;
    let got = get_with(&front.url("/"), &with_prelude(json!({"break": "Function.Broken"}))).await;
    // 18 is curl's "transfer closed with outstanding read data remaining".
    assert_eq!((got.status, got.body.as_str(), got.exit_code), (201, "onetwo", 18));
    // The next client gets a connection and an answer of its own.
    assert_eq!(get_with(&front.url("/"), &with_prelude(json!({}))).await.exit_code, 0);
}

#[tokio::test]
async fn a_stream_without_a_whole_prelude_is_an_error() {
    let front = Front::of(STREAMED).await;
    let todo = json!({"type": WITH_PRELUDE, "stream": ["{\"statusCode\":200}"]});
    let got = get_with(&front.url("/"), &todo).await;
    assert_eq!((got.status, got.body.as_str()), (502, "Internal Server Error"));
    assert_eq!(front.notices().len(), 1);
    let todo = json!({"type": WITH_PRELUDE, "stream": ["{\"statusCode\""], "break": "Function.Broken"});
    assert_eq!(get_with(&front.url("/"), &todo).await.status, 502);
    assert_eq!(front.notices().len(), 1);
}

#[tokio::test]
async fn a_url_that_does_not_stream_shows_the_prelude() {
    let front = Front::of(BUFFERED).await;
    let got = get_with(&front.url("/"), &with_prelude(json!({}))).await;
    assert_eq!(got.status, 200);
    assert!(got.body.starts_with("{\"cookies\""), "{}", got.body);
    assert!(got.body.contains("}\0\0\0\0\0\0\0\0onetwo"), "{}", got.body);
}

#[tokio::test]
async fn a_url_that_streams_shows_the_answer_of_a_function_that_does_not() {
    let front = Front::of(STREAMED).await;
    let answer = json!({"statusCode": 418, "body": "hello"});
    let got = get_with(&front.url("/"), &json!({"answer": answer})).await;
    assert_eq!((got.status, got.json()), (200, answer));
}

#[tokio::test]
async fn an_empty_stream_is_an_empty_body() {
    let front = Front::of(STREAMED).await;
    let prelude = "{\"statusCode\":302,\"headers\":{\"location\":\"/a\"}}";
    let todo = json!({"type": WITH_PRELUDE, "stream": [format!("{prelude}\0\0\0\0\0\0\0\0")]});
    let got = get_with(&front.url("/"), &todo).await;
    assert_eq!((got.status, got.body.as_str(), got.exit_code), (302, "", 0));
    assert_eq!(got.header("location"), "/a");
}

#[tokio::test]
async fn a_rest_api_streams_too_if_the_function_does() {
    let streamed = RestApi {
        streamed: true,
        ..RestApi::default()
    };
    let front = Front::of(Kind::RestApi(streamed)).await;
    let got = get_with(&front.url("/"), &with_prelude(json!({}))).await;
    assert_eq!((got.status, got.body.as_str(), got.exit_code), (201, "onetwo", 0));
    assert_eq!(got.header("transfer-encoding"), "chunked");
    let broken = get_with(&front.url("/"), &with_prelude(json!({"break": "Function.Broken"}))).await;
    assert_eq!((broken.body.as_str(), broken.exit_code), ("onetwo", 18));
    for todo in [json!({}), json!({"type": "text/plain", "stream": ["hello"]})] {
        let got = get_with(&front.url("/"), &todo).await;
        assert_eq!(
            (got.status, got.body.as_str()),
            (500, "{\"message\": \"Internal server error\"}")
        );
    }
    assert_eq!(front.notices().len(), 2);
}
