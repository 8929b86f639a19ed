#[orlop_sdk::handler]
fn greet<T: ToString>(name: T) -> Result<String, orlop_sdk::Error> {
    Ok(name.to_string())
}
