//! `orlop compile`: a component in, an artifact out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bytesize::ByteSize;
use clap::ValueEnum;
use orlop_host::artifact::ARTIFACT_EXTENSION;
use orlop_host::artifact::compile::compile;
use orlop_host::engine::Target;

use crate::component::read;
use crate::mistake::Mistake;

/// Precompile a component into the artifact that `bootstrap` maps at Init.
///
/// The artifact is machine code for one kind of processor, stamped with the exact version of the engine that made it; another
/// version refuses it. Make it when the image is built, and keep the .wasm: it is the portable original.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component (.wasm)
    component: PathBuf,
    /// Where to write the artifact [default: the component's path with the extension .cwasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The processor to compile for [default: this machine's]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<TargetName>,
}

/// The names of targets on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum TargetName {
    /// Any x86-64 processor
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86_64,
    /// AWS Graviton, any generation
    #[value(name = "aarch64-unknown-linux-gnu")]
    Aarch64,
}

impl From<TargetName> for Target {
    fn from(name: TargetName) -> Self {
        match name {
            TargetName::X86_64 => Self::X86_64,
            TargetName::Aarch64 => Self::Aarch64,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let Arguments {
        component,
        output,
        target,
    } = arguments;
    let target = target_or_host(target.map(Target::from))?;
    let bytes = read(component)?;
    let output = output
        .clone()
        .unwrap_or_else(|| component.with_extension(ARTIFACT_EXTENSION));
    let started = Instant::now();
    let artifact = compile_or_explain(component, &bytes, target)?;
    write_whole(&output, &artifact).map_err(|error| {
        Mistake::new(
            format!("cannot write `{}`: {error}", output.display()),
            "choose another place with `-o FILE`",
        )
    })?;
    eprintln!(
        "compiled {} ({}) to {} ({}) for {} in {:.2} s",
        component.display(),
        ByteSize(bytes.len() as u64).display().iec(),
        output.display(),
        ByteSize(artifact.len() as u64).display().iec(),
        target.triple(),
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn target_or_host(target: Option<Target>) -> Result<Target, Mistake> {
    target.or_else(Target::host).ok_or_else(|| {
        Mistake::new(
            "Lambda offers no processor like this machine's",
            "name the function's with `--target TRIPLE`",
        )
    })
}

pub(crate) fn compile_or_explain(path: &Path, bytes: &[u8], target: Target) -> Result<Vec<u8>, Mistake> {
    compile(bytes, target).map_err(|error| {
        Mistake::new(
            format!("`{}`: {error}", path.display()),
            "check that the file is whole, and that it was built by a stock toolchain for wasm32-wasip2",
        )
    })
}

/// Writes a file in one step, so that an interruption leaves the old one or the new one, never a part.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    // Lambda runs functions as a user of its own, which has to read what root has written here.
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}
