//! `orlop schema`: what editors check an `orlop.toml` against.

use std::process::ExitCode;

use crate::mistake::Mistake;
use crate::output;

/// Print the JSON schema of orlop.toml, for editors.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run() -> Result<ExitCode, Mistake> {
    let schema = orlop_host::manifest::schema();
    output::write(&mut std::io::stdout(), &[format!("{schema:#}\n").as_bytes()])?;
    Ok(ExitCode::SUCCESS)
}
