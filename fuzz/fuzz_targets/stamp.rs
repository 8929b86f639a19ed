//! Any bytes as an artifact, bare, and with a digest that fits, as whoever can write the file can make one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_host::artifact::stamp::Stamp;
use orlop_host::engine::Execution;
use sha2::{Digest, Sha256};

const MAGIC: &[u8] = b"orlop\0\0\x01";

fuzz_target!(|parts: (&[u8], &[u8])| {
    let (code, stamp) = parts;
    assert!(Stamp::verify(code).is_err(), "nobody guesses a digest");
    let digested = [code, stamp].concat();
    let length = u32::try_from(stamp.len()).unwrap_or(u32::MAX).to_le_bytes();
    let artifact = [&digested[..], &Sha256::digest(&digested)[..], &length, MAGIC].concat();
    if let Ok((stamp, found)) = Stamp::verify(&artifact) {
        assert_eq!(found, code);
        for execution in Execution::ALL {
            let _ = stamp.check_fit(execution);
        }
    }
});
