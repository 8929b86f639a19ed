//! Hides a text wherever something might outlive an event, and looks for it in all of these places.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::mem::forget;
use std::sync::Mutex;

static HIDDEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// How much memory is searched, and dirtied: more than what a fresh instance begins with.
const SEARCHED: usize = 8 << 20;

#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
pub(super) fn variables() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// Puts the secret into memory, globals, files, open handles, its environment and half a line of output.
pub(super) fn hide(secret: &str) -> usize {
    HIDDEN
        .lock()
        .expect("nobody panics while holding it")
        .extend(secret.bytes());
    // All over the heap, so that some of it lies wherever the next instance asks for memory.
    let copies = secret.repeat(SEARCHED / secret.len());
    forget(copies);
    let _ = fs::write("/tmp/secret", secret);
    let _ = fs::create_dir("/tmp/folder");
    let _ = fs::write("/tmp/folder/secret", secret);
    if let Ok(file) = fs::File::create("/tmp/open") {
        forget(file);
    }
    // There is no interface to set a variable outside of the guest's own memory.
    set_variable("SECRET", secret);
    // Without the end of the line: it must not begin the next event's.
    let _ = io::stdout().write_all(secret.as_bytes());
    let _ = io::stdout().flush();
    secret.len()
}

/// The places where the secret is found.
pub(super) fn find(secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !HIDDEN.lock().expect("nobody panics while holding it").is_empty() {
        found.push("global".to_owned());
    }
    if let Ok(entries) = fs::read_dir("/tmp") {
        found.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    let variables = variables();
    if variables.contains_key("SECRET") || variables.values().any(|value| value == secret) {
        found.push("environment".to_owned());
    }
    let mut input = Vec::new();
    let _ = io::stdin().read_to_end(&mut input);
    if !input.is_empty() {
        found.push("stdin".to_owned());
    }
    if fresh_memory_is_dirty() {
        found.push("memory".to_owned());
    }
    found
}

/// Whether memory that the instance has just been given holds anything but zeros.
fn fresh_memory_is_dirty() -> bool {
    let pages = SEARCHED / super::PAGE;
    let grown = grow_memory(pages);
    if grown == usize::MAX {
        return false;
    }
    let start = grown * super::PAGE;
    #[expect(unsafe_code, reason = "no reference can be made to memory that nobody has allocated")]
    // SAFETY: the pages have just been added to the memory; nobody else knows of them.
    let fresh = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(start), SEARCHED) };
    fresh.iter().any(|byte| *byte != 0)
}

#[cfg(target_arch = "wasm32")]
fn grow_memory(pages: usize) -> usize {
    core::arch::wasm32::memory_grow::<0>(pages)
}

/// Where the guests are only checked.
#[cfg(not(target_arch = "wasm32"))]
fn grow_memory(_pages: usize) -> usize {
    usize::MAX
}

#[expect(unsafe_code, reason = "setting a variable is")]
#[expect(clippy::disallowed_methods, reason = "a guest's environment is its own")]
fn set_variable(name: &str, value: &str) {
    // SAFETY: a guest has one thread.
    unsafe { std::env::set_var(name, value) };
}
