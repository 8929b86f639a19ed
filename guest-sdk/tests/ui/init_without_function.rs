#[orlop_sdk::handler(init)]
fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}
