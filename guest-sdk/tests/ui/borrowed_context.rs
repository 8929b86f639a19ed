#[orlop_sdk::handler]
fn greet(name: String, _context: &orlop_sdk::Context) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}
