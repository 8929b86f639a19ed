//! A read-only mount for the artifacts, as a function's code is mounted on Lambda. Orlop maps an artifact that nobody can
//! change, and verifies and copies any other, so its start depends on this.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// As root, and as anybody else where the kernel lets users have namespaces.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Replaces this process with one that has mounts of its own, which end with it. Returns if that is not possible here.
pub(crate) fn enter_own_mounts() {
    let Ok(program) = std::env::current_exe() else { return };
    for way in WAYS {
        if is_successful(Command::new("unshare").args(way).arg("true")) {
            let _ = Command::new("unshare")
                .args(way)
                .arg(&program)
                .args(std::env::args_os().skip(1))
                .arg("--has-own-mounts")
                .exec();
        }
    }
}

/// Makes a folder read-only for this process and its children; whether that worked.
pub(crate) fn make_read_only(folder: &Path) -> bool {
    let folder = folder.as_os_str();
    let mount = |arguments: &[&OsStr]| is_successful(Command::new("mount").args(arguments));
    mount(&[OsStr::new("--bind"), folder, folder]) && mount(&[OsStr::new("-o"), OsStr::new("remount,bind,ro"), folder])
}

fn is_successful(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
