#[orlop_sdk::handler]
unsafe fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}
