//! Works as long as it is told, or behaves badly.

use orlop_sdk::handler;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// Computes for so many rounds.
    Work(u32),
    /// Never returns.
    Loop,
    /// Fails at once.
    Trap,
    /// Takes memory until there is none.
    Hoard,
}

#[handler]
fn run(event: Event) -> u64 {
    match event {
        Event::Work(rounds) => work(rounds),
        Event::Loop => loop {
            std::hint::spin_loop();
        },
        Event::Trap => panic!("as it was told"),
        Event::Hoard => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
            }
        }
    }
}

/// What no compiler can do in advance: each round depends on the one before.
fn work(rounds: u32) -> u64 {
    let mut state = u64::from(rounds);
    for _ in 0..rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) ^ 1;
    }
    state
}
