//! `orlop compile`: a component in, an artifact out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bytesize::ByteSize;
use orlop_host::artifact::compile::{CompileError, compile};
use orlop_host::artifact::{Bounds, artifact_name};
use orlop_host::engine::{Cpu, Execution};

use crate::bounds;
use crate::component::read;
use crate::mistake::Mistake;
use crate::{execution, processor};

/// Precompile a component into the artifact that `bootstrap` maps at Init.
///
/// The artifact is machine code for one kind of processor, stamped with the exact version of the engine that made it; another
/// version refuses it. Make it when the image is built, and keep the .wasm: it is the portable original.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component (.wasm)
    component: PathBuf,
    /// Where to write the artifact [default: NAME.cwasm or NAME.concurrent.cwasm beside the component]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    processor: processor::Flags,
    #[command(flatten)]
    bounds: bounds::Flags,
    #[command(flatten)]
    execution: execution::Flags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let Arguments {
        component,
        output,
        processor,
        bounds,
        execution,
    } = arguments;
    let cpu = processor.cpu()?;
    let bounds = bounds.get()?;
    let executions = execution.executions();
    if output.is_some() && executions.len() > 1 {
        return Err(Mistake::new(
            "two artifacts cannot be written to one file",
            "leave out `-o`, or compile for one kind of `--execution` at a time",
        ));
    }
    let bytes = read(component, &bounds)?;
    for &execution in executions {
        let output = output.clone().unwrap_or_else(|| beside(component, execution));
        let started = Instant::now();
        let artifact = compile_or_explain(component, &bytes, cpu, execution, &bounds)?;
        write_whole(&output, &artifact).map_err(|error| {
            Mistake::new(
                format!("cannot write `{}`: {error}", output.display()),
                "choose another place with `-o FILE`",
            )
        })?;
        eprintln!(
            "compiled {} ({}) to {} ({}) for {cpu}{} in {:.2} s",
            component.display(),
            ByteSize(bytes.len() as u64).display().iec(),
            output.display(),
            ByteSize(artifact.len() as u64).display().iec(),
            match execution {
                Execution::Sequential => "",
                Execution::Concurrent => ", to be interrupted,",
            },
            started.elapsed().as_secs_f64()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the artifact of a component belongs.
fn beside(component: &Path, execution: Execution) -> PathBuf {
    let name = component.file_stem().unwrap_or_default().to_string_lossy();
    component.with_file_name(artifact_name(&name, execution))
}

pub(crate) fn compile_or_explain(
    path: &Path,
    bytes: &[u8],
    cpu: Cpu,
    execution: Execution,
    bounds: &Bounds,
) -> Result<Vec<u8>, Mistake> {
    compile(bytes, cpu, execution, bounds)
        .map_err(|error| Mistake::new(format!("`{}`: {error}", path.display()), help(&error)))
}

/// What to do about a component that cannot be compiled.
pub(crate) fn help(error: &CompileError) -> &'static str {
    match error {
        CompileError::OutOfMemory(_) => "a trusted component gets more with `--compile-memory SIZE`",
        CompileError::TooSlow(_) => "a trusted component gets more with `--compile-time DURATION`",
        CompileError::Unreadable { .. }
        | CompileError::NoComponent { .. }
        | CompileError::TooLarge { .. }
        | CompileError::Refused(_)
        | CompileError::Broken(_) => {
            "check that the file is whole, and that it was built by a stock toolchain for wasm32-wasip2"
        }
    }
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
