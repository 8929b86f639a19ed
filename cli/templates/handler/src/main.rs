//! Greets visitors: an event comes in, an answer goes out.

use orlop_sdk::{Error, handler};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Visitor {
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    message: String,
}

/// The event is JSON, and so is the answer. An error reaches the caller with its type and message; what goes to stderr
/// is in the log.
#[handler]
fn greet(visitor: Visitor) -> Result<Greeting, Error> {
    let name = visitor.name.trim();
    if name.is_empty() {
        return Err(Error::new("NamelessVisitor", "a visitor needs a name"));
    }
    eprintln!("{name} is here");
    Ok(Greeting {
        message: format!("Hello, {name}!"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(event: &str) -> Visitor {
        serde_json::from_str(event).unwrap()
    }

    #[test]
    fn a_visitor_is_greeted_by_name() {
        let greeting = greet(visitor(include_str!("../events/ada.json"))).unwrap();
        assert_eq!(greeting.message, "Hello, Ada!");
    }

    #[test]
    fn a_visitor_without_a_name_is_refused() {
        let Err(error) = greet(visitor(include_str!("../events/nameless.json"))) else {
            panic!("nobody was greeted");
        };
        assert_eq!(error.error_type(), "NamelessVisitor");
    }
}
