//! Panics with the event's text; answers `null` when there is none.

#[orlop_sdk::handler]
fn panic(message: Option<String>) -> Option<()> {
    message.map(|message| panic!("{message}"))
}
