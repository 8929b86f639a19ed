//! The names that a project can have: those of Cargo packages with a program, and of Lambda functions.

use crate::mistake::Mistake;

/// A Lambda function's name is not longer.
const LONGEST: usize = 64;

/// Folders of cargo's in a target directory, and crates that are always there.
const OF_CARGO: &str = "alloc build core deps examples incremental proc_macro proc-macro std test";
/// Dependencies of the templates.
const OF_TEMPLATES: &str = "orlop-sdk orlop_sdk orlop-sdk-macros serde serde_json wstd";
/// The language's words.
const OF_RUST: &str = "Self abstract as async await become box break const continue crate do dyn else enum extern false \
                       final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self \
                       static struct super trait true try type typeof unsafe unsized use virtual where while yield";

/// Refuses a name that no project can have.
pub(super) fn check(name: &str) -> Result<(), Mistake> {
    let refused = |reason: &str| {
        Err(Mistake::new(
            format!("a project cannot be called `{name}`: {reason}"),
            "begin with a letter, and go on with letters, digits, `-` and `_`, such as order-queue",
        ))
    };
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return refused("it does not begin with a letter");
    }
    if let Some(other) = name.chars().find(|character| !is_allowed(*character)) {
        return refused(&format!("it has the character {other:?}"));
    }
    if name.len() > LONGEST {
        return refused(&format!("it is longer than {LONGEST} characters"));
    }
    let mut taken = [OF_CARGO, OF_TEMPLATES, OF_RUST]
        .into_iter()
        .flat_map(str::split_whitespace);
    if taken.any(|taken| taken == name) {
        return refused("that name is taken by Rust, cargo or a dependency");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages_and_functions() {
        for name in ["greeter", "order-queue", "a", "Orders_2", &"a".repeat(64)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2nd",
            "-x",
            "_x",
            "a b",
            "a/b",
            "a.b",
            "größe",
            "fn",
            "test",
            "serde",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
