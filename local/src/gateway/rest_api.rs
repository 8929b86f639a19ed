//! API Gateway's REST API, whose events have format 1.0 (runtime contract §10.2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::payload_2::{set_default_type, text_of_scalar};
use super::request::{RequestParts, decoded_query, essence, log_time, text};
use super::response::{Malformed, Members, limit_headers, remap};
use super::routes::Match;
use super::{API_ID, MAX_API_GATEWAY_HEADER_BYTES};
use crate::function::{ACCOUNT, REGION};

/// All that an answer may have.
const MEMBERS: [&str; 5] = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"];

/// What a REST API is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestApi {
    /// The stage, which stands in the event; the paths here do not begin with it, as with a domain name of one's own.
    pub stage: String,
    /// Media types such as `image/png`, `image/*` or `*/*`, of which bodies are bytes. All others are text.
    pub binary_media_types: Vec<String>,
    /// Whether its integration has the `responseTransferMode` `STREAM`.
    pub streamed: bool,
}

impl Default for RestApi {
    fn default() -> Self {
        Self {
            stage: "dev".to_owned(),
            binary_media_types: Vec::new(),
            streamed: false,
        }
    }
}

impl RestApi {
    /// The event. The path keeps its escapes, queries are decoded.
    pub(super) fn event(&self, request: &RequestParts, route: &Match) -> Value {
        let resource = route.path.as_deref().unwrap_or(match request.path.as_str() {
            "/" => "/",
            _ => "/{proxy+}",
        });
        let parameters = path_parameters(request, route);
        let mut single_query = Map::new();
        let mut every_query = Map::new();
        // A semicolon splits as well (API Gateway guide, "Important notes").
        for (name, value) in decoded_query(&request.query, &['&', ';']) {
            push(&mut every_query, &name, &value);
            single_query.insert(name, Value::String(value));
        }
        let mut single_headers = Map::new();
        let mut every_header = Map::new();
        for (name, value) in &request.headers {
            let (name, value) = (capitalised(name.as_str()), text(value));
            push(&mut every_header, &name, &value);
            single_headers.insert(name, json!(value));
        }
        let (body, is_base64) = self.event_body(request);
        json!({
            "resource": resource,
            "path": request.path,
            "httpMethod": request.method.as_str(),
            "headers": single_headers,
            "multiValueHeaders": every_header,
            "queryStringParameters": or_null(single_query),
            "multiValueQueryStringParameters": or_null(every_query),
            "pathParameters": or_null(parameters),
            "stageVariables": null,
            "requestContext": self.context(request, resource),
            "body": body,
            "isBase64Encoded": is_base64,
        })
    }

    fn context(&self, request: &RequestParts, resource: &str) -> Value {
        json!({
            "resourceId": "orlop0",
            "resourcePath": resource,
            "httpMethod": request.method.as_str(),
            "extendedRequestId": request.short_id,
            "requestTime": log_time(request.time_ms),
            "path": format!("/{}{}", self.stage, request.path),
            "accountId": ACCOUNT,
            "protocol": request.protocol,
            "stage": self.stage,
            "domainPrefix": API_ID,
            "requestTimeEpoch": request.time_ms,
            "requestId": request.request_id,
            "identity": {
                "cognitoIdentityPoolId": null,
                "accountId": null,
                "cognitoIdentityId": null,
                "caller": null,
                "sourceIp": request.client.to_string(),
                "principalOrgId": null,
                "accessKey": null,
                "cognitoAuthenticationType": null,
                "cognitoAuthenticationProvider": null,
                "userArn": null,
                "userAgent": request.user_agent(),
                "user": null,
            },
            "domainName": format!("{API_ID}.execute-api.{REGION}.amazonaws.com"),
            "apiId": API_ID,
        })
    }

    /// `null` without a body.
    fn event_body(&self, request: &RequestParts) -> (Value, bool) {
        if request.body.is_empty() {
            (Value::Null, false)
        } else if self.is_binary(&request.header(&CONTENT_TYPE)) {
            (BASE64_STANDARD.encode(&request.body).into(), true)
        } else {
            (String::from_utf8_lossy(&request.body).into(), false)
        }
    }

