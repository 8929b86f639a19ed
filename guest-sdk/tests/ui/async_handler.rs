#[orlop_sdk::handler]
async fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}
