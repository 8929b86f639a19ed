//! What one component exports, what it wants, and what the sandbox gives it.

use std::path::Path;

use bytesize::ByteSize;
use orlop_host::artifact::snapshot::{Provenance, provenance};
use orlop_host::engine::Features;
use orlop_host::telemetry::text::escape_controls;
use orlop_host::worlds::{INITIALISED_INTERFACE, Kind, LIFECYCLE_INTERFACE};
use wasmparser::{Parser, Payload};

use crate::mistake::Mistake;

/// The component's own imports and exports, without those of what is nested in it, fit to be shown.
#[derive(Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
    core_modules: usize,
}

/// The report on a component.
pub(super) fn describe(path: &Path, bytes: &[u8]) -> Result<String, Mistake> {
    let surface = Surface::of(bytes).map_err(|error| {
        Mistake::new(
            format!("`{}` is no valid component: {error}", path.display()),
            "check that the file is whole",
        )
    })?;
    let features = feature_names(Features::needed_by(bytes));
    let snapshot = provenance(bytes).as_ref().map_or_else(String::new, snapshot);
    Ok(format!(
        "{}: {} in {} core modules\nworld: {}\n{snapshot}features: {features}\n{}{}sandbox:\n  {}\n",
        path.display(),
        ByteSize(bytes.len() as u64).display().iec(),
        surface.core_modules,
        surface.world(),
        list("exports", surface.exports.iter().map(|name| (name.as_str(), ""))),
        list(
            "imports",
            surface.imports.iter().map(|name| (name.as_str(), verdict(name)))
        ),
        [SANDBOX, &[surface.stdio()]].concat().join("\n  "),
    ))
}

/// What there is to say of a snapshot, in a line.
fn snapshot(provenance: &Provenance) -> String {
    let Provenance {
        engine,
        source_sha256,
        memory_bytes,
    } = provenance;
    let memory = ByteSize(*memory_bytes).display().iec();
    format!(
        "snapshot: of a component with SHA-256 {}, taken by {}; {memory} of memory from the start\n",
        escape_controls(source_sha256),
        escape_controls(engine),
    )
}

/// The features of a component, or of an artifact, in words.
pub(super) fn feature_names(features: Features) -> String {
    match features.names().as_slice() {
        [] => "those of stock toolchains".to_owned(),
        names => names.join(", "),
    }
}

/// The world of a component, in a sentence.
pub(super) fn world(bytes: &[u8]) -> String {
    match Surface::of(bytes) {
        Ok(surface) => surface.world(),
        Err(error) => format!("none, it is no valid component: {error}"),
    }
}

const SANDBOX: &[&str] = &[
    "files: a private, empty /tmp; nothing else",
    "network: none; sockets and name lookups refuse when called, HTTP needs a grant",
    "environment: the function's variables, without credentials, tokens and platform addresses",
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
                        surface.imports.push(escape_controls(import?.name.name).into_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        surface.exports.push(escape_controls(export?.name.name).into_owned());
                    }
                }
                _ => {}
            }
        }
        surface.imports.sort();
        surface.exports.sort();
        Ok(surface)
    }

    fn stdio(&self) -> &'static str {
        match Kind::choose(&self.exports, None) {
            Ok(Kind::Command) => "stdin: the event; stdout is the answer, stderr becomes log lines",
            Ok(Kind::Handler | Kind::Http) | Err(_) => "stdin: closed; stdout and stderr become log lines",
        }
    }

    fn world(&self) -> String {
        let kind = match Kind::choose(&self.exports, None) {
            Ok(kind) => kind,
            Err(reason) => return format!("none that Orlop runs; {reason}"),
        };
        let calls = match kind {
            Kind::Handler => "an event is passed to its `handle`",
            Kind::Http => "an event becomes a request",
            Kind::Command => "an event is passed on stdin, stdout is the answer",
        };
        let life = match kind {
            Kind::Handler | Kind::Http if self.exports.iter().any(|name| name == LIFECYCLE_INTERFACE) => {
                "its `init` runs once, and an instance is kept from event to event"
            }
            Kind::Handler | Kind::Http if self.exports.iter().any(|name| name == INITIALISED_INTERFACE) => {
                "every event gets a fresh instance, in which `init` has run"
            }
            Kind::Handler | Kind::Http | Kind::Command => "every event gets a fresh instance",
        };
        format!("{}: {calls}; {life}", kind.name())
    }
}

