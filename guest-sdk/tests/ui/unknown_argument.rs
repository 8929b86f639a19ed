#[orlop_sdk::handler(inti = prepare)]
fn greet(name: String) -> Result<String, orlop_sdk::Error> {
    Ok(name)
}

fn prepare() -> Result<(), orlop_sdk::Error> {
    Ok(())
}
