//! Greets whoever the event names.

use orlop_sdk::{Error, handler};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    #[serde(default = "world")]
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    message: String,
}

#[handler]
fn greet(request: Request) -> Result<Greeting, Error> {
    Ok(Greeting {
        message: format!("Hello, {}!", request.name),
    })
}

fn world() -> String {
    "World".to_owned()
}
