#[orlop_sdk::handler(init = prepare)]
fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}

fn prepare(_limit: u32) -> Result<(), orlop_sdk::Error> {
    Ok(())
}
