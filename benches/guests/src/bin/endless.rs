//! Never returns.

use orlop_bench_guests::{Answer, Event};
use orlop_sdk::handler;

#[handler]
fn run(_event: Event) -> Answer {
    loop {
        std::hint::spin_loop();
    }
}
