//! A second opinion on the events: the types that AWS publishes for Rust read them, and find what was sent.

use aws_lambda_events::alb::AlbTargetGroupRequest;
use aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlRequest;
use http::Method;
use serde::de::DeserializeOwned;

use super::request::tests::request;
use super::*;

const HEADERS: [(&str, &str); 4] = [
    ("host", "127.0.0.1:3000"),
    ("cookie", "a=1; b=2"),
    ("accept", "text/html"),
    ("content-type", "text/plain"),
];

/// The event of `POST /orders/7?tag=a&tag=b` with a body.
fn read<T: DeserializeOwned>(kind: &Kind) -> T {
    let request = request("POST", "/orders/7?tag=a&tag=b", &HEADERS, "three");
    let route = Match {
        path: Some("/orders/{id}".to_owned()),
        method: Some(Method::POST),
        parameters: vec![("id".to_owned(), "7".to_owned())],
    };
    serde_json::from_value(event(kind, &request, &route)).unwrap()
}

#[test]
fn an_event_of_an_http_api_is_read_by_awss_types() {
    let event: ApiGatewayV2httpRequest = read(&Kind::HttpApi);
    assert_eq!(event.raw_path.as_deref(), Some("/orders/7"));
    assert_eq!(event.cookies, Some(vec!["a=1".to_owned(), "b=2".to_owned()]));
    assert_eq!(event.path_parameters["id"], "7");
    assert_eq!(event.request_context.http.source_ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(event.body.as_deref(), Some("three"));
}

#[test]
fn an_event_of_a_rest_api_is_read_by_awss_types() {
    let event: ApiGatewayProxyRequest = read(&Kind::RestApi(RestApi::default()));
    assert_eq!(event.resource.as_deref(), Some("/orders/{id}"));
    assert_eq!(event.http_method, Method::POST);
    assert_eq!(
        event.multi_value_query_string_parameters.all("tag"),
        Some(vec!["a", "b"])
    );
    assert_eq!(event.multi_value_headers["accept"], "text/html");
    assert_eq!(event.request_context.identity.source_ip.as_deref(), Some("203.0.113.7"));
}

#[test]
fn an_event_of_a_function_url_is_read_by_awss_types() {
    let event: LambdaFunctionUrlRequest = read(&Kind::FunctionUrl { streamed: false });
    assert_eq!(event.raw_query_string.as_deref(), Some("tag=a&tag=b"));
    assert_eq!(event.request_context.http.method.as_deref(), Some("POST"));
    assert_eq!(event.headers["cookie"], "a=1; b=2");
}

#[test]
fn an_event_of_a_load_balancer_is_read_by_awss_types() {
    for multi_value in [false, true] {
        let event: AlbTargetGroupRequest = read(&Kind::LoadBalancer { multi_value });
        assert_eq!(event.path.as_deref(), Some("/orders/7"));
        assert_eq!(event.http_method, Method::POST);
        assert!(event.request_context.elb.target_group_arn.is_some());
        let headers = if multi_value {
            event.multi_value_headers
        } else {
            event.headers
        };
        assert_eq!(headers["accept"], "text/html");
    }
}
