//! Guests that mean harm, and what becomes of them: the cases G01 to G62 of the threat model, many of them a second time on WASI 0.3.
//!
//! [`cases`] is the table: what a guest does, and what the caller gets. `survival` runs all of it in one process, in random
//! order, with innocent events in between; [`init`] has what is to fail before the first event; [`leaks`] looks for what one
//! event leaves to the next.
//!
//! Some are elsewhere: G32 in the case of G31, G33 and G34 in `it::grants`, G54 in `it::compiling`, G55 in `it::artifacts`, and
//! G62 among the languages of `compatibility`. For G48 there is nothing to call back into.
//!
//! The whole run, in place of the short one of `cargo test`:
//!
//! ```text
//! ORLOP_TEST_HOSTILE_ROUNDS=20 cargo test -p orlop-tests --test hostile survival
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod guests;
mod init;
mod leaks;
mod measure;
mod survival;

use std::time::Duration;

/// How long a process may take to end once it has to.
const END: Duration = Duration::from_secs(5);
