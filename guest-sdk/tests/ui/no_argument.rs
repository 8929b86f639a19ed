#[orlop_sdk::handler]
fn greet() -> Result<String, orlop_sdk::Error> {
    Ok("Hello!".to_owned())
}
