//! The HTTP front, by curl and by clients that misbehave.

mod clients;
mod component;
mod limits;
mod parsing;
mod patience;
mod streams;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use orlop_local::gateway::{Gateway, Kind, RestApi, Route};
use orlop_local::journal::What;
use orlop_local::server::Server;
use orlop_local::{Function, Platform};
use orlop_tests::process::PATIENCE;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{function, platform};
use clients::{curl, get, get_with};

/// A front door with its platform, until it is dropped.
struct Front {
    platform: Platform,
    server: Server,
}

impl Front {
    async fn of(kind: Kind) -> Self {
        Self::with(kind, &[], |function| function, |gateway| gateway).await
    }

    async fn with(
        kind: Kind,
        routes: &[(&str, &str)],
        change: impl FnOnce(Function) -> Function,
        set: impl FnOnce(Gateway) -> Gateway,
    ) -> Self {
        let mut function = function("web");
        function.arguments = vec![function.arguments[0].replace("runtime.py", "http_runtime.py")];
        let platform = platform([change(function)]);
        let routes = routes.iter().map(|(method, path)| Route {
            method: (*method != "ANY").then(|| vec![method.parse().unwrap()]),
            path: Some((*path).to_owned()),
        });
        let gateway = Gateway::new(platform.clone(), "web".to_owned(), kind, routes.collect());
        let gateway = set(gateway);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, move |request| {
            let gateway = gateway.clone();
            async move { gateway.answer(request).await }
        });
        Self {
            platform,
            server: server.unwrap(),
        }
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.server.address())
    }

    fn notices(&self) -> Vec<String> {
        let (entries, _) = self.platform.journal().read();
        let notices = entries.iter().filter_map(|entry| {
            let What::Notice { text } = &entry.what else {
                return None;
            };
            Some(text.clone())
        });
        notices.collect()
    }
}

fn every_kind() -> [Kind; 6] {
    [
        Kind::HttpApi,
        Kind::RestApi(RestApi::default()),
        Kind::FunctionUrl { streamed: false },
        Kind::FunctionUrl { streamed: true },
        Kind::LoadBalancer { multi_value: false },
        Kind::LoadBalancer { multi_value: true },
    ]
}

#[tokio::test]
async fn a_function_behind_an_http_api_sees_what_curl_sent() {
    let front = Front::of(Kind::HttpApi).await;
    let got = curl(
        &front.url("/orders/7?tag=a&tag=b%20c"),
        &["-b", "a=1; b=2", "-d", "name=x"],
    )
    .await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"));
    let event = got.json();
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(event["rawPath"], "/orders/7");
    assert_eq!(event["rawQueryString"], "tag=a&tag=b%20c");
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(event["headers"]["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(event["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(
        event["headers"]["x-forwarded-port"],
        front.server.address().port().to_string()
    );
    // "name=x"
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("bmFtZT14"), &json!(true))
    );
    assert_eq!(got.header("apigw-requestid"), event["requestContext"]["requestId"]);
}

#[tokio::test]
async fn the_address_in_an_event_is_the_connections_whatever_the_client_claims() {
    let claim = ["-H", "x-forwarded-for: 198.51.100.1", "-H", "x-forwarded-proto: https"];
    let front = Front::of(Kind::HttpApi).await;
    let event = curl(&front.url("/"), &claim).await.json();
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-for"], "198.51.100.1, 127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-proto"], "http");
    let front = Front::of(Kind::RestApi(RestApi::default())).await;
    let event = curl(&front.url("/"), &claim).await.json();
    assert_eq!(event["requestContext"]["identity"]["sourceIp"], "127.0.0.1");
}

