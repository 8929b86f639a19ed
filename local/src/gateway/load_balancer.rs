//! An Application Load Balancer with a function as its target (runtime contract §10.4).

use bytes::Bytes;
use http::Response;
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value, json};

use super::payload_2::set_default_type;
use super::request::{RequestParts, raw_query, text};
use super::response::{Malformed, Members, strip_own};
use crate::function::{ACCOUNT, REGION};

/// The most bytes of a request's body, and of an answer (ELB guide, "Use Lambda functions as targets").
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The event. Queries keep their escapes. A load balancer sends either all values of a name or the last one.
pub(super) fn event(request: &RequestParts, multi_value: bool) -> Value {
    let (body, is_base64) = request.event_body();
    let mut event = json!({
        "requestContext": {
            "elb": {
                "targetGroupArn":
                    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/orlop/0000000000000000"),
            },
        },
        "httpMethod": request.method.as_str(),
        "path": request.path,
        "body": body,
        "isBase64Encoded": is_base64,
    });
    let queries = raw_query(&request.query, &['&']);
    let queries = queries.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value).into_owned()));
    if multi_value {
        event["multiValueQueryStringParameters"] = Value::Object(every_value(queries));
        event["multiValueHeaders"] = Value::Object(every_value(headers));
    } else {
        event["queryStringParameters"] = queries.map(|(name, value)| (name, json!(value))).collect();
        event["headers"] = headers.map(|(name, value)| (name, json!(value))).collect();
    }
    event
}

/// The response that an answer stands for. Of its headers those in the form of the event count.
///
/// # Errors
///
/// [`Malformed`].
pub(super) fn response(answer: &[u8], multi_value: bool) -> Result<Response<Bytes>, Malformed> {
    let (size, limit) = (answer.len(), MAX_BYTES);
    if size > limit {
        return Err(Malformed::TooLarge { size, limit });
    }
    let members = Members::read(answer)?;
    let mut response = Response::new(members.body()?);
    let status = members.status()?;
    *response.status_mut() = status;
    if multi_value {
        members.replace_headers(response.headers_mut(), &text_only)?;
    } else {
        members.append_headers(response.headers_mut(), &text_only)?;
    }
    if let Some(phrase) = phrase(&members, status.as_u16())? {
        response.extensions_mut().insert(phrase);
    }
    set_default_type(response.headers_mut(), "application/octet-stream");
    strip_own(response.headers_mut());
    Ok(response)
}

/// What `statusDescription` has after the number.
fn phrase(members: &Members, status: u16) -> Result<Option<ReasonPhrase>, Malformed> {
    let wrong = || Malformed::WrongType {
        member: "statusDescription".to_owned(),
        expected: "a string such as \"200 OK\"",
    };
    let Some(description) = members.0.get("statusDescription") else {
        return Ok(None);
    };
    let description = description.as_str().ok_or_else(wrong)?;
    let phrase = description.strip_prefix(&status.to_string()).map(str::trim);
    Ok(phrase.and_then(|phrase| ReasonPhrase::try_from(phrase.as_bytes()).ok()))
}

/// A load balancer takes no other values than strings.
fn text_only(value: &Value) -> Option<Option<String>> {
    value.as_str().map(|text| Some(text.to_owned()))
}

fn every_value(pairs: impl Iterator<Item = (String, String)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in pairs {
        match map.get_mut(&name) {
            Some(Value::Array(values)) => values.push(json!(value)),
            Some(_) | None => {
                map.insert(name, json!([value]));
            }
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::request;
    use super::*;

    fn sent() -> RequestParts {
        let headers = [
            ("host", "api.example.com"),
            ("cookie", "x=1"),
            ("cookie", "y=2"),
            ("x-amzn-trace-id", "Root=1-65f00000-0123456789abcdef01234567"),
        ];
        request("GET", "/orders?a=1%26&b=2&a=3+4&c", &headers, "")
    }

    #[test]
    fn an_event_of_single_values_has_the_published_shape() {
        let expected = json!({
            "requestContext": {
                "elb": {
                    "targetGroupArn":
                        "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/orlop/0000000000000000"
                }
            },
            "httpMethod": "GET",
            "path": "/orders",
            "queryStringParameters": { "a": "3+4", "b": "2", "c": "" },
            "headers": {
                "cookie": "y=2",
                "host": "api.example.com",
                "x-amzn-trace-id": "Root=1-65f00000-0123456789abcdef01234567",
                "x-forwarded-for": "203.0.113.7",
                "x-forwarded-port": "3000",
                "x-forwarded-proto": "http"
            },
            "body": "",
            "isBase64Encoded": false
        });
        assert_eq!(event(&sent(), false), expected);
    }

    #[test]
    fn an_event_of_all_values_has_them_in_lists() {
        let event = event(&sent(), true);
        assert_eq!(
            event["multiValueQueryStringParameters"],
            json!({"a": ["1%26", "3+4"], "b": ["2"], "c": [""]})
        );
        assert_eq!(event["multiValueHeaders"]["cookie"], json!(["x=1", "y=2"]));
        assert_eq!(event.get("headers"), None);
        assert_eq!(event.get("queryStringParameters"), None);
    }

    #[test]
    fn the_description_of_the_status_is_sent() {
        let answer = r#"{"statusCode":404,"statusDescription":"404 Gone Fishing","headers":{"a":"b"}}"#;
        let response = response(answer.as_bytes(), false).unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(
            response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(),
            b"Gone Fishing"
        );
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
    }

    #[test]
    fn headers_count_in_the_form_of_the_event() {
        let answer = r#"{"statusCode":200,"headers":{"a":"1"},"multiValueHeaders":{"b":["2","3"]}}"#;
        let single = response(answer.as_bytes(), false).unwrap();
        assert!(single.headers().contains_key("a") && !single.headers().contains_key("b"));
        let multi = response(answer.as_bytes(), true).unwrap();
        assert!(!multi.headers().contains_key("a"));
        assert_eq!(multi.headers().get_all("b").iter().count(), 2);
    }

    #[test]
    fn values_that_are_no_strings_are_refused() {
        for answer in [
            r#"{"statusCode":200,"headers":{"a":null}}"#,
            r#"{"statusCode":200,"headers":{"a":1}}"#,
            r#"{"statusCode":200,"statusDescription":null}"#,
        ] {
            assert!(
                matches!(response(answer.as_bytes(), false), Err(Malformed::WrongType { .. })),
                "{answer}"
            );
        }
        let large = format!("{{\"statusCode\":200,\"body\":\"{}\"}}", "x".repeat(MAX_BYTES));
        assert!(matches!(
            response(large.as_bytes(), false),
            Err(Malformed::TooLarge { .. })
        ));
    }
}
