//! Rust: the examples that the WASI crates carry in their packages, a site on WASI 0.3, and programs from crates.io.

use std::path::{Path, PathBuf};

use super::{Batch, Workshop, sources};
use crate::Component;
use crate::tools::{self, NEEDS_REGISTRY};

const TARGET: &str = "wasm32-wasip2";

const RECIPE: &str = include_str!("rust.rs");
/// The versions of the WASI crates are in the lock file there.
const SOURCES: &[&str] = &["tests/foreign/rust", "tests/foreign/rust/src"];

static WSTD: Batch = Batch {
    name: "wstd",
    recipe: RECIPE,
    sources: SOURCES,
    make: |workshop| {
        let examples = ["http_client", "http_server", "http_server_proxy", "tcp_echo_server"];
        build_examples(workshop, "wstd", &examples, &[]);
    },
};

static WASIP3: Batch = Batch {
    name: "wasip3",
    recipe: RECIPE,
    sources: SOURCES,
    make: |workshop| {
        let examples = ["cli-command", "http-proxy", "http-proxy-compat"];
        build_examples(workshop, "wasip3", &examples, &["http-compat"]);
    },
};

static SITE: Batch = Batch {
    name: "rust-site",
    recipe: RECIPE,
    sources: SOURCES,
    make: |workshop| {
        build(workshop, &sources("rust"), &[]);
        workshop.keep(&built(workshop).join("site.wasm"), "rust-web-03");
    },
};

static RIPGREP: Batch = program("ripgrep", |workshop| install(workshop, "ripgrep", "15.2.0", "rg"));
static HTMLQ: Batch = program("htmlq", |workshop| install(workshop, "htmlq", "0.4.0", "htmlq"));
static JSONXF: Batch = program("jsonxf", |workshop| install(workshop, "jsonxf", "1.1.1", "jsonxf"));
static PULLDOWN_CMARK: Batch = program("pulldown-cmark", |workshop| {
    install(workshop, "pulldown-cmark", "0.13.6", "pulldown-cmark");
});

/// `wstd`'s server, on `wasi:http/incoming-handler` 0.2: greets at `/`, and has pages that wait, stream, echo and fail.
pub fn wstd_http_server() -> Component {
    WSTD.component("wstd-http-server")
}

/// `wstd`'s server that asks the URL in `TARGET_URL` for whatever follows `/proxy/`.
pub fn wstd_http_server_proxy() -> Component {
    WSTD.component("wstd-http-server-proxy")
}

/// `wstd`'s program that makes a request to the internet.
pub fn wstd_http_client() -> Component {
    WSTD.component("wstd-http-client")
}

/// `wstd`'s program that listens on a TCP port.
pub fn wstd_tcp_echo_server() -> Component {
    WSTD.component("wstd-tcp-echo-server")
}

/// A program on `wasi:cli/run@0.3`: greets.
pub fn wasip3_command() -> Component {
    WASIP3.component("wasip3-cli-command")
}

/// A server on `wasi:http/handler@0.3`: greets, whatever the request.
pub fn wasip3_http() -> Component {
    WASIP3.component("wasip3-http-proxy")
}

/// As [`wasip3_http`], written with the types of the crate `http`.
pub fn wasip3_http_compat() -> Component {
    WASIP3.component("wasip3-http-proxy-compat")
}

/// The site of `tests/foreign/README.md`, on `wasi:http/handler@0.3`.
pub fn rust_web_03() -> Component {
    SITE.component("rust-web-03")
}

/// `rg PATTERN -` prints the lines of stdin that match; it exits with 1 if none does, with 2 on an error.
pub fn ripgrep() -> Component {
    RIPGREP.component("ripgrep")
}

/// `htmlq SELECTOR` prints the elements of the page on stdin that the CSS selector finds.
pub fn htmlq() -> Component {
    HTMLQ.component("htmlq")
}

/// `jsonxf` prints the JSON on stdin indented, with `-m` minified.
pub fn jsonxf() -> Component {
    JSONXF.component("jsonxf")
}

/// `pulldown-cmark` prints the Markdown on stdin as HTML.
pub fn pulldown_cmark() -> Component {
    PULLDOWN_CMARK.component("pulldown-cmark")
}

/// Unpacks the packages of `tests/foreign/rust`, WIT and examples included, and returns the folder with one folder for
/// each.
pub(super) fn vendor(workshop: &Workshop) -> PathBuf {
    let folder = workshop.scratch.join("vendor");
    let mut cargo = tools::cargo();
    cargo.args(["vendor", "--locked", "--quiet", "--manifest-path"]);
    cargo.arg(sources("rust").join("Cargo.toml")).arg(&folder);
    tools::run(cargo, NEEDS_REGISTRY);
    folder
}

fn build_examples(workshop: &Workshop, package: &str, examples: &[&str], features: &[&str]) {
    let mut arguments = examples
        .iter()
        .flat_map(|example| ["--example", example])
        .collect::<Vec<_>>();
    arguments.extend(features.iter().flat_map(|feature| ["--features", feature]));
    build(workshop, &vendor(workshop).join(package), &arguments);
    for example in examples {
        // A library's file has underscores for what its name has.
        let file = built(workshop)
            .join("examples")
            .join(example.replace('-', "_") + ".wasm");
        workshop.keep(&file, &format!("{package}-{}", example.replace('_', "-")));
    }
}

fn build(workshop: &Workshop, package: &Path, arguments: &[&str]) {
    let mut cargo = tools::cargo();
    cargo
        .args(["build", "--locked", "--release", "--target", TARGET])
        .args(arguments);
    cargo.arg("--manifest-path").arg(package.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(workshop.scratch.join("target"));
    tools::run(cargo, NEEDS_REGISTRY);
}

fn built(workshop: &Workshop) -> PathBuf {
    workshop.scratch.join("target").join(TARGET).join("release")
}

const fn program(name: &'static str, make: fn(&Workshop)) -> Batch {
    Batch {
        name,
        recipe: RECIPE,
        sources: &[],
        make,
    }
}

/// Installs a program as its users do, only for another target.
fn install(workshop: &Workshop, package: &str, version: &str, executable: &str) {
    let mut cargo = tools::cargo();
    cargo.args(["install", package, "--version", version, "--locked", "--target", TARGET]);
    cargo.arg("--root").arg(workshop.scratch.join("root"));
    cargo.arg("--target-dir").arg(workshop.scratch.join("target"));
    // Some keep debug information, which makes them ten times as large.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    tools::run(cargo, NEEDS_REGISTRY);
    let file = workshop
        .scratch
        .join("root/bin")
        .join(executable)
        .with_extension("wasm");
    workshop.keep(&file, package);
}
