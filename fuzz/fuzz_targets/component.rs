//! Any bytes as a component, in what the tool reads of it without a child process: it needs features or none, is a snapshot or
//! none, and never one of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_host::artifact::snapshot;
use orlop_host::engine::Features;

fuzz_target!(|bytes: &[u8]| {
    let _ = Features::needed_by(bytes);
    assert!(!snapshot::is_current(bytes, bytes), "nobody guesses a digest");
});
