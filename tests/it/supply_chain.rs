//! What is built into the programs: where it comes from, and under which terms. `deny.toml` has the rules; `cargo deny check`
//! knows more, and this knows the most important of them without a tool.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(file: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(file)).unwrap();
    text.parse().unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn texts(table: &toml::Value) -> Vec<&str> {
    let values = table.as_array().unwrap_or_else(|| panic!("no list: {table}"));
    values.iter().filter_map(toml::Value::as_str).collect()
}

#[test]
fn every_crate_comes_from_the_registry_with_a_checksum_and_of_the_engine_there_is_one() {
    let (rules, lock) = (read("deny.toml"), read("Cargo.lock"));
    let registries = texts(&rules["sources"]["allow-registry"]);
    let rules_of_crates = rules["bans"]["deny"].as_array().unwrap();
    let is_single =
        |rule: &&toml::Value| rule.get("deny-multiple-versions").and_then(toml::Value::as_bool) == Some(true);
    let single = rules_of_crates.iter().filter(is_single);
    let once: Vec<&str> = single.map(|rule| rule["crate"].as_str().unwrap()).collect();
    let packages = lock["package"].as_array().unwrap();
    let text = |package: &toml::Value, key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let mut seen = Vec::new();
    for package in packages {
        let name = text(package, "name").unwrap();
        if let Some(source) = text(package, "source") {
            let registry = source.strip_prefix("registry+").unwrap_or_default();
            assert!(registries.contains(&registry), "{name} comes from {source}");
            assert!(text(package, "checksum").is_some(), "{name} has no checksum");
        }
        if once.contains(&name.as_str()) {
            assert!(!seen.contains(&name), "{name} is there in two versions");
            seen.push(name);
        }
    }
    assert_eq!(seen.len(), once.len(), "of {once:?} there are {seen:?}");
    assert!(once.contains(&"wasmtime"), "{once:?}");
}

#[test]
fn every_crate_is_under_terms_that_are_allowed() {
    let rules = read("deny.toml");
    let allowed = texts(&rules["licenses"]["allow"]);
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let (name, terms) = (&package["name"], package["license"].as_str().unwrap_or_default());
        assert!(is_allowed(terms, &allowed), "{name} is under {terms:?}");
    }
    assert!(packages.len() > 100, "only {} crates", packages.len());
}

/// Whether an expression of SPDX, or one of the older form with `/`, can be met with what is allowed. Words that are joined by
/// AND lie in brackets if they are choices.
fn is_allowed(terms: &str, allowed: &[&str]) -> bool {
    let terms = terms.replace('/', " OR ");
    let all = split(&terms, " AND ");
    if let [one] = all.as_slice() {
        let one = one.trim();
        return match one.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => is_allowed(inner, allowed),
            None => split(one, " OR ").iter().any(|choice| allowed.contains(&choice.trim())),
        };
    }
    all.iter().all(|part| is_allowed(part, allowed))
}

/// Parts of a text between a word that stands outside of brackets.
fn split<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && index >= begin && text[index..].starts_with(word) => {
                parts.push(&text[begin..index]);
                begin = index + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[test]
fn terms_are_read_as_they_are_meant() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for terms in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_allowed(terms, &allowed), "{terms}");
    }
    for terms in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "Apache-2.0",
    ] {
        assert!(!is_allowed(terms, &allowed), "{terms}");
    }
}
