//! Draws a random number in its `init`, prints it, and answers with it.

use std::convert::Infallible;
use std::sync::OnceLock;

static DRAWN: OnceLock<u64> = OnceLock::new();

#[orlop_sdk::handler(init = draw)]
fn drawn(_event: Vec<u8>) -> Option<u64> {
    DRAWN.get().copied()
}

fn draw() -> Result<(), Infallible> {
    let drawn = DRAWN.get_or_init(wasip2::random::random::get_random_u64);
    println!("drawn {drawn}");
    Ok(())
}
