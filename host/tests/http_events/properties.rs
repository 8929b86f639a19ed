//! Properties: any bytes in path, query, headers and body survive or are refused cleanly, any response becomes an
//! answer that its source can read, and nothing panics.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use orlop_host::events::{
    HttpEvent, LambdaContext, Refusal, RequestSettings, Source, envelope, has_body, pass_through, prelude,
};
use percent_encoding::percent_decode_str;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::split_prelude;

const SOURCES: [Source; 9] = [
    Source::RestApi,
    Source::HttpApi1,
    Source::HttpApi2,
    Source::FunctionUrl,
    Source::Alb { multi_value: false },
    Source::Alb { multi_value: true },
    Source::WebSocket,
    Source::VpcLattice1,
    Source::VpcLattice2,
];

fn settings() -> RequestSettings {
    RequestSettings {
        base_path: Some("/api".into()),
        strip_stage: true,
        ..RequestSettings::default()
    }
}

fn request_of(event: &Value, settings: &RequestSettings) -> Result<Request<Bytes>, Refusal> {
    let event = Bytes::from(event.to_string());
    let event = HttpEvent::recognise(&event).expect("the generated event is an HTTP event");
    event.to_request(settings, &LambdaContext::default())
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// The names and values of a query, decoded.
fn pairs_of(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Text with everything in it that has a meaning somewhere, more often than chance would have it.
fn odd_text() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z0-9/]{1,3}",
        select(vec![
            "%", "%2F", "%zz", "/", "//", "?", "#", "&", "=", "+", " ", "\r\n", "\0", "\u{7f}", "\"", "\\", "ü", "🦀",
            "@", ":"
        ])
        .prop_map(String::from),
    ];
    vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

/// Text that a client can have put into a request line.
fn uri_text() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9._~!$'()*+,;:@/?-]|%[0-9A-F]{2}){0,12}"
}

