//! Calls itself as deep as the event says and answers with that number; deep enough, the stack overflows.

use std::hint::black_box;

#[orlop_sdk::handler]
fn recurse(depth: u64) -> u64 {
    descend(depth)
}

fn descend(depth: u64) -> u64 {
    // Keeps the compiler from making a loop of it.
    let frame = black_box([depth; 16]);
    if depth == 0 {
        0
    } else {
        1 + black_box(descend(frame[15] - 1))
    }
}