    /// The response that an answer stands for. A body in base64 is decoded only if the request accepts, first of all,
    /// one of the binary media types; otherwise the client gets the base64.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub(super) fn response(&self, answer: &[u8], request: &RequestParts) -> Result<Response<Bytes>, Malformed> {
        let members = Members::read(answer)?;
        if let Some(unknown) = members.0.keys().find(|member| !MEMBERS.contains(&member.as_str())) {
            return Err(Malformed::UnknownMember(unknown.clone()));
        }
        let accepted = request.header(&ACCEPT);
        let accepted = accepted.split(',').next().unwrap_or_default();
        let body = if members.is_base64()? && !self.is_binary(accepted) {
            Bytes::copy_from_slice(members.body_text()?.as_bytes())
        } else {
            members.body()?
        };
        let mut response = Response::new(body);
        *response.status_mut() = members.status()?;
        append_all(&members, response.headers_mut())?;
        set_default_type(response.headers_mut(), "application/json");
        remap(response.headers_mut());
        limit_headers(&response, MAX_API_GATEWAY_HEADER_BYTES)?;
        Ok(response)
    }

    fn is_binary(&self, media_type: &str) -> bool {
        let given = essence(media_type);
        self.binary_media_types.iter().any(|known| {
            let known = known.to_ascii_lowercase();
            match known.strip_suffix("/*") {
                Some("*") => true,
                Some(kind) => given.split('/').next() == Some(kind),
                None => given == known,
            }
        })
    }
}

/// Both maps; of a name in both, the values of the one with several.
fn append_all(members: &Members, headers: &mut HeaderMap) -> Result<(), Malformed> {
    members.append_headers(headers, &text_of_scalar)?;
    members.replace_headers(headers, &text_of_scalar)
}

/// What the catch-all resource has as its parameter, where there are no routes.
fn path_parameters(request: &RequestParts, route: &Match) -> Map<String, Value> {
    if route.path.is_none() && request.path != "/" {
        let rest = super::request::decode(request.path.trim_start_matches('/'));
        return Map::from_iter([("proxy".to_owned(), Value::String(rest))]);
    }
    let parameters = route.parameters.iter();
    parameters.map(|(name, value)| (name.clone(), json!(value))).collect()
}

fn push(into: &mut Map<String, Value>, name: &str, value: &str) {
    match into.get_mut(name) {
        Some(Value::Array(values)) => values.push(json!(value)),
        Some(_) | None => {
            into.insert(name.to_owned(), json!([value]));
        }
    }
}

fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() {
        Value::Null
    } else {
        Value::Object(map)
    }
}

/// `x-forwarded-for` becomes `X-Forwarded-For`: names come as clients write them, and this is how most do.
fn capitalised(name: &str) -> String {
    let mut is_start = true;
    let characters = name.chars().map(|character| {
        let shown = if is_start {
            character.to_ascii_uppercase()
        } else {
            character
        };
        is_start = character == '-';
        shown
    });
    characters.collect()
}

