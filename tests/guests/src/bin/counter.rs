//! Prepares itself once and counts its events from there; the variable `INIT` has it `fail`, `panic` or `spin` instead.

use std::sync::atomic::{AtomicU64, Ordering};

use orlop_sdk::Error;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// What the count starts from, so that an answer shows the preparation.
const PREPARED: u64 = 100;

#[orlop_sdk::handler(init = prepare)]
fn counter(_event: Vec<u8>) -> u64 {
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}

#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn prepare() -> Result<(), Error> {
    COUNT.fetch_add(PREPARED, Ordering::Relaxed);
    match std::env::var("INIT").as_deref() {
        Ok("fail") => Err(Error::new("NotReady", "told to fail")),
        Ok("panic") => panic!("told to panic"),
        Ok("spin") => loop {
            std::hint::spin_loop();
        },
        _ => Ok(()),
    }
}
