//! Any bytes as a batch, and as a guest's answer to a record: each record is an event of its own, and the answer to the whole
//! names records of the batch only.
#![no_main]

use std::num::NonZeroUsize;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use orlop_host::events::batch::{Batch, Progress, record_outcome};
use serde_json::Value;

fuzz_target!(|parts: (&[u8], &[u8])| {
    let (event, answer) = parts;
    let _ = record_outcome(answer, "identifier");
    let Ok(batch) = Batch::parse(&Bytes::copy_from_slice(event)) else {
        return;
    };
    for index in 0..batch.len() {
        serde_json::from_slice::<Value>(&batch.event(index)).expect("the event of a record is JSON");
    }
    let mut progress = Progress::new(&batch, NonZeroUsize::MIN);
    while let Some(index) = progress.start() {
        progress.finished(index, record_outcome(answer, batch.identifier(index)).is_ok());
    }
    let answer: Value = serde_json::from_slice(&progress.answer()).expect("an answer is JSON");
    let failures = answer["batchItemFailures"]
        .as_array()
        .expect("an answer lists failures");
    for failure in failures {
        let identifier = failure["itemIdentifier"].as_str().expect("a failure has an identifier");
        assert!(
            (0..batch.len()).any(|index| batch.identifier(index) == identifier),
            "{identifier}"
        );
    }
});
