//! `orlop new`: a project to begin with.

mod name;
mod sdk;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use include_dir::{Dir, include_dir};
use tempfile::TempDir;

use crate::mistake::Mistake;

static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");
/// The files that every project has.
const COMMON: &str = "common";
/// The least version of Rust that projects are for: the tool's own.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Make a project: a crate with a function, example events, a test, and what deploys it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  orlop new greeter
  orlop new shop --template http")]
pub(crate) struct Arguments {
    /// The folder to make; its name becomes the package's and the function's
    #[arg(value_name = "NAME")]
    path: PathBuf,
    /// What the function is like
    #[arg(short, long, value_enum, default_value_t = Template::Handler)]
    template: Template,
}

/// What there is to begin with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// An event in, an answer out, with the SDK
    Handler,
    /// A web server for `wasi:http`
    Http,
    /// A program from stdin to stdout
    Command,
    /// The messages of a queue, one by one, with the SDK
    Sqs,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Http => "http",
            Self::Command => "command",
            Self::Sqs => "sqs",
        }
    }

    /// An event that shows it at work.
    fn first_event(self) -> &'static str {
        match self {
            Self::Handler => "events/ada.json",
            Self::Http => "events/home.json",
            Self::Command => "events/shanty.json",
            Self::Sqs => "events/orders.json",
        }
    }

    fn has_sdk(self) -> bool {
        match self {
            Self::Handler | Self::Sqs => true,
            Self::Http | Self::Command => false,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Mistake> {
    let Arguments { path, template } = arguments;
    let folder = std::path::absolute(path).map_err(|error| cannot_make(path, &error))?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name::check(name)?;
    refuse_what_is_there(path)?;
    make(&folder, name, *template).map_err(|error| cannot_make(path, &error))?;
    eprintln!(
        "made {} from the template {}\n\n  cd {0}\n  cargo test\n  orlop invoke . -e {}\n  orlop dev\n  orlop build",
        path.display(),
        template.name(),
        template.first_event()
    );
    Ok(ExitCode::SUCCESS)
}

fn refuse_what_is_there(path: &Path) -> Result<(), Mistake> {
    let is_free = match path.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Mistake::new(
        format!("`{}` is there already", path.display()),
        "give the project another name, or remove what is there",
    ))
}

/// Writes the project beside its place and moves it there, so that it is there whole or not at all.
fn make(folder: &Path, name: &str, template: Template) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    let scratch = TempDir::with_prefix_in(".orlop-new-", parent)?;
    let project = scratch.path().join(name);
    let fill_in = |text: &str| text.replace("{{name}}", name).replace("{{rust}}", RUST);
    for source in [COMMON, template.name()] {
        let source = TEMPLATES.get_dir(source).expect("every template is a folder");
        write(source, &project, &fill_in)?;
    }
    if template.has_sdk() {
        sdk::write(&project)?;
    }
    fs::rename(project, folder)
}

/// Writes a folder of the tool's own.
fn write(source: &Dir<'_>, destination: &Path, fill_in: &impl Fn(&str) -> String) -> io::Result<()> {
    fs::create_dir_all(destination)?;
    for file in source.files() {
        let path = destination.join(file.path().file_name().expect("files have names"));
        match file.contents_utf8() {
            Some(text) => fs::write(path, fill_in(text))?,
            None => fs::write(path, file.contents())?,
        }
    }
    for folder in source.dirs() {
        let name = folder.path().file_name().expect("folders have names");
        write(folder, &destination.join(name), fill_in)?;
    }
    Ok(())
}

fn cannot_make(path: &Path, error: &io::Error) -> Mistake {
    Mistake::new(
        format!("cannot make the project in `{}`: {error}", path.display()),
        "choose a folder that can be written",
    )
}
