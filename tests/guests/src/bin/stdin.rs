//! Reads its stdin to the end and answers with the number of bytes.

use std::io::{self, Read};

#[orlop_sdk::handler]
fn stdin(_event: Vec<u8>) -> io::Result<usize> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)
}
