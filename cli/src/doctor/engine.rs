//! The engine: its version, what is known against it, and whether it starts here.

use orlop_host::engine::{self, Engines, Execution, Features};
use orlop_host::sandbox::Limits;

use super::Finding;
use super::advisories::{ABOUT, ADVISORIES, AS_OF, Advisory, MENDED_IN, Reach};

pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![starts()];
    findings.extend(ADVISORIES.iter().map(advisory));
    findings.push(Finding::good(
        "advisories",
        format!(
            "{} known of wasmtime {ABOUT} on {AS_OF}, all mended in {MENDED_IN}; look for newer ones",
            ADVISORIES.len()
        ),
    ));
    findings
}

fn starts() -> Finding {
    let engines = Engines::new(Limits::default(), 1, Execution::Sequential);
    match engines.with(Features::default(), Execution::Sequential) {
        Ok(_) => Finding::good("engine", engine::version()),
        Err(error) => Finding::problem(
            "engine",
            format!("{} does not start: {error:#}", engine::version()),
            "give it more address space (`ulimit -v unlimited`)",
        ),
    }
}

fn advisory(advisory: &Advisory) -> Finding {
    let Advisory { id, fault, reach } = advisory;
    match reach {
        Reach::No(reason) => Finding::good(*id, format!("{fault}: out of reach, {reason}")),
        Reach::With(feature) => Finding::warning(
            *id,
            format!("{fault}: components that need {feature} can reach it"),
            "do not run components of strangers that need it; `orlop inspect` says of each what it needs",
        ),
    }
}
