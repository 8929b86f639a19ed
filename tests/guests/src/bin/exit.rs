//! Exits with the code in the event; answers `null` when there is none.

#[orlop_sdk::handler]
#[expect(clippy::exit, reason = "this is the misbehaviour")]
fn exit(code: Option<i32>) -> Option<()> {
    code.map(|code| std::process::exit(code))
}
