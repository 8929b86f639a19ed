//! Grows by pages up to `bytes`; when refused it says how far it came, or aborts if `aborts` is true.

use serde::Deserialize;

const STEP: usize = 64 * 1024;

#[derive(Deserialize)]
struct Wish {
    bytes: usize,
    #[serde(default)]
    aborts: bool,
}

#[orlop_sdk::handler]
fn allocate(wish: Wish) -> usize {
    let mut blocks = Vec::<Vec<u8>>::new();
    while blocks.len() * STEP < wish.bytes {
        let mut block = Vec::new();
        if wish.aborts {
            block.reserve_exact(STEP);
        } else if block.try_reserve_exact(STEP).is_err() {
            break;
        }
        // Memory that nobody touches need not exist.
        block.resize(STEP, 1);
        blocks.push(std::hint::black_box(block));
    }
    blocks.len() * STEP
}
