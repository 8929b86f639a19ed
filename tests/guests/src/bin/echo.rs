//! Answers with the bytes of the event.

#[orlop_sdk::handler]
fn echo(event: Vec<u8>) -> Vec<u8> {
    event
}