/// What AWS says in `x-amzn-errortype`, for answers of the front door's own.
pub(super) fn error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "MissingAuthenticationTokenException",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestTooLargeException",
        status if status.is_client_error() => "BadRequestException",
        _ => "InternalServerErrorException",
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn an_event_has_the_published_shape() {
        let headers = [
            ("host", "127.0.0.1:3000"),
            ("user-agent", "curl/8.9.1"),
            ("x-two", "1"),
            ("x-two", "2"),
            ("x-amzn-trace-id", "Root=1-65f00000-0123456789abcdef01234567"),
        ];
        let mut request = request("POST", "/orders/a%2Fb?tag=a&tag=b+c&x=1%262", &headers, "{}");
        request.request_id = "0a1b2c3d-0000-4000-8000-000000000001".to_owned();
        request.short_id = "JKJaXmPLvHcESHA=".to_owned();
        request.time_ms = 1_795_428_000_000;
        let route = Match {
            path: Some("/orders/{id}".to_owned()),
            method: Some(http::Method::POST),
            parameters: vec![("id".to_owned(), "a/b".to_owned())],
        };
        let event = RestApi::default().event(&request, &route);
        let expected = json!({
            "resource": "/orders/{id}",
            "path": "/orders/a%2Fb",
            "httpMethod": "POST",
            "headers": {
                "Content-Length": "2",
                "Host": "127.0.0.1:3000",
                "User-Agent": "curl/8.9.1",
                "X-Amzn-Trace-Id": "Root=1-65f00000-0123456789abcdef01234567",
                "X-Forwarded-For": "203.0.113.7",
                "X-Forwarded-Port": "3000",
                "X-Forwarded-Proto": "http",
                "X-Two": "2"
            },
            "multiValueHeaders": {
                "Content-Length": ["2"],
                "Host": ["127.0.0.1:3000"],
                "User-Agent": ["curl/8.9.1"],
                "X-Amzn-Trace-Id": ["Root=1-65f00000-0123456789abcdef01234567"],
                "X-Forwarded-For": ["203.0.113.7"],
                "X-Forwarded-Port": ["3000"],
                "X-Forwarded-Proto": ["http"],
                "X-Two": ["1", "2"]
            },
            "queryStringParameters": { "tag": "b c", "x": "1&2" },
            "multiValueQueryStringParameters": { "tag": ["a", "b c"], "x": ["1&2"] },
            "pathParameters": { "id": "a/b" },
            "stageVariables": null,
            "requestContext": {
                "resourceId": "orlop0",
                "resourcePath": "/orders/{id}",
                "httpMethod": "POST",
                "extendedRequestId": "JKJaXmPLvHcESHA=",
                "requestTime": "23/Nov/2026:10:00:00 +0000",
                "path": "/dev/orders/a%2Fb",
                "accountId": "000000000000",
                "protocol": "HTTP/1.1",
                "stage": "dev",
                "domainPrefix": "orlop00000",
                "requestTimeEpoch": 1_795_428_000_000_u64,
                "requestId": "0a1b2c3d-0000-4000-8000-000000000001",
                "identity": {
                    "cognitoIdentityPoolId": null,
                    "accountId": null,
                    "cognitoIdentityId": null,
                    "caller": null,
                    "sourceIp": "203.0.113.7",
                    "principalOrgId": null,
                    "accessKey": null,
                    "cognitoAuthenticationType": null,
                    "cognitoAuthenticationProvider": null,
                    "userArn": null,
                    "userAgent": "curl/8.9.1",
                    "user": null
                },
                "domainName": "orlop00000.execute-api.us-east-1.amazonaws.com",
                "apiId": "orlop00000"
            },
            "body": "{}",
            "isBase64Encoded": false
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn without_routes_the_resource_is_the_catch_all() {
        let event = RestApi::default().event(&request("GET", "/a/b", &[], ""), &Match::default());
        assert_eq!(event["resource"], "/{proxy+}");
        assert_eq!(event["pathParameters"], json!({"proxy": "a/b"}));
        assert_eq!(event["body"], Value::Null);
        assert_eq!(event["queryStringParameters"], Value::Null);
        let event = RestApi::default().event(&request("GET", "/", &[], ""), &Match::default());
        assert_eq!(event["resource"], "/");
        assert_eq!(event["pathParameters"], Value::Null);
    }

    fn of_images() -> RestApi {
        RestApi {
            binary_media_types: vec!["image/*".to_owned(), "application/octet-stream".to_owned()],
            ..RestApi::default()
        }
    }

    #[test]
    fn bodies_of_binary_media_types_are_base64() {
        let body = |content_type: &str| {
            let request = request("POST", "/", &[("content-type", content_type)], "a");
            let event = of_images().event(&request, &Match::default());
            (event["body"].clone(), event["isBase64Encoded"].clone())
        };
        assert_eq!(body("image/png"), (json!("YQ=="), json!(true)));
        assert_eq!(body("Application/Octet-Stream"), (json!("YQ=="), json!(true)));
        assert_eq!(body("application/x-www-form-urlencoded"), (json!("a"), json!(false)));
    }

    #[test]
    fn base64_is_decoded_if_the_client_accepts_a_binary_media_type_first() {
        let answer = r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#;
        let body = |accept: &str| {
            let request = request("GET", "/", &[("accept", accept)], "");
            let response = of_images().response(answer.as_bytes(), &request).unwrap();
            String::from_utf8(response.body().to_vec()).unwrap()
        };
        assert_eq!(body("image/webp,*/*"), "hi");
        assert_eq!(body("text/html,image/webp"), "aGk=");
        assert_eq!(body("*/*"), "aGk=");
    }

    #[test]
    fn headers_of_several_values_go_before_the_others() {
        let answer = json!({
            "statusCode": 200,
            "headers": { "Set-Cookie": "lost=1", "X-A": true, "Date": "then" },
            "multiValueHeaders": { "set-cookie": ["a=1", "b=2"] },
        });
        let response = RestApi::default()
            .response(answer.to_string().as_bytes(), &request("GET", "/", &[], ""))
            .unwrap();
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(response.headers()["x-a"], "true");
        assert_eq!(response.headers()["x-amzn-remapped-date"], "then");
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn an_answer_with_a_member_too_many_is_refused() {
        let refused = |answer: &str| {
            let request = request("GET", "/", &[], "");
            RestApi::default().response(answer.as_bytes(), &request).unwrap_err()
        };
        assert_eq!(
            refused(r#"{"statusCode":200,"cookies":[]}"#),
            Malformed::UnknownMember("cookies".to_owned())
        );
        assert_eq!(refused("\"hello\""), Malformed::NotObject);
        assert_eq!(
            refused("{}").to_string(),
            "`statusCode` has to be a number from 200 to 599"
        );
    }
}
