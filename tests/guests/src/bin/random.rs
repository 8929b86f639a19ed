//! Asks for as many random bytes as the event says, in one call, and answers with them.

#[orlop_sdk::handler]
fn random(length: u64) -> Vec<u8> {
    wasip2::random::random::get_random_bytes(length)
}
