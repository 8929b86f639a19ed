#[orlop_sdk::handler]
struct Greeter;
