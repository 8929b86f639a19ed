#[orlop_sdk::handler]
fn main(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}
