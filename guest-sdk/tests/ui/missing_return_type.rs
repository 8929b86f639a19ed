#[orlop_sdk::handler]
fn greet(name: String) {
    eprintln!("{name}");
}
