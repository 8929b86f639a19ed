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

/// Help or the version, which were asked for; or what is wrong with the arguments.
fn not_understood(said: &clap::Error) -> ExitCode {
    if !said.use_stderr() || said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // There is nobody to tell if this fails.
        let _ = said.print();
        return ExitCode::from(if said.use_stderr() { 2 } else { 0 });
    }
    mistake_in_arguments(said).tell()
}

/// What is wrong with the arguments, in our two lines.
fn mistake_in_arguments(said: &clap::Error) -> Mistake {
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;

    use super::*;

    fn commands() -> Vec<String> {
        let arguments = Arguments::command();
        arguments
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect()
    }

    /// The flags of all commands, long and short.
    fn flags() -> Vec<String> {
        let arguments = Arguments::command();
        let all = arguments.get_subcommands().flat_map(|command| command.get_arguments());
        let spelt = all.flat_map(|flag| {
            let long = flag.get_long().map(|name| format!("--{name}"));
            let short = flag.get_short().map(|letter| format!("-{letter}"));
            [long, short]
        });
        spelt.flatten().collect()
    }

    fn argument() -> impl Strategy<Value = String> {
        let flag = || select(flags());
        let value = || {
            prop_oneof![
                "(?s).{0,12}",
                "-?[0-9]{1,20}(s|ms|MiB|)",
                "[A-Z]{1,3}=.?",
                "(https?://)?[a-z0-9.:/@-]{0,20}"
            ]
        };
        prop_oneof![
            select(commands()),
            flag(),
            value(),
            (flag(), value()).prop_map(|(flag, value)| format!("{flag}={value}")),
            (flag(), value()).prop_map(|(flag, value)| format!("{flag}{value}")),
        ]
    }

    proptest! {
        #[test]
        fn arguments_of_any_kind_are_understood_or_refused_in_two_lines(
            command in select(commands()),
            arguments in vec(argument(), 0..6),
        ) {
            let arguments = ["orlop".to_owned(), command].into_iter().chain(arguments);
            if let Err(said) = Arguments::try_parse_from(arguments) && said.use_stderr() {
                let told = mistake_in_arguments(&said).to_string();
                let lines = told.lines().collect::<Vec<_>>();
                let says = |line: &str, head: &str| line.strip_prefix(head).is_some_and(|rest| !rest.is_empty());
                prop_assert!(matches!(lines[..], [error, help] if says(error, "error: ") && says(help, "help: ")), "{:?}", told);
                prop_assert!(!told.contains(|character: char| character.is_control() && !"\n\t".contains(character)), "{:?}", told);
            }
        }
    }
}
