//! Sleeps for as many ms as the event says, then answers with that number.

use std::thread;
use std::time::Duration;

#[orlop_sdk::handler]
fn sleep(milliseconds: u64) -> u64 {
    thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}
