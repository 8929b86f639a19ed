#[orlop_sdk::handler(init = prepare, init = prepare)]
fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}

fn prepare() -> Result<(), orlop_sdk::Error> {
    Ok(())
}
