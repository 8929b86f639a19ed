//! Compiles the guests and the examples for `wasm32-wasip2`, and writes a constant with the path of each.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// What cargo or a user set for the native build, and what would reach the guests' build as well.
const OUTER_BUILD: [&str; 10] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CLIPPY_ARGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace");
    // A target directory of its own: the outer cargo holds the lock of its own one while this script runs.
    let target = target_directory(&out).join("guests");
    watch(workspace);
    require_target();

    let crates = entries(&workspace.join("examples"), |entry| entry.join("Cargo.toml").is_file());
    let examples = crates
        .iter()
        .flat_map(|example| programs_of(example))
        .collect::<Vec<_>>();
    let guests = programs_in(&workspace.join("tests/guests/src/bin"));

    let packages = crates
        .iter()
        .flat_map(|example| ["--package".to_owned(), name_of(example)])
        .collect::<Vec<_>>();
    build(workspace, &target, "release", &packages);
    build(
        workspace,
        &target,
        "guest",
        &["--package".to_owned(), "orlop-test-guests".to_owned()],
    );

    let built = target.join(TARGET);
    write_module(&out.join("examples.rs"), &examples, &built.join("release"));
    write_module(&out.join("guests.rs"), &guests, &built.join("guest"));
}

/// The folder that cargo marks as its target directory, wherever the build put it.
fn target_directory(out: &Path) -> &Path {
    out.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        // A target directory that existed before cargo used it has no mark: TARGET/PROFILE/build/PACKAGE/out.
        .or_else(|| out.ancestors().nth(4))
        .expect("cargo puts OUT_DIR into its target directory")
}

fn watch(workspace: &Path) {
    for path in [
        "Cargo.lock",
        "Cargo.toml",
        "examples",
        "guest-sdk",
        "tests/guests",
        "wit",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// Has rustup install the target where it is missing; a toolchain without rustup has to bring it along.
fn require_target() {
    let rustc = variable("RUSTC");
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let library = printed.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    if library.is_ok_and(|library| library.is_dir()) {
        return;
    }
    println!("cargo::warning=installing the Rust target {TARGET}: rustup target add {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    assert!(
        added.is_ok_and(|status| status.success()),
        "the Rust target {TARGET} is missing: run `rustup target add {TARGET}`, or install your distribution's package of it"
    );
}

/// What cargo makes one component of.
struct Program {
    name: String,
    source: PathBuf,
}

/// The programs of an example: the one that is called like it, or several.
fn programs_of(example: &Path) -> Vec<Program> {
    let source = example.join("src/main.rs");
    if !source.is_file() {
        return programs_in(&example.join("src/bin"));
    }
    let name = name_of(example);
    vec![Program { name, source }]
}

fn programs_in(directory: &Path) -> Vec<Program> {
    let sources = entries(directory, Path::is_file).into_iter();
    sources
        .map(|source| Program {
            name: name_of(&source),
            source,
        })
        .collect()
}

/// What is in `directory`, sorted.
fn entries(directory: &Path, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    let mut paths = entries
        .map(|entry| entry.expect("the listing stays readable").path())
        .filter(|path| is_wanted(path))
        .collect::<Vec<_>>();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    let name = path.file_stem().and_then(|name| name.to_str());
    name.unwrap_or_else(|| panic!("{} has no name", path.display()))
        .to_owned()
}

fn build(workspace: &Path, target: &Path, profile: &str, packages: &[String]) {
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--target", TARGET, "--profile", profile]);
    cargo.arg("--target-dir").arg(target).args(packages);
    for name in OUTER_BUILD {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo can run cargo");
    assert!(
        output.status.success(),
        "cannot compile {packages:?} for {TARGET}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The first line of a program's documentation, which becomes that of its constant.
fn first_line(source: &Path) -> String {
    let text = fs::read_to_string(source).unwrap_or_else(|error| panic!("cannot read {}: {error}", source.display()));
    let line = text.lines().next().and_then(|line| line.strip_prefix("//!"));
    line.map(str::trim)
        .map(str::to_owned)
        .unwrap_or_else(|| panic!("{} starts without a doc comment", source.display()))
}

fn write_module(module: &Path, programs: &[Program], directory: &Path) {
    let mut text = String::new();
    for Program { name, source } in programs {
        let path = directory.join(name).with_extension("wasm");
        assert!(path.is_file(), "cargo built no {}", path.display());
        writeln!(
            text,
            "/// {}\npub const {}: crate::Component = crate::Component::new({name:?}, {:?});",
            first_line(source),
            constant(name),
            path.display().to_string(),
        )
        .expect("a string takes any text");
    }
    let constants = programs.iter().map(|program| constant(&program.name));
    let constants = constants.collect::<Vec<_>>().join(", ");
    writeln!(
        text,
        "/// All of them, sorted by name.\npub const ALL: &[crate::Component] = &[{constants}];"
    )
    .expect("a string takes any text");
    fs::write(module, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", module.display()));
}

fn constant(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to build scripts through their environment"
)]
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}