/// Any JSON, of moderate size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        odd_text().prop_map(Value::from),
        select(vec!["2.0", "1.0", "GET", "true", "text/plain", "aGk="]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(odd_text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Any of the members that events have, each with anything as its value, over the discriminators of some source.
fn any_event() -> impl Strategy<Value = Value> {
    let discriminators = select(vec![
        json!({ "requestContext": { "elb": {} } }),
        json!({ "version": "2.0", "requestContext": { "http": { "method": "GET" } } }),
        json!({ "version": "2.0", "requestContext": { "http": {}, "domainName": "x.lambda-url.y.on.aws" } }),
        json!({ "requestContext": { "connectionId": "c", "eventType": "CONNECT" } }),
        json!({ "httpMethod": "GET", "resource": "/", "requestContext": { "stage": "s" } }),
        json!({ "version": "2.0", "method": "GET", "requestContext": { "targetGroupArn": "a" } }),
        json!({ "raw_path": "/", "method": "GET" }),
        json!({}),
    ]);
    let members = select(vec![
        "path",
        "rawPath",
        "raw_path",
        "httpMethod",
        "method",
        "version",
        "headers",
        "multiValueHeaders",
        "cookies",
        "body",
        "isBase64Encoded",
        "is_base64_encoded",
        "rawQueryString",
        "queryStringParameters",
        "requestContext",
        "resource",
        "multiValueQueryStringParameters",
        "query_string_parameters",
        "type",
        "methodArn",
    ]);
    (discriminators, vec((members, any_json()), 0..8)).prop_map(|(mut event, members)| {
        for (name, value) in members {
            event[name] = value;
        }
        event
    })
}

fn any_response() -> impl Strategy<Value = Response<Bytes>> {
    let names = select(vec![
        "content-type",
        "content-encoding",
        "content-length",
        "set-cookie",
        "x-a",
        "x-b",
        "connection",
        "vary",
        "location",
    ]);
    let values = prop_oneof![
        vec(any::<u8>(), 0..12),
        select(vec![
            "text/plain",
            "application/json",
            "image/png",
            "gzip",
            "identity",
            "a=1"
        ])
        .prop_map(|text| text.into()),
    ];
    let bodies = prop_oneof![vec(any::<u8>(), 0..64), odd_text().prop_map(String::into_bytes)];
    (100..1000u16, vec((names, values), 0..8), bodies).prop_map(|(status, headers, body)| {
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        response
    })
}

fn all_are_strings(map: &Value) -> bool {
    map.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

fn all_are_lists_of_strings(map: &Value) -> bool {
    let is_list = |value: &Value| {
        value
            .as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string))
    };
    map.as_object().is_some_and(|map| map.values().all(is_list))
}

/// What each source permits in an envelope (contract §10.2 to §10.5, statement 97).
fn is_permitted(source: Source, member: &str, value: &Value) -> bool {
    let (is_alb, has_lists, has_cookies) = match source {
        Source::RestApi | Source::HttpApi1 => (false, true, false),
        Source::HttpApi2 | Source::FunctionUrl => (false, false, true),
        Source::Alb { multi_value } => (true, multi_value, false),
        Source::WebSocket | Source::VpcLattice1 | Source::VpcLattice2 => (false, false, false),
    };
    match member {
        "statusCode" => value.as_u64().is_some_and(|status| (200..600).contains(&status)),
        "statusDescription" => is_alb && value.as_str().is_some_and(|text| text.as_bytes().get(3) == Some(&b' ')),
        "headers" => !has_lists && all_are_strings(value),
        "multiValueHeaders" => has_lists && all_are_lists_of_strings(value),
        "cookies" => has_cookies && value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        "body" => value.is_string(),
        "isBase64Encoded" => value.is_boolean(),
        _ => false,
    }
}

fn body_of(answer: &Map<String, Value>) -> Vec<u8> {
    let body = answer["body"].as_str().unwrap();
    if answer["isBase64Encoded"] == true {
        STANDARD.decode(body).unwrap()
    } else {
        body.into()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_told_apart_without_a_panic(bytes in vec(any::<u8>(), 0..256)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(HttpEvent::recognise(&bytes).is_none());
        let path = String::from_utf8_lossy(&bytes);
        let context = LambdaContext { tenant_id: Some(&path), ..LambdaContext::default() };
        let request = pass_through(bytes.clone(), &path, &context);
        prop_assert_eq!(request.body(), &bytes);
    }

    #[test]
    fn any_members_give_a_request_or_a_clean_refusal(event in any_event()) {
        let text = Bytes::from(event.to_string());
        if let Some(event) = HttpEvent::recognise(&text) {
            match event.to_request(&settings(), &LambdaContext::default()) {
                Ok(request) => {
                    prop_assert!(request.uri().authority().is_some_and(|authority| !authority.host().is_empty()));
                    prop_assert!(request.uri().path().starts_with('/'));
                    prop_assert!(request.headers().contains_key("x-amzn-lambda-context"));
                }
                Err(refusal) => prop_assert!(refusal.status.is_client_error()),
            }
        }
    }

    #[test]
    fn a_decoded_path_and_a_raw_query_survive(path in odd_text(), query in odd_text()) {
        let path = format!("/{path}");
        let event = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": query, "requestContext": { "http": {} }
        });
        let request = request_of(&event, &RequestSettings::default()).unwrap();
        prop_assert_eq!(decoded(request.uri().path()), decoded(&path));
        prop_assert_eq!(decoded(request.uri().query().unwrap_or_default()), decoded(&query));
    }

    #[test]
    fn what_a_client_can_send_in_a_request_line_is_not_touched(path in uri_text(), query in uri_text()) {
        let path = format!("/{}", path.replace('?', ""));
        let version_2 = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": query, "requestContext": { "http": {} }
        });
        let request = request_of(&version_2, &RequestSettings::default()).unwrap();
        prop_assert_eq!(request.uri().path(), &path);
        prop_assert_eq!(request.uri().query().unwrap_or_default(), &query);
        let alb = json!({
            "path": path, "queryStringParameters": { "q": query }, "requestContext": { "elb": {} }
        });
        let request = request_of(&alb, &RequestSettings::default()).unwrap();
        prop_assert_eq!(request.uri().path(), &path);
        prop_assert_eq!(request.uri().query().unwrap_or_default(), format!("q={query}"));
    }

    #[test]
    fn decoded_parameters_are_the_same_after_decoding(
        parameters in btree_map(odd_text(), vec(odd_text(), 1..3), 0..4),
    ) {
        let event = json!({
            "httpMethod": "GET", "resource": "/", "requestContext": {}, "multiValueQueryStringParameters": parameters
        });
        let request = request_of(&event, &RequestSettings::default()).unwrap();
        let pair = |name: &str, value: &String| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let expected: Vec<_> =
            parameters.iter().flat_map(|(name, values)| values.iter().map(move |value| pair(name, value))).collect();
        prop_assert_eq!(pairs_of(request.uri().query().unwrap_or_default()), expected);
    }

    #[test]
    fn header_values_lose_control_characters_only(values in vec(odd_text(), 1..4)) {
        let event = json!({ "requestContext": { "elb": {} }, "multiValueHeaders": { "X-Odd": values } });
        let request = request_of(&event, &RequestSettings::default()).unwrap();
        let expected = values.iter().map(|value| value.replace(|c: char| c.is_ascii_control() && c != '\t', ""));
        let actual = request.headers().get_all("x-odd").iter();
        let actual = actual.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap());
        prop_assert_eq!(actual.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn any_header_name_is_kept_or_dropped(names in vec(odd_text(), 0..6)) {
        let headers: Map<_, _> = names.iter().map(|name| (format!("x-{name}"), json!("1"))).collect();
        let event = json!({ "requestContext": { "elb": {} }, "headers": headers });
        let request = request_of(&event, &RequestSettings::default()).unwrap();
        for name in headers.keys().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
            prop_assert!(request.headers().contains_key(&name), "{}", name);
        }
    }

    #[test]
    fn any_body_survives(body in vec(any::<u8>(), 0..200), text in odd_text()) {
        let cases = [(STANDARD.encode(&body), true, body), (text.clone(), false, text.into_bytes())];
        for (sent, is_base64, expected) in cases {
            let event = json!({ "requestContext": { "elb": {} }, "body": sent, "isBase64Encoded": is_base64 });
            let request = request_of(&event, &RequestSettings::default()).unwrap();
            prop_assert_eq!(request.body(), &expected);
            let length = request.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
            prop_assert_eq!(length, (!expected.is_empty()).then(|| expected.len().to_string()));
        }
    }

    #[test]
    fn text_that_claims_to_be_base64_is_decoded_or_refused(text in odd_text()) {
        let event = json!({ "requestContext": { "elb": {} }, "body": text, "isBase64Encoded": true });
        match request_of(&event, &RequestSettings::default()) {
            Ok(request) => {
                let encoded = STANDARD.encode(request.body());
                prop_assert_eq!(encoded.trim_end_matches('='), text.trim_end_matches('='));
            }
            Err(refusal) => prop_assert_eq!(refusal.status, StatusCode::BAD_REQUEST),
        }
    }

    // Conformance statement 97.
    #[test]
    fn an_envelope_holds_what_its_source_permits_and_the_whole_body(
        response in any_response(),
        source in select(SOURCES.to_vec()),
    ) {
        let status = response.status();
        let body = response.body().clone();
        let answer = envelope(source, "GET", response);
        let json: Map<String, Value> = serde_json::from_slice(&answer.bytes).unwrap();
        for (member, value) in &json {
            prop_assert!(is_permitted(source, member, value), "{:?}: {} is {}", source, member, value);
        }
        prop_assert_eq!(answer.replaced.is_some(), !(200..600).contains(&status.as_u16()));
        if answer.replaced.is_none() {
            prop_assert_eq!(json["statusCode"].as_u64(), Some(u64::from(status.as_u16())));
            prop_assert_eq!(body_of(&json), if has_body("GET", status) { body.to_vec() } else { Vec::new() });
        }
    }

    // Conformance statements 62 and 63.
    #[test]
    fn a_prelude_is_json_and_eight_nuls(response in any_response(), source in select(SOURCES.to_vec())) {
        let (parts, _) = response.into_parts();
        let prelude = prelude(source, &parts);
        let (json, rest) = split_prelude(&prelude);
        prop_assert_eq!(rest.is_empty(), prelude.replaced.is_none());
        let is_api_gateway = matches!(source, Source::RestApi | Source::HttpApi1);
        for (member, value) in json.as_object().unwrap() {
            let is_permitted = match member.as_str() {
                "statusCode" => value.is_u64(),
                "headers" => {
                    let is_absent = |name: &&str| value.get(name).is_none();
                    all_are_strings(value) && ["set-cookie", "content-length", "connection"].iter().all(is_absent)
                }
                "multiValueHeaders" => is_api_gateway && all_are_lists_of_strings(value),
                "cookies" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
                _ => false,
            };
            prop_assert!(is_permitted, "{:?}: {} is {}", source, member, value);
        }
    }
}
