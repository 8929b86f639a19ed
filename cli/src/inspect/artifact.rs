//! What an artifact says about itself, and whether it would be loaded here.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use bytesize::ByteSize;
use orlop_host::artifact::stamp::Stamp;
use orlop_host::engine::Execution;
use orlop_host::telemetry::text::escape_controls;

use super::component;
use crate::mistake::Mistake;

/// The report on an artifact.
pub(super) fn describe(path: &Path) -> Result<String, Mistake> {
    let artifact = fs::read(path).map_err(|error| {
        Mistake::new(
            format!("cannot read `{}`: {error}", path.display()),
            "name an artifact (.cwasm), or the component (.wasm) it was made of",
        )
    })?;
    let (stamp, machine_code) = Stamp::verify(&artifact).map_err(|error| {
        Mistake::new(
            format!("`{}` is no artifact that can be used: {error}", path.display()),
            "make it again from its component with `orlop compile FILE.wasm`",
        )
    })?;
    let execution = Execution::named(&stamp.kind).unwrap_or(Execution::Sequential);
    let here = match stamp.check_fit(execution) {
        Ok(_) => "runs".to_owned(),
        Err(misfit) => format!("refused, {misfit}"),
    };
    let Stamp {
        engine,
        target,
        cpu,
        kind,
        features,
        source_sha256,
        code_bytes: _,
    } = &stamp;
    let mut report = format!(
        "{}: {} of machine code, whole\n",
        path.display(),
        ByteSize(machine_code.len() as u64).display().iec()
    );
    for (title, text) in [
        ("target", target),
        ("cpu", cpu),
        ("engine", engine),
        ("execution", kind),
        ("features", &component::feature_names(*features)),
        ("made of", &format!("a component with SHA-256 {source_sha256}")),
        ("here", &here),
    ] {
        let _ = writeln!(report, "{title}: {}", escape_controls(text));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use orlop_host::engine::Features;

    use super::*;

    #[test]
    fn an_artifact_cannot_move_the_terminal_or_write_lines_of_its_own() {
        let sly = || "\u{1b}[2J\nhere: runs".to_owned();
        let stamp = Stamp {
            engine: sly(),
            target: sly(),
            cpu: sly(),
            kind: sly(),
            features: Features::default(),
            source_sha256: sly(),
            code_bytes: 0,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), stamp.seal(Vec::new())).unwrap();
        let report = describe(file.path()).unwrap();
        let titles: Vec<&str> = report
            .lines()
            .skip(1)
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(
            titles,
            ["target", "cpu", "engine", "execution", "features", "made of", "here"]
        );
        assert!(report.contains("\nhere: refused, "), "{report}");
        assert!(!report.contains('\u{1b}'), "{report}");
    }
}
