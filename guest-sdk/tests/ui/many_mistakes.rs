#[orlop_sdk::handler(start = prepare)]
async fn greet<T>(name: &str, count: u8, _excess: T) {
    eprintln!("{name} {count}");
}
