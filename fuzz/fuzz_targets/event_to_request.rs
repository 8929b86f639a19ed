//! Any bytes as an event: what is recognised as HTTP becomes a request or a clean refusal, and nothing panics.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use orlop_host::events::{HttpEvent, LambdaContext, RequestSettings};
use orlop_host::manifest::EventFacts;

fuzz_target!(|bytes: &[u8]| {
    let settings = RequestSettings {
        base_path: Some("/api".into()),
        strip_stage: true,
        ..RequestSettings::default()
    };
    EventFacts::of(bytes);
    let bytes = Bytes::copy_from_slice(bytes);
    let Some(event) = HttpEvent::recognise(&bytes) else {
        return;
    };
    assert!(event.path().starts_with('/'), "{}", event.path());
    let Ok(request) = event.to_request(&settings, &LambdaContext::default()) else {
        return;
    };
    assert!(request.uri().path().starts_with('/'), "{}", request.uri());
});
