//! What a handler may look like, and what becomes of its events. Each module is a guest of its own.

#![allow(dead_code, reason = "each guest has a `main` that only a program would call")]

use orlop_sdk::{__internal::Function, Context, Error};

fn answer<F: Function>(event: &str) -> Result<String, Error> {
    F::init()?;
    let answer = F::handle(event.as_bytes().to_vec(), Context::local())?;
    Ok(String::from_utf8(answer)?)
}

mod bytes_under_another_name {
    type Raw = Vec<u8>;

    #[orlop_sdk::handler]
    fn reverse(mut event: Raw) -> Result<Raw, std::convert::Infallible> {
        event.reverse();
        Ok(event)
    }

    #[test]
    fn are_not_json() {
        assert_eq!(super::answer::<__OrlopFunction>("[not json").unwrap(), "nosj ton[");
    }
}

mod a_list_of_numbers {
    #[orlop_sdk::handler]
    fn largest(numbers: Vec<u16>) -> Option<u16> {
        numbers.into_iter().max()
    }

    #[test]
    fn is_json_and_so_is_an_answer_that_cannot_fail() {
        assert_eq!(super::answer::<__OrlopFunction>("[1, 300, 2]").unwrap(), "300");
        assert_eq!(super::answer::<__OrlopFunction>("[]").unwrap(), "null");
    }
}

mod nothing_to_say {
    #[orlop_sdk::handler]
    fn forget(_event: String, _context: orlop_sdk::Context) -> Result<(), orlop_sdk::Error> {
        Ok(())
    }

    #[test]
    fn is_null() {
        assert_eq!(super::answer::<__OrlopFunction>("\"x\"").unwrap(), "null");
    }
}

mod a_result_under_another_name {
    type Outcome = Result<u8, std::num::ParseIntError>;

    #[orlop_sdk::handler]
    fn parse(event: String) -> Outcome {
        event.parse()
    }

    #[test]
    fn may_still_fail() {
        assert_eq!(super::answer::<__OrlopFunction>("\"7\"").unwrap(), "7");
        let error = super::answer::<__OrlopFunction>("\"seven\"").unwrap_err();
        assert_eq!(error.error_type(), "ParseIntError");
        assert_eq!(error.to_string(), "invalid digit found in string");
    }
}

mod an_event_of_another_shape {
    #[derive(serde::Deserialize)]
    struct Order {
        id: u32,
    }

    #[orlop_sdk::handler]
    fn order(order: Order) -> u32 {
        order.id
    }

    #[test]
    fn is_an_unmarshal_error() {
        let error = super::answer::<__OrlopFunction>("{\"id\": \"x\"}").unwrap_err();
        assert_eq!(error.error_type(), "Runtime.UnmarshalError");
        assert_eq!(
            error.to_string(),
            "failed to read the event as `Order`: invalid type: string \"x\", expected u32 at line 1 column 10"
        );
    }
}

mod a_preparation {
    use std::sync::OnceLock;

    static GREETING: OnceLock<String> = OnceLock::new();

    #[orlop_sdk::handler(init = self::prepare)]
    fn greet(name: String) -> Option<String> {
        GREETING.get().map(|greeting| format!("{greeting}, {name}!"))
    }

    fn prepare() -> Result<(), orlop_sdk::Error> {
        GREETING.set("Hello".to_owned()).map_err(orlop_sdk::Error::message)
    }

    #[test]
    fn comes_before_the_first_event() {
        assert_eq!(super::answer::<__OrlopFunction>("\"Ann\"").unwrap(), "\"Hello, Ann!\"");
    }
}

mod a_handler_named_like_a_variable_of_the_macro {
    #[orlop_sdk::handler]
    fn event(answer: u8, context: orlop_sdk::Context) -> String {
        format!("{answer} {}", context.request_id)
    }

    #[test]
    fn is_called() {
        assert_eq!(super::answer::<__OrlopFunction>("7").unwrap(), "\"7 local\"");
    }
}
