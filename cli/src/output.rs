//! Data on stdout. A reader that has seen enough, such as `head`, is no error.

use std::io::{ErrorKind, Write};

use crate::mistake::Mistake;

/// Writes all of it.
pub(crate) fn write(output: &mut dyn Write, parts: &[&[u8]]) -> Result<(), Mistake> {
    let written = parts
        .iter()
        .try_for_each(|part| output.write_all(part))
        .and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Mistake::new(
            format!("cannot write the answer: {error}"),
            "check where stdout leads",
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}
