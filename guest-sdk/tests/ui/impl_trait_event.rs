#[orlop_sdk::handler]
fn greet(name: impl ToString) -> Result<String, orlop_sdk::Error> {
    Ok(name.to_string())
}
