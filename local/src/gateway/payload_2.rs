//! Payload format 2.0, which HTTP APIs and Function URLs share (runtime contract §10.3).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::request::{RequestParts, decoded_query, log_time, text};
use super::response::{Malformed, Members, header_value};

/// What the two front doors say differently.
#[derive(Debug)]
pub(super) struct Door<'a> {
    pub(super) account: &'a str,
    pub(super) api: &'a str,
    pub(super) domain: String,
    pub(super) request_id: &'a str,
    /// Such as `GET /orders/{id}`, or `$default`.
    pub(super) route_key: String,
    pub(super) path: String,
    pub(super) path_parameters: &'a [(String, String)],
    /// Whether cookies stand among the headers as well.
    pub(super) keeps_cookie_header: bool,
}

/// The event. Members that have nothing to say are not there.
pub(super) fn event(request: &RequestParts, door: &Door<'_>) -> Value {
    let mut headers = joined_headers(&request.headers);
    let cookies = request.cookies();
    if !door.keeps_cookie_header {
        headers.remove(COOKIE.as_str());
    }
    let (body, is_base64) = request.event_body();
    let mut event = json!({
        "version": "2.0",
        "routeKey": door.route_key,
        "rawPath": door.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": door.account,
            "apiId": door.api,
            "domainName": door.domain,
            "domainPrefix": door.domain.split('.').next().unwrap_or_default(),
            "http": {
                "method": request.method.as_str(),
                "path": door.path,
                "protocol": request.protocol,
                "sourceIp": request.client.to_string(),
                "userAgent": request.user_agent(),
            },
            "requestId": door.request_id,
            "routeKey": door.route_key,
            "stage": "$default",
            "time": log_time(request.time_ms),
            "timeEpoch": request.time_ms,
        },
        "isBase64Encoded": is_base64,
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    let query = joined_query(&request.query);
    if !query.is_empty() {
        event["queryStringParameters"] = Value::Object(query);
    }
    if !door.path_parameters.is_empty() {
        let parameters = door.path_parameters.iter();
        event["pathParameters"] = parameters.map(|(name, value)| (name.clone(), json!(value))).collect();
    }
    if !body.is_empty() {
        event["body"] = Value::String(body);
    }
    event
}

/// The response that an answer stands for. JSON without `statusCode` is itself the body of a successful one.
///
/// # Errors
///
/// [`Malformed`].
pub(super) fn response(answer: &Bytes, default_type: &'static str) -> Result<Response<Bytes>, Malformed> {
    let value: Value = serde_json::from_slice(answer).map_err(|_| Malformed::NotJson)?;
    let members = match value {
        Value::Object(members) if members.contains_key("statusCode") => Members(members),
        Value::String(body) => return Ok(plain(body.into(), "application/json")),
        Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
            return Ok(plain(answer.clone(), "application/json"));
        }
    };
    let mut response = Response::new(members.body()?);
    *response.status_mut() = members.status()?;
    members.append_headers(response.headers_mut(), &text_of_scalar)?;
    append_cookies(&members, response.headers_mut())?;
    set_default_type(response.headers_mut(), default_type);
    Ok(response)
}

/// Each of `cookies` becomes a header of its own.
pub(super) fn append_cookies(members: &Members, headers: &mut HeaderMap) -> Result<(), Malformed> {
    let wrong = || Malformed::WrongType {
        member: "cookies".to_owned(),
        expected: "a list of strings",
    };
    let cookies = match members.0.get("cookies") {
        None | Some(Value::Null) => return Ok(()),
        Some(cookies) => cookies.as_array().ok_or_else(wrong)?,
    };
    for cookie in cookies {
        let cookie = cookie.as_str().ok_or_else(wrong)?;
        headers.append(SET_COOKIE, header_value("cookies", cookie)?);
    }
    Ok(())
}

/// API Gateway takes numbers and booleans for text; headers without a value are left out.
pub(super) fn text_of_scalar(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) => Some(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn set_default_type(headers: &mut HeaderMap, default_type: &'static str) {
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(default_type));
    }
}

/// A successful response of this body.
pub(super) fn plain(body: Bytes, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    set_default_type(response.headers_mut(), content_type);
    response
}

/// Names in lower case, values of one name joined with commas.
fn joined_headers(headers: &HeaderMap) -> Map<String, Value> {
    let names = headers.keys();
    let joined = names.map(|name| {
        let values: Vec<_> = headers.get_all(name).iter().map(text).collect();
        (name.as_str().to_owned(), Value::String(values.join(",")))
    });
    joined.collect()
}

fn joined_query(query: &str) -> Map<String, Value> {
    let mut joined = Map::new();
    for (name, value) in decoded_query(query, &['&']) {
        match joined.get_mut(&name) {
            Some(Value::String(values)) => {
                values.push(',');
                values.push_str(&value);
            }
            Some(_) | None => {
                joined.insert(name, Value::String(value));
            }
        }
    }
    joined
}
