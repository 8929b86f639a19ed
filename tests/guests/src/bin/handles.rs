//! Opens as many files in `/tmp` at once as the event says; answers with how many worked and what stopped it.

use std::fs::File;

use serde_json::{Value, json};

#[orlop_sdk::handler]
fn handles(wanted: usize) -> Value {
    let mut files = Vec::new();
    let mut error = None;
    while files.len() < wanted && error.is_none() {
        match File::create(format!("/tmp/{}", files.len())) {
            Ok(file) => files.push(file),
            Err(refusal) => error = Some(format!("{:?}", refusal.kind())),
        }
    }
    json!({ "opened": files.len(), "error": error })
}
