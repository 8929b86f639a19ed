use orlop_sdk::{Context, Error};

#[orlop_sdk::handler]
fn greet(name: String, _context: Context, punctuation: char) -> Result<String, Error> {
    Ok(format!("Hello, {name}{punctuation}"))
}
