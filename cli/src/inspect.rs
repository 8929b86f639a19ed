//! `orlop inspect`: what a component exports, what it wants, and what the sandbox gives it.

use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use orlop_host::worlds::{HANDLER_INTERFACE, LIFECYCLE_INTERFACE};
use wasmparser::{Parser, Payload};

use crate::component::Runnable;
use crate::mistake::Mistake;
use crate::output;

/// Say which world a component belongs to, what it imports, and what the sandbox denies it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A component (.wasm), or the folder of a crate that builds one
    component: PathBuf,
}

/// The component's own imports and exports, without those of what is nested in it.
#[derive(Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
    core_modules: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let (path, bytes) = match Runnable::new(&arguments.component)? {
        Runnable::Component(path, bytes) => (path, bytes),
        Runnable::Artifact(path) => {
            return Err(Mistake::new(
                format!(
                    "`{}` is machine code, which hides what the component was",
                    path.display()
                ),
                "inspect the .wasm it was made of",
            ));
        }
    };
    let surface = Surface::of(&bytes).map_err(|error| {
        Mistake::new(
            format!("`{}` is no valid component: {error}", path.display()),
            "check that the file is whole",
        )
    })?;
    let report = format!(
        "{}: {} in {} core modules\nworld: {}\n{}{}sandbox:\n  {}\n",
        path.display(),
        ByteSize(bytes.len() as u64).display().iec(),
        surface.core_modules,
        surface.world(),
        list("exports", surface.exports.iter().map(|name| (name.as_str(), ""))),
        list(
            "imports",
            surface.imports.iter().map(|name| (name.as_str(), verdict(name)))
        ),
        SANDBOX.join("\n  "),
    );
    output::write(&mut std::io::stdout(), &[report.as_bytes()])?;
    Ok(ExitCode::SUCCESS)
}

const SANDBOX: &[&str] = &[
    "files: a private, empty /tmp; nothing else",
    "network: none; sockets and name lookups refuse when called",
    "environment: the function's variables, without credentials, tokens and platform addresses",
    "stdin: closed; stdout and stderr become log lines",
];

impl Surface {
    fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(bytes)?;
        let mut surface = Self::default();
        let mut depth = 0_usize;
        #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's enum grows with the format")]
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    surface.core_modules += 1;
                    depth += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        surface.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        surface.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        surface.imports.sort();
        surface.exports.sort();
        Ok(surface)
    }

    fn world(&self) -> String {
        let exports = |interface: &str| self.exports.iter().any(|name| name == interface);
        if !exports(HANDLER_INTERFACE) {
            return format!("none that Orlop runs; it does not export {HANDLER_INTERFACE}");
        }
        if exports(LIFECYCLE_INTERFACE) {
            "handler, with `init`: an instance is kept from event to event".to_owned()
        } else {
            "handler: every event gets a fresh instance".to_owned()
        }
    }
}

/// What becomes of an import in the sandbox, which offers every version that is compatible with WASI 0.2.
fn verdict(import: &str) -> &'static str {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let package = interface.split_once('/').map_or(interface, |(package, _)| package);
    match package {
        // Types only; there is nothing to call.
        "orlop:function" if interface == "orlop:function/types" => "granted",
        _ if !version.starts_with("0.2.") => "missing: the component cannot be loaded",
        "wasi:cli" | "wasi:clocks" | "wasi:io" | "wasi:random" => "granted",
        "wasi:filesystem" => "granted below /tmp",
        "wasi:sockets" => "refuses when called",
        _ => "missing: the component cannot be loaded",
    }
}

fn list<'a>(title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lines = rows.map(|(name, remark)| format!("  {name:<44} {remark}").trim_end().to_owned() + "\n");
    format!("{title}:\n{}", lines.collect::<String>())
}
