//! A guest as a program: one event on stdin, its answer on stdout.

use crate::{Context, Error, bindings::Function};
use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

/// The `main` of every guest: prints the answer and nothing else, or complains on stderr and exits with 1.
#[must_use]
pub fn main<F: Function>() -> ExitCode {
    match run::<F>(io::stdin(), io::stdout(), Context::local()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run<F: Function>(mut input: impl Read, mut output: impl Write, context: Context) -> Result<(), Error> {
    F::init()?;
    let mut event = Vec::new();
    input.read_to_end(&mut event)?;
    output.write_all(&F::handle(event, context)?)?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Echo {}

    impl Function for Echo {
        fn handle(event: Vec<u8>, _context: Context) -> Result<Vec<u8>, Error> {
            Ok(event)
        }
    }

    enum Unprepared {}

    impl Function for Unprepared {
        fn init() -> Result<(), Error> {
            Err(Error::message("not today"))
        }

        fn handle(_event: Vec<u8>, _context: Context) -> Result<Vec<u8>, Error> {
            panic!("no event may come before a successful init")
        }
    }

    #[test]
    fn the_answer_is_all_that_is_printed() {
        let mut output = Vec::new();
        run::<Echo>(&b"\xFF{}"[..], &mut output, Context::local()).unwrap();
        assert_eq!(output, b"\xFF{}");
    }

    #[test]
    fn preparation_comes_first() {
        let mut output = Vec::new();
        let error = run::<Unprepared>(&b"{}"[..], &mut output, Context::local()).unwrap_err();
        assert_eq!(error.to_string(), "not today");
        assert!(output.is_empty());
    }
}
