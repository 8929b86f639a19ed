//! The examples as a user would build them, one constant each: [`HELLO`] and so on; the sources are in `examples`.

include!(concat!(env!("OUT_DIR"), "/examples.rs"));
