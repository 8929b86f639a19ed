//! Each file in `ui/` makes one mistake; beside it is the message it gets.
//!
//! `TRYBUILD=overwrite cargo test -p orlop-sdk --test compile_errors` writes the messages anew.

#[test]
fn mistakes_are_explained_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
