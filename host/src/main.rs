//! `bootstrap`: the entrypoint of an image, or of a ZIP file, on AWS Lambda.

use std::process::ExitCode;

fn main() -> ExitCode {
    orlop_host::lambda::run(&orlop_host::config::Process::current()).into()
}
