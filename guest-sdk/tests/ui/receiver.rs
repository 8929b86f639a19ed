struct Greeter;

impl Greeter {
    #[orlop_sdk::handler]
    fn greet(&self, name: String) -> Result<String, orlop_sdk::Error> {
        Ok(name)
    }
}

fn main() {}