#[tokio::test]
async fn routes_say_what_stands_in_an_event() {
    let routes = [("GET", "/orders/{id}"), ("ANY", "/files/{path+}")];
    let front = Front::with(Kind::HttpApi, &routes, |function| function, |gateway| gateway).await;
    let event = get(&front.url("/orders/7")).await.json();
    assert_eq!(event["routeKey"], "GET /orders/{id}");
    assert_eq!(event["pathParameters"], json!({"id": "7"}));
    let event = curl(&front.url("/files/a/b"), &["-X", "PUT"]).await.json();
    assert_eq!(event["routeKey"], "ANY /files/{path+}");
    assert_eq!(event["pathParameters"], json!({"path": "a/b"}));
    let got = curl(&front.url("/orders/7"), &["-X", "DELETE"]).await;
    assert_eq!((got.status, got.body.as_str()), (404, "{\"message\":\"Not Found\"}"));

    let rest = Kind::RestApi(RestApi::default());
    let front = Front::with(rest, &routes, |function| function, |gateway| gateway).await;
    let event = get(&front.url("/orders/7")).await.json();
    assert_eq!(event["resource"], "/orders/{id}");
    assert_eq!(event["requestContext"]["path"], "/dev/orders/7");
    let got = get(&front.url("/nowhere")).await;
    assert_eq!(
        (got.status, got.body.as_str()),
        (403, "{\"message\": \"Missing Authentication Token\"}")
    );
    assert_eq!(got.header("x-amzn-errortype"), "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn two_cookies_of_an_answer_arrive_as_two() {
    let cookies = ["a=1; Path=/", "b=2"];
    let with_cookies = json!({"statusCode": 204, "cookies": cookies});
    let with_values = json!({"statusCode": 204, "multiValueHeaders": {"set-cookie": cookies}});
    for (kind, answer) in [
        (Kind::HttpApi, &with_cookies),
        (Kind::FunctionUrl { streamed: false }, &with_cookies),
        (Kind::RestApi(RestApi::default()), &with_values),
        (Kind::LoadBalancer { multi_value: true }, &with_values),
    ] {
        let front = Front::of(kind.clone()).await;
        let got = get_with(&front.url("/"), &json!({"answer": answer})).await;
        assert_eq!(got.status, 204, "{kind:?}");
        assert_eq!(got.headers("set-cookie"), cookies, "{kind:?}");
    }
}

#[tokio::test]
async fn a_head_request_has_the_length_of_the_body_and_no_body() {
    for kind in every_kind() {
        let is_streamed = kind == Kind::FunctionUrl { streamed: true };
        let front = Front::of(kind).await;
        let answer =
            json!({"statusCode": 200, "headers": {"a": "b"}, "multiValueHeaders": {"a": ["b"]}, "body": "hello"});
        let todo = json!({"answer": answer});
        let got = curl(&front.url("/"), &["--head", "-H", &format!("x-todo: {todo}")]).await;
        assert_eq!((got.status, got.body.as_str()), (200, ""));
        if !is_streamed {
            assert_eq!(got.header("content-length"), "5");
        }
    }
}

#[tokio::test]
async fn what_a_client_gets_of_a_function_that_fails_is_the_front_doors_own() {
    let expected = [
        (500, "{\"message\":\"Internal Server Error\"}"),
        (502, "{\"message\": \"Internal server error\"}"),
        (502, "Internal Server Error"),
        (502, "Internal Server Error"),
        (502, PAGE),
        (502, PAGE),
    ];
    for (kind, expected) in every_kind().into_iter().zip(expected) {
        let is_streamed = kind == Kind::FunctionUrl { streamed: true };
        let front = Front::of(kind.clone()).await;
        let failed = get_with(&front.url("/"), &json!({"error": "Function.Wrong"})).await;
        assert_eq!((failed.status, failed.body.as_str()), expected, "{kind:?}");
        assert!(front.notices().is_empty());
        if is_streamed {
            continue;
        }
        let malformed = get_with(&front.url("/"), &json!({"answer": {"statusCode": "no"}})).await;
        assert_eq!((malformed.status, malformed.body.as_str()), expected, "{kind:?}");
        assert_eq!(
            front.notices(),
            ["GET /: the function's answer is no HTTP response: `statusCode` has to be a number from 200 to 599"]
        );
    }
}

const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

#[tokio::test]
async fn a_client_beyond_the_functions_concurrency_is_throttled() {
    let expected = [500, 500, 429, 429, 502, 502];
    for (kind, expected) in every_kind().into_iter().zip(expected) {
        let one_at_once = |function| Function {
            concurrency: NonZeroU32::MIN,
            ..function
        };
        let front = Front::with(kind.clone(), &[], one_at_once, |gateway| gateway).await;
        let url = front.url("/");
        let busy = tokio::spawn(async move { get_with(&url, &json!({"sleep": 2})).await });
        front.until_busy().await;
        assert_eq!(get(&front.url("/")).await.status, expected, "{kind:?}");
        assert_eq!(busy.await.unwrap().status, 200);
    }
}

impl Front {
    async fn until_busy(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.platform.environments().iter().any(|status| status.events == 0) {
            assert!(Instant::now() < until, "no environment begins to work");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn an_api_does_not_wait_longer_than_its_integration_may_take() {
    let expected = [
        (Kind::HttpApi, 503, "{\"message\":\"Service Unavailable\"}"),
        (
            Kind::RestApi(RestApi::default()),
            504,
            "{\"message\": \"Endpoint request timed out\"}",
        ),
    ];
    for (kind, status, body) in expected {
        let hasty = |gateway: Gateway| gateway.with_integration_timeout(Duration::from_millis(300));
        let front = Front::with(kind, &[], |function| function, hasty).await;
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let got = get_with(&front.url("/"), &json!({"sleep": 1, "record": record})).await;
        assert_eq!((got.status, got.body.as_str()), (status, body));
        // The function goes on.
        while !record.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn binary_bodies_pass_both_ways() {
    let answer = json!({"statusCode": 200, "body": "AAH/", "isBase64Encoded": true});
    let rest = RestApi {
        binary_media_types: vec!["*/*".to_owned()],
        ..RestApi::default()
    };
    let doors = [
        Kind::HttpApi,
        Kind::RestApi(rest),
        Kind::FunctionUrl { streamed: false },
        Kind::LoadBalancer { multi_value: false },
    ];
    for kind in doors {
        let front = Front::of(kind.clone()).await;
        let got = get_with(&front.url("/"), &json!({"answer": answer})).await;
        assert_eq!(got.bytes, [0, 1, 255], "{kind:?}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let bytes: Vec<u8> = (0..=255).collect();
        std::fs::write(&file, &bytes).unwrap();
        let sent = [
            "--data-binary",
            &format!("@{}", file.display()),
            "-H",
            "content-type: application/octet-stream",
        ];
        let event = curl(&front.url("/"), &sent).await.json();
        assert_eq!(event["isBase64Encoded"], true, "{kind:?}");
        assert_eq!(
            BASE64_STANDARD.decode(event["body"].as_str().unwrap()).unwrap(),
            bytes,
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_chunked_upload_arrives_with_its_length() {
    let front = Front::of(Kind::HttpApi).await;
    let sent = [
        "-H",
        "transfer-encoding: chunked",
        "-H",
        "content-type: text/plain",
        "-d",
        "hello",
    ];
    let event = curl(&front.url("/"), &sent).await.json();
    assert_eq!(event["body"], "hello");
    assert_eq!(event["headers"]["content-length"], "5");
    assert_eq!(event["headers"].get("transfer-encoding"), None);
}

#[tokio::test]
async fn a_trace_reaches_the_function() {
    let front = Front::of(Kind::FunctionUrl { streamed: false }).await;
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let root = "Root=1-65f00000-0123456789abcdef01234567";
    let todo = format!("x-todo: {}", json!({"record": record}));
    let got = curl(
        &front.url("/"),
        &["-H", &format!("x-amzn-trace-id: {root}"), "-H", &todo],
    )
    .await;
    assert_eq!(got.header("x-amzn-trace-id"), root);
    let seen: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!(seen["event"]["headers"]["x-amzn-trace-id"], root);
    assert!(seen["trace"].as_str().unwrap().starts_with(root));
    assert_eq!(seen["id"], got.header("x-amzn-requestid"));
}
