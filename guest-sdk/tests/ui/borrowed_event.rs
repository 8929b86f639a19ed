#[orlop_sdk::handler]
fn greet(name: &str) -> Result<String, orlop_sdk::Error> {
    Ok(name.to_owned())
}
