//! Any response of a guest: the answer is JSON that its source can read.
#![no_main]

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use orlop_host::events::{Source, envelope, prelude};
use serde_json::Value;

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

fuzz_target!(|parts: (u8, bool, u16, Vec<(&str, &[u8])>, &[u8])| {
    let (source, is_head, status, headers, body) = parts;
    let source = SOURCES[usize::from(source) % SOURCES.len()];
    let Ok(status) = StatusCode::from_u16(status) else {
        return;
    };
    let mut response = Response::new(Bytes::copy_from_slice(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let (head, body) = response.into_parts();
    let prelude = prelude(source, &head);
    assert!(!prelude.bytes.is_empty());
    let method = if is_head { "HEAD" } else { "GET" };
    let answer = envelope(source, method, Response::from_parts(head, body));
    let answer: Value = serde_json::from_slice(&answer.bytes).expect("an answer is JSON");
    if source != Source::WebSocket {
        let status = answer["statusCode"].as_u64().expect("an answer has a status");
        assert!((200..600).contains(&status), "{answer}");
    }
});
