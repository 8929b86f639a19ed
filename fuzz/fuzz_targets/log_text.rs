//! Any text of a guest, on its way into a log line, an error report and a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_host::error::{ErrorReport, MAX_REPORT_BYTES};
use orlop_host::telemetry::text::escape_controls;

fuzz_target!(|parts: (&str, &str, Vec<String>)| {
    let (error_type, message, frames) = parts;
    let is_raw = |character: char| character.is_control() && character != '\t';
    assert!(!escape_controls(message).contains(is_raw));
    let report = ErrorReport::new(error_type, message, frames);
    let json = report.to_json();
    assert!(json.len() <= MAX_REPORT_BYTES);
    let text = String::from_utf8(json).expect("a report is UTF-8");
    assert!(!text.contains(char::is_control), "{text}");
    serde_json::from_str::<serde_json::Value>(&text).expect("a report is JSON");
    let (category, name) = report
        .header_type()
        .split_once('.')
        .map(|(category, name)| (category.to_owned(), name.to_owned()))
        .expect("a header's type has two parts");
    assert!(matches!(category.as_str(), "Runtime" | "Function"));
    assert!(name.chars().all(|character| character.is_ascii_alphabetic()));
});
