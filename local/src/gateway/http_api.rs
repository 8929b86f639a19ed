//! API Gateway's HTTP API with payload format 2.0 (runtime contract §10.3).

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::payload_2::{self, Door};
use super::request::{RequestParts, decode};
use super::response::{Malformed, limit_headers, strip_own};
use super::routes::Match;
use super::{API_ID, MAX_API_GATEWAY_HEADER_BYTES};
use crate::function::{ACCOUNT, REGION};

/// The event. The path arrives decoded, and ends at what was an escaped `?`: what the client sent cannot be told from
/// it.
pub(super) fn event(request: &RequestParts, route: &Match) -> Value {
    let decoded = decode(&request.path);
    let path = decoded.split('?').next().unwrap_or_default();
    let door = Door {
        account: ACCOUNT,
        api: API_ID,
        domain: format!("{API_ID}.execute-api.{REGION}.amazonaws.com"),
        request_id: &request.short_id,
        route_key: route_key(route),
        path: path.to_owned(),
        path_parameters: &route.parameters,
        keeps_cookie_header: false,
    };
    payload_2::event(request, &door)
}

/// The response that an answer stands for.
///
/// # Errors
///
/// [`Malformed`].
pub(super) fn response(answer: &Bytes) -> Result<Response<Bytes>, Malformed> {
    let mut response = payload_2::response(answer, "text/plain; charset=utf-8")?;
    strip_own(response.headers_mut());
    limit_headers(&response, MAX_API_GATEWAY_HEADER_BYTES)?;
    Ok(response)
}

