//! `orlop`: the developer's tool; and, where Lambda's Runtime API is, the runtime itself with a compiler inside.

mod bounds;
mod build;
mod compile;
mod component;
mod dev;
mod doctor;
mod execution;
mod inspect;
mod invoke;
mod mistake;
mod new;
mod output;
mod processor;
mod project;
mod schema;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use orlop_host::artifact::jail;
use orlop_host::config::{self, Process};

use mistake::Mistake;

/// Runs WebAssembly components as AWS Lambda functions.
///
/// A component is business logic compiled to wasm32-wasip2. `new` makes a project, `build` builds what goes into an image,
/// `invoke` runs a component here as Lambda would, `compile` makes the artifact of one, `inspect` says what a component needs
/// and gets, `doctor` what is wrong with tools and artifacts.
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
  1  the function answered an event with an error, or `doctor` found a problem
  2  a mistake in the arguments or files, explained on stderr";

#[derive(Subcommand)]
enum Command {
    New(new::Arguments),
    Build(build::Arguments),
    Dev(Box<dev::Arguments>),
    Invoke(invoke::Arguments),
    Compile(compile::Arguments),
    Inspect(inspect::Arguments),
    Doctor(doctor::Arguments),
    Schema(schema::Arguments),
}

fn main() -> ExitCode {
    let process = Process::current();
    if let [_, verb, rest @ ..] = process.arguments.as_slice()
        && verb == jail::VERB
    {
        return jail::serve(rest);
    }
    if is_runtime(&process) {
        return orlop_host::lambda::run(&process).into();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return not_understood(&said),
    };
    let result = match arguments.command {
        Command::New(arguments) => new::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Invoke(arguments) => invoke::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Schema(schema::Arguments {}) => schema::run(),
    };
    match result {
        Ok(code) => code,
        Err(mistake) => mistake.tell(),
    }
}

/// Help or the version, which were asked for; or what is wrong with the arguments, in our two lines.
fn not_understood(said: &clap::Error) -> ExitCode {
    if !said.use_stderr() || said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // There is nobody to tell if this fails.
        let _ = said.print();
        return ExitCode::from(if said.use_stderr() { 2 } else { 0 });
    }
    let text = said.render().to_string();
    let paragraph = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let error = paragraph.collect::<Vec<_>>().join(" ");
    let error = error.strip_prefix("error: ").unwrap_or(&error);
    let advice = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    let help = advice("tip: ").map(str::to_owned);
    let help = help.or_else(|| Some(format!("the usage is: {}", advice("Usage: ")?)));
    Mistake::new(
        error,
        help.as_deref().unwrap_or("`--help` behind the command has the flags"),
    )
    .tell()
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
