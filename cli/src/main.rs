//! `orlop`: the developer's tool; and, where Lambda's Runtime API is, the runtime itself with a compiler inside.

mod build;
mod compile;
mod component;
mod dev;
mod inspect;
mod invoke;
mod mistake;
mod new;
mod output;
mod processor;
mod project;
mod schema;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use orlop_host::config::{self, Process};

/// Runs WebAssembly components as AWS Lambda functions.
///
/// A component is business logic compiled to wasm32-wasip2. `new` makes a project, `build` builds what goes into an image,
/// `invoke` runs a component here as Lambda would, `compile` makes the artifact of one, `inspect` says what a component needs
/// and gets.
///
/// With AWS_LAMBDA_RUNTIME_API set, and no command, this program is the runtime: `orlop [HANDLER]`.
#[derive(Parser)]
#[command(name = "orlop", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the function answered an event with an error
  2  a mistake in the arguments or files, explained on stderr";

#[derive(Subcommand)]
enum Command {
    New(new::Arguments),
    Build(build::Arguments),
    Dev(Box<dev::Arguments>),
    Invoke(invoke::Arguments),
    Compile(compile::Arguments),
    Inspect(inspect::Arguments),
    Schema(schema::Arguments),
}

fn main() -> ExitCode {
    let process = Process::current();
    if is_runtime(&process) {
        return orlop_host::lambda::run(&process).into();
    }
    let result = match Arguments::parse().command {
        Command::New(arguments) => new::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Invoke(arguments) => invoke::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Schema(schema::Arguments {}) => schema::run(),
    };
    match result {
        Ok(code) => code,
        Err(mistake) => mistake.tell(),
    }
}

/// On Lambda, the first argument names a handler. A handler that is called like a command, or begins with a dash, goes
/// behind `--`.
fn is_runtime(process: &Process) -> bool {
    if process.environment.get(config::RUNTIME_API).is_none() {
        return false;
    }
    match process.arguments.get(1).map(String::as_str) {
        None | Some("--") => true,
        Some(first) => {
            !first.starts_with('-') && first != "help" && Arguments::command().find_subcommand(first).is_none()
        }
    }
}
