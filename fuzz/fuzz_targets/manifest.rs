//! Any text as `orlop.toml`: it is understood, or a complaint says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_host::manifest::Manifest;

fuzz_target!(|text: &str| {
    if let Err(error) = Manifest::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
