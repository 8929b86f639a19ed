//! Keeps as many bytes as the event says beyond its end, and answers with the number of events its memory has seen.

use std::sync::Mutex;

use orlop_sdk::Error;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

#[orlop_sdk::handler]
fn leak(bytes: usize) -> Result<usize, Error> {
    let mut kept = KEPT.lock()?;
    kept.push(vec![1; bytes]);
    Ok(kept.len())
}
