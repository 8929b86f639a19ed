//! Counts the words of its input: an ordinary program from stdin to stdout.
//!
//! As a function, the event is on stdin, and the answer is what the program prints. `args` in `orlop.toml` are its
//! arguments. If it fails, what it has written to stderr becomes the error that the caller sees.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let mut wants_total = false;
    for argument in arguments {
        match argument.as_str() {
            "--total" => wants_total = true,
            other => return Err(format!("there is no argument `{other}`")),
        }
    }
    let text = io::read_to_string(io::stdin()).map_err(|error| format!("cannot read the input: {error}"))?;
    Ok(count(&text, wants_total))
}

/// How often each word occurs, as JSON; and how many words there are.
fn count(text: &str, wants_total: bool) -> String {
    let words = text.split(|character: char| !character.is_alphanumeric());
    let mut counts = BTreeMap::<String, u64>::new();
    for word in words.filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    // Letters and digits need no escapes in JSON.
    let members = counts.iter().map(|(word, count)| format!(r#""{word}":{count}"#));
    let words = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    match wants_total {
        true => format!(r#"{{"total":{},"words":{words}}}"#, counts.values().sum::<u64>()),
        false => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_whatever_their_case() {
        assert_eq!(count("Sail, sail HO!", false), r#"{"ho":1,"sail":2}"#);
    }

    #[test]
    fn the_total_is_given_if_it_is_asked_for() {
        assert_eq!(
            count(include_str!("../events/shanty.json"), true),
            r#"{"total":6,"words":{"away":3,"haul":2,"joe":1}}"#
        );
        assert_eq!(count("", true), r#"{"total":0,"words":{}}"#);
    }
}
