//! The test guests, one constant each: [`ECHO`], [`PANIC`] and so on; the sources are in `tests/guests/src/bin`.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
