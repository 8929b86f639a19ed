//! Answers with all its environment variables.

use std::collections::BTreeMap;

#[orlop_sdk::handler]
#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn environment(_event: Vec<u8>) -> BTreeMap<String, String> {
    std::env::vars().collect()
}
