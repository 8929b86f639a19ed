//! Projects of a developer, and the tool on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use orlop_tests::orlop;
use tempfile::TempDir;

/// What cargo sets for a running test, or a user for this build, and what would reach the builds below.
const OF_THE_TEST: [&str; 10] = [
    "AWS_LAMBDA_RUNTIME_API",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// A folder that a developer works in, removed when dropped. What is built there shares the dependencies with other tests.
pub(crate) struct Desk {
    folder: TempDir,
    target: PathBuf,
}

/// How a command ended, and what it said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            target: Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects"),
        }
    }

    /// One whose builds share nothing, for tests of what is in cargo's target directory.
    pub(crate) fn apart() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        Self { folder, target }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A crate without dependencies, which builds in no time; a program is its name and the expression that it prints.
    pub(crate) fn crate_with(&self, name: &str, programs: &[(&str, &str)]) {
        let manifest = format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n");
        self.write(&format!("{name}/Cargo.toml"), manifest);
        for (program, expression) in programs {
            let source = format!("fn main() {{ println!(\"{{}}\", {expression}); }}\n");
            self.write(&format!("{name}/src/bin/{program}.rs"), source);
        }
    }

    /// A command in a folder of this desk.
    pub(crate) fn command(&self, program: impl AsRef<Path>, folder: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.path(folder))
            .args(arguments)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null());
        for name in OF_THE_TEST {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn cargo(&self, folder: &str, arguments: &[&str]) -> Said {
        said(self.command("cargo", folder, arguments).output().unwrap())
    }

    pub(crate) fn orlop(&self, arguments: &[&str]) -> Said {
        self.orlop_in("", arguments)
    }

    pub(crate) fn orlop_in(&self, folder: &str, arguments: &[&str]) -> Said {
        said(self.command(orlop(), folder, arguments).output().unwrap())
    }

    /// The names of the files in a folder, sorted.
    pub(crate) fn files_in(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Said {
    /// That it is a success.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// That it is a mistake of the user's, and the two lines that say so.
    #[track_caller]
    pub(crate) fn mistake(&self) -> (String, String) {
        assert_eq!(self.code, Some(2), "{}\n{}", self.stdout, self.stderr);
        let mut lines = self.stderr.lines().rev();
        let help = lines.next().and_then(|line| line.strip_prefix("help: "));
        let error = lines.next().and_then(|line| line.strip_prefix("error: "));
        let (Some(error), Some(help)) = (error, help) else {
            panic!("two lines at the end of {}", self.stderr);
        };
        (error.to_owned(), help.to_owned())
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
