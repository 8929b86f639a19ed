#[orlop_sdk::handler]
fn order(id: u32, count: u32) -> Result<u32, orlop_sdk::Error> {
    Ok(id + count)
}