fn route_key(route: &Match) -> String {
    match (&route.method, &route.path) {
        (None, None) => "$default".to_owned(),
        (method, path) => {
            let method = method.as_ref().map_or("ANY", |method| method.as_str());
            format!("{method} {}", path.as_deref().unwrap_or("/{proxy+}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::super::request::tests::request;
    use super::*;

    fn of_default(request: &RequestParts) -> Value {
        event(request, &Match::default())
    }

    #[test]
    fn an_event_has_the_published_shape() {
        let headers = [
            ("host", "127.0.0.1:3000"),
            ("user-agent", "curl/8.9.1"),
            ("cookie", "a=1; b=2"),
            ("x-two", "1"),
            ("x-two", "2"),
            ("content-type", "application/json"),
            ("x-amzn-trace-id", "Root=1-65f00000-0123456789abcdef01234567"),
        ];
        let mut request = request("POST", "/orders/7?tag=a&tag=b%20c&dry", &headers, "{\"amount\": 3}");
        request.short_id = "JKJaXmPLvHcESHA=".to_owned();
        request.time_ms = 1_795_428_000_000;
        let route = Match {
            path: Some("/orders/{id}".to_owned()),
            method: Some(http::Method::POST),
            parameters: vec![("id".to_owned(), "7".to_owned())],
        };
        let expected = json!({
            "version": "2.0",
            "routeKey": "POST /orders/{id}",
            "rawPath": "/orders/7",
            "rawQueryString": "tag=a&tag=b%20c&dry",
            "cookies": ["a=1", "b=2"],
            "headers": {
                "content-length": "13",
                "content-type": "application/json",
                "host": "127.0.0.1:3000",
                "user-agent": "curl/8.9.1",
                "x-amzn-trace-id": "Root=1-65f00000-0123456789abcdef01234567",
                "x-forwarded-for": "203.0.113.7",
                "x-forwarded-port": "3000",
                "x-forwarded-proto": "http",
                "x-two": "1,2"
            },
            "queryStringParameters": { "tag": "a,b c", "dry": "" },
            "pathParameters": { "id": "7" },
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "orlop00000",
                "domainName": "orlop00000.execute-api.us-east-1.amazonaws.com",
                "domainPrefix": "orlop00000",
                "http": {
                    "method": "POST",
                    "path": "/orders/7",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": "curl/8.9.1"
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "POST /orders/{id}",
                "stage": "$default",
                "time": "23/Nov/2026:10:00:00 +0000",
                "timeEpoch": 1_795_428_000_000_u64
            },
            "body": "{\"amount\": 3}",
            "isBase64Encoded": false
        });
        assert_eq!(event(&request, &route), expected);
    }

    #[test]
    fn what_has_nothing_to_say_is_not_there() {
        let event = of_default(&request("GET", "/", &[], ""));
        for member in [
            "cookies",
            "queryStringParameters",
            "pathParameters",
            "stageVariables",
            "body",
        ] {
            assert_eq!(event.get(member), None, "{member}");
        }
        assert_eq!(event["rawQueryString"], "");
        assert_eq!(event["routeKey"], "$default");
    }

    #[test]
    fn a_path_arrives_decoded() {
        let path = |path: &str| of_default(&request("GET", path, &[], ""))["rawPath"].clone();
        assert_eq!(path("/a%20b/%C3%A4%2Fc"), "/a b/ä/c");
        assert_eq!(path("/a%3Fb=c"), "/a");
    }

    fn answered(answer: Value) -> (StatusCode, String, String) {
        let response = response(&Bytes::from(answer.to_string())).unwrap();
        let headers = response.headers().iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| format!("{name}: {}", super::super::request::text(value)))
            .collect();
        headers.sort();
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status(), headers.join("\n"), body)
    }

    #[test]
    fn an_answer_becomes_a_response() {
        let answer = json!({
            "statusCode": "201",
            "headers": { "Content-Type": "text/html", "x-number": 7, "x-none": null, "content-length": "99" },
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "aGVsbG8",
            "isBase64Encoded": true,
            "multiValueHeaders": { "ignored": ["1"] }
        });
        let (status, headers, body) = answered(answer);
        assert_eq!(status, 201);
        assert_eq!(
            headers,
            "content-type: text/html\nset-cookie: a=1; Path=/\nset-cookie: b=2\nx-number: 7"
        );
        assert_eq!(body, "hello");
    }

    #[test]
    fn json_without_a_status_is_the_body() {
        let json = "content-type: application/json".to_owned();
        assert_eq!(
            answered(json!({"a": 1})),
            (StatusCode::OK, json.clone(), "{\"a\":1}".to_owned())
        );
        assert_eq!(
            answered(json!("hello")),
            (StatusCode::OK, json.clone(), "hello".to_owned())
        );
        assert_eq!(
            answered(json!([1, null])),
            (StatusCode::OK, json, "[1,null]".to_owned())
        );
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let refused = |answer: Value| response(&Bytes::from(answer.to_string())).unwrap_err().to_string();
        assert_eq!(response(&Bytes::from("hello")).unwrap_err(), Malformed::NotJson);
        for status in [
            json!(null),
            json!(99),
            json!(101),
            json!(600),
            json!("ok"),
            json!(200.5),
        ] {
            let text = refused(json!({ "statusCode": status }));
            assert_eq!(text, "`statusCode` has to be a number from 200 to 599");
        }
        assert_eq!(
            refused(json!({"statusCode": 200, "body": {}})),
            "`body` has to be a string"
        );
        assert_eq!(
            refused(json!({"statusCode": 200, "headers": []})),
            "`headers` has to be an object"
        );
        assert_eq!(
            refused(json!({"statusCode": 200, "headers": {"a": ["b"]}})),
            "`headers.a` has to be a string"
        );
        assert_eq!(
            refused(json!({"statusCode": 200, "cookies": "a=1"})),
            "`cookies` has to be a list of strings"
        );
        assert_eq!(
            refused(json!({"statusCode": 200, "body": "a!", "isBase64Encoded": true})),
            Malformed::NotBase64.to_string()
        );
        let injected = json!({"statusCode": 200, "headers": {"a": "b\r\nset-cookie: c=1"}});
        assert_eq!(refused(injected), Malformed::NotHeader("a".to_owned()).to_string());
        let large = json!({"statusCode": 200, "headers": {"a": "b".repeat(10_240)}});
        assert!(refused(large).ends_with("the limit is 10240"));
    }
}
