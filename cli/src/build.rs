//! `orlop build`: a crate in, the files that go into an image out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use orlop_host::engine::Cpu;

use crate::bounds;
use crate::mistake::Mistake;
use crate::project::{Built, Component, Progress, Project, Snapshots};
use crate::{execution, processor};

/// Build a crate into what goes into an image: components, artifacts and orlop.toml.
///
/// Every program of the package becomes a component, for wasm32-wasip2 and in the release profile, and is precompiled. What
/// has not changed is not compiled again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  orlop build
  orlop build examples/orders --target aarch64-unknown-linux-gnu
  orlop build --snapshot
  orlop build hello.wasm -o task")]
pub(crate) struct Arguments {
    /// The folder of a crate, a folder of components, or a component (.wasm)
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    processor: processor::Flags,
    #[command(flatten)]
    bounds: bounds::BuildFlags,
    #[command(flatten)]
    execution: execution::Flags,
    /// Run the `init` of each component that has one, now, and let every sandbox start from what it leaves
    #[arg(long)]
    snapshot: bool,
    /// The folder to write to [default: orlop/NAME in cargo's target directory; for a component, the folder it lies in]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say nothing but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let Arguments {
        path,
        processor,
        bounds,
        execution,
        snapshot,
        output,
        quiet,
    } = arguments;
    let started = Instant::now();
    let cpu = processor.cpu()?;
    let progress = match quiet {
        true => Progress::quiet(),
        false => Progress::on_stderr(),
    };
    let project = Project::find(path)?.within(bounds.get()?);
    if project.is_built() {
        return Err(Mistake::new(
            format!("there is nothing to build in `{}`, only artifacts", path.display()),
            "name the .wasm file that an artifact was made of, or the folder of a crate",
        ));
    }
    let task_root = output.clone().unwrap_or_else(|| project.default_task_root());
    let snapshots = match snapshot {
        true => Snapshots::WhereThereIsInit,
        false => Snapshots::AsConfigured,
    };
    let built = project.build_into(&task_root, cpu, execution.executions(), snapshots, &progress)?;
    if *snapshot && built.components().iter().all(|component| component.snapshot.is_none()) {
        return Err(Mistake::new(
            "there is no `init` to run: none of the components exports orlop:function/lifecycle",
            "name a function to run once, `#[handler(init = prepare)]`, or build without `--snapshot`",
        ));
    }
    if !quiet {
        report(&built, cpu, started);
    }
    for function in built.missing() {
        eprintln!("warning: orlop.toml has a function {function}, whose component is not made here");
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each component, and one for all.
fn report(built: &Built, cpu: Cpu, started: Instant) {
    let rows: Vec<[String; 5]> = built.components().iter().map(row).collect();
    let has_snapshots = built.components().iter().any(|component| component.snapshot.is_some());
    let last = if has_snapshots { "init ran in" } else { "" };
    let titles = ["", ".wasm", ".cwasm", "compiled in", last].map(str::to_owned);
    let width = |column: usize| {
        rows.iter()
            .chain([&titles])
            .map(|row| row[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 4] = std::array::from_fn(width);
    for [name, component, artifact, time, init] in [&titles].into_iter().chain(&rows) {
        let line = format!(
            "{name:<0$}  {component:>1$}  {artifact:>2$}  {time:<3$}  {init}",
            widths[0], widths[1], widths[2], widths[3]
        );
        eprintln!("{}", line.trim_end());
    }
    eprintln!(
        "built {} for {cpu} in {:.2} s",
        near(built.task_root()).display(),
        started.elapsed().as_secs_f64()
    );
}

fn row(component: &Component) -> [String; 5] {
    let size = |bytes: u64| ByteSize(bytes).display().iec().to_string();
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    [
        component.name.clone(),
        component.component_bytes.map_or_else(|| "-".to_owned(), size),
        size(component.artifact_bytes),
        match (component.compiled_in, component.component_bytes) {
            (Some(time), _) => seconds(time),
            (None, Some(_)) => "unchanged".to_owned(),
            (None, None) => "-".to_owned(),
        },
        component.snapshot.as_ref().map_or_else(String::new, |snapshot| {
            let time = snapshot.taken_in.map_or_else(|| "unchanged".to_owned(), seconds);
            format!("{time}, {} of memory", size(snapshot.memory_bytes))
        }),
    ]
}

/// A path as a user would write it: from the working directory, if it is below.
fn near(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok())
        .filter(|rest| !rest.as_os_str().is_empty())
        .unwrap_or(path)
}
