//! Measures Orlop beside a native runtime: the same events, over the same kind of connection, in the same minute.
//!
//! [`programs`] builds what takes part, [`runtime_api`] plays Lambda, [`measure`] takes turns between the contestants, and
//! [`report`] prints how they compare; [`plot`] draws it, and [`targets`] says what is too slow. [`concurrency`] has
//! several events at a time in one process. [`platform`] measures the other side, what plays Lambda on a laptop. Absolute times
//! depend on the machine and its mood; ratios of one run are what counts.

mod arguments;
mod chunked;
mod concurrency;
mod contestant;
mod fleet;
mod lineup;
mod measure;
mod peers;
mod platform;
mod plot;
mod programs;
mod read_only;
mod report;
mod runtime_api;
mod statistics;
mod targets;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;

use arguments::{Arguments, Plan};
use lineup::{Lineup, is_wanted};
use measure::Measurement;
use programs::Programs;
use report::Report;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.has_own_mounts {
        read_only::enter_own_mounts();
    }
    let plan = Plan::new(arguments);
    let programs = Programs::build(arguments)?;
    let is_mapped = arguments.has_own_mounts && programs.task_roots().all(read_only::make_read_only);
    if !is_mapped {
        eprintln!(
            "the artifacts are not on a read-only mount as on Lambda: Orlop will verify and copy them at each start"
        );
    }
    let conditions = report::conditions(arguments, &plan, is_mapped);
    if let Some(core) = arguments.pin {
        measure::pin(core)?;
    }
    let mut measurements = Vec::new();
    for lineup in Lineup::all(&programs, &arguments.only)? {
        measurements.push(Measurement::take(&lineup, &plan, &programs.work)?);
    }
    if is_wanted(platform::NAME, &arguments.only) {
        measurements.extend(platform::measure(&programs, &plan)?);
    }
    measurements.extend(concurrency::measure(&programs, &plan, &arguments.only)?);
    let only = arguments.only.join(" or ");
    ensure!(!measurements.is_empty(), "there is nothing called {only}");
    let report = Report::new(conditions, &measurements);
    print!("{}", report.markdown());
    if let Some(path) = &arguments.json {
        fs::write(path, report.json()).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(path) = &arguments.svg {
        fs::write(path, plot::svg(&measurements)).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(margin) = arguments.gate {
        let missed = targets::missed(&measurements, margin);
        ensure!(
            missed.is_empty(),
            "targets are missed by more than {margin} %:\n{}",
            missed.join("\n")
        );
    }
    Ok(())
}
