//! Has hooks for SnapStart, which print and do what the variables `BEFORE` and `AFTER` say: `fail`, `panic` or `spin`.

use std::sync::Mutex;

use orlop_sdk::Error;

/// What has happened to this memory, and the random number of each step.
static STEPS: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());

#[orlop_sdk::handler(init = init, before_snapshot = before, after_restore = after)]
fn steps(_event: Vec<u8>) -> Vec<(&'static str, u64)> {
    step("handle");
    STEPS.lock().unwrap_or_else(|_| panic!("there is one thread")).clone()
}

fn step(name: &'static str) {
    let random = wasip2::random::random::get_random_u64();
    STEPS
        .lock()
        .unwrap_or_else(|_| panic!("there is one thread"))
        .push((name, random));
    println!("{name} {random}");
}

fn init() -> Result<(), Error> {
    step("init");
    Ok(())
}

fn before() -> Result<(), Error> {
    step("before");
    behave("BEFORE")
}

fn after() -> Result<(), Error> {
    step("after");
    behave("AFTER")
}

#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn behave(variable: &str) -> Result<(), Error> {
    match std::env::var(variable).as_deref() {
        Ok("fail") => Err(Error::new("NotReady", "told to fail")),
        Ok("panic") => panic!("told to panic"),
        Ok("spin") => loop {
            std::hint::spin_loop();
        },
        _ => Ok(()),
    }
}