/// What becomes of an import in the sandbox, which offers every version that is compatible with WASI 0.2 or 0.3.
fn verdict(import: &str) -> &'static str {
    const MISSING: &str = "missing: the component cannot be loaded";
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let package = interface.split_once('/').map_or(interface, |(package, _)| package);
    match package {
        // Types only; there is nothing to call.
        "orlop:function" if interface == "orlop:function/types" => "granted",
        _ if !version.starts_with("0.2.") && !version.starts_with("0.3.") => MISSING,
        "wasi:cli" | "wasi:clocks" | "wasi:io" | "wasi:random" => "granted",
        "wasi:filesystem" => "granted below /tmp",
        "wasi:sockets" => "refuses when called",
        "wasi:http" if matches!(interface, "wasi:http/outgoing-handler" | "wasi:http/client") => {
            "refuses when called, but for what `grants.outbound` and `grants.aws` name in orlop.toml"
        }
        "wasi:http" => "granted",
        _ => MISSING,
    }
}

fn list<'a>(title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lines = rows.map(|(name, remark)| format!("  {name:<44} {remark}").trim_end().to_owned() + "\n");
    format!("{title}:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::*;

    /// A component that exports a function of the module in it, and imports an interface.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\
        \x07\x03\x01B\0\
        \x0a\x1f\x01\0\x1awasi:cli/environment@0.2.6\x05\0\
        \x01\x1f\0asm\x01\0\0\0\x01\x04\x01`\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x04\x01\x02\0\x0b\
        \x02\x04\x01\0\0\0\
        \x06\x07\x01\0\0\x01\0\x01f\
        \x07\x05\x01@\0\x01\0\
        \x08\x06\x01\0\0\0\0\x01\
        \x0b\x09\x01\0\x03run\x01\0\0";

    /// That component as a snapshot that says so of itself.
    fn snapshot_by(engine: &str) -> Vec<u8> {
        let provenance = serde_json::json!({ "engine": engine, "source_sha256": engine, "memory_bytes": 65_536 });
        let section = [b"\x0eorlop:snapshot", provenance.to_string().as_bytes()].concat();
        let length = u8::try_from(section.len()).ok().filter(|length| *length < 0x80);
        [COMPONENT, &[0, length.expect("a short name")], &section].concat()
    }

    fn described(bytes: &[u8]) -> Result<String, Mistake> {
        describe(Path::new("a.wasm"), bytes)
    }

    #[test]
    fn a_component_cannot_move_the_terminal_or_write_lines_of_its_own() {
        let honest = described(&snapshot_by("e")).unwrap();
        let sly = described(&snapshot_by("\u{1b}[2J\nworld: x")).unwrap();
        assert!(sly.contains(r"taken by \u{1b}[2J\nworld: x;"), "{sly}");
        let titles = |report: &str| {
            report
                .lines()
                .map(|line| line.split(' ').next().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(titles(&sly), titles(&honest));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_damaged_component_is_described_or_refused(
            place in 0..COMPONENT.len(),
            length in 0_usize..8,
            patch in vec(any::<u8>(), 0..8),
        ) {
            let whole = snapshot_by("e");
            let end = (place + length).min(whole.len());
            let damaged = [&whole[..place], &patch, &whole[end..]].concat();
            if let Ok(report) = described(&damaged) {
                prop_assert!(report.starts_with("a.wasm: ") && report.contains("\nworld: "), "{}", report);
                prop_assert!(!report.contains(|character: char| character.is_control() && !"\n\t".contains(character)), "{:?}", report);
            }
        }
    }
}
