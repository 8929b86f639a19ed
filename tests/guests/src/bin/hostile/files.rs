//! What a guest may try with files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

use serde_json::{Value, json};

use super::outcome;

/// The most files that are tried: far more than any limit.
const MANY: usize = 1_000_000;

/// The paths outside of `/tmp` that could be read, written or listed.
pub(super) fn reach(canary: &str) -> Vec<String> {
    let paths = [
        "/etc/passwd",
        "//etc/passwd",
        "/tmp//../etc/passwd",
        "/tmp/../etc/passwd",
        "/tmp/../../etc/passwd",
        "/tmp/./../.././../etc/passwd",
        "../etc/passwd",
        "./../../etc/passwd",
        "../../../../../../../../etc/passwd",
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/1/environ",
        "/dev/zero",
        "/dev/stdin",
        "/var/task",
        "/var/task/orlop.toml",
        "/",
        "..",
        "/tmp/..",
        "/tmp/../",
        "/tmp/../..",
        canary,
    ];
    let mut reached = Vec::new();
    for path in paths {
        if fs::read(path).is_ok() {
            reached.push(format!("read {path}"));
        }
        if fs::read_dir(path).is_ok() {
            reached.push(format!("list {path}"));
        }
        if OpenOptions::new().write(true).open(path).is_ok() {
            reached.push(format!("write {path}"));
        }
    }
    let _ = fs::write("/tmp/mine", "mine");
    for (what, result) in [
        ("rename to", fs::rename("/tmp/mine", canary)),
        ("rename from", fs::rename(canary, "/tmp/theirs")),
        ("link to", fs::hard_link(canary, "/tmp/theirs")),
        ("link from", fs::hard_link("/tmp/mine", canary)),
        ("remove", fs::remove_file(canary)),
        ("make", fs::create_dir("/tmp/../orlop-made")),
    ] {
        if result.is_ok() {
            reached.push(what.to_owned());
        }
    }
    reached
}

/// Makes links that point out, and follows them in every way; the ways that led outside.
pub(super) fn link(canary: &str) -> Vec<String> {
    let upwards = "../".repeat(12);
    let targets = [
        canary.to_owned(),
        format!("{upwards}{canary}"),
        "..".to_owned(),
        "../..".to_owned(),
        "/".to_owned(),
        "/etc".to_owned(),
        "/proc/self".to_owned(),
        "../../etc/".to_owned(),
    ];
    let mut outside = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let name = format!("/tmp/link-{index}");
        if symlink(target, &name).is_err() {
            continue;
        }
        let _ = fs::hard_link(&name, format!("/tmp/hard-{index}"));
        let _ = fs::rename(&name, format!("/tmp/moved-{index}"));
        for name in ["link", "hard", "moved"].map(|kind| format!("/tmp/{kind}-{index}")) {
            for path in [
                name.clone(),
                format!("{name}/"),
                format!("{name}/passwd"),
                format!("{name}/../etc/passwd"),
            ] {
                let is_reached = [
                    fs::read(&path).is_ok(),
                    fs::read_dir(&path).is_ok(),
                    OpenOptions::new().write(true).open(&path).is_ok(),
                ];
                if is_reached.contains(&true) {
                    outside.push(format!("{path} -> {target}"));
                }
            }
        }
    }
    outside
}

/// Opens files and keeps them open until one is refused.
pub(super) fn open_all() -> Value {
    let mut files = Vec::new();
    until_refused(|index| {
        files.push(File::create(format!("/tmp/{index}"))?);
        Ok(())
    })
}

/// Writes one file after the other, of a MiB each, until there is no room; how many MiB there was room for.
pub(super) fn fill() -> Value {
    let content = vec![b'x'; 1 << 20];
    until_refused(|index| File::create(format!("/tmp/{index}"))?.write_all(&content))
}

/// Claims a tebibyte, of holes; and writes behind it.
pub(super) fn fill_sparse() -> Value {
    until_refused(|index| {
        let file = File::create(format!("/tmp/{index}"))?;
        file.set_len(1 << 40)
    })
}

/// Makes empty files until one is refused.
pub(super) fn crowd() -> Value {
    until_refused(|index| File::create(format!("/tmp/{index}")).map(drop))
}

/// Makes a directory in a directory in a directory, moving each under the next so that no path grows long, until it is refused.
pub(super) fn nest() -> Value {
    let _ = fs::create_dir("/tmp/nest-0");
    until_refused(|index| {
        let (inner, outer) = (format!("/tmp/nest-{index}"), format!("/tmp/nest-{}", index + 1));
        fs::create_dir(&outer)?;
        fs::rename(inner, format!("{outer}/in"))
    })
}

/// The kind of error for a path of that length.
pub(super) fn long_path(bytes: usize) -> Value {
    let path = format!("/tmp/{}", "x".repeat(bytes));
    json!(File::create(path).err().map(|error| format!("{:?}", error.kind())))
}

fn until_refused(mut attempt: impl FnMut(usize) -> io::Result<()>) -> Value {
    for index in 0..MANY {
        if let Err(error) = attempt(index) {
            return outcome(index, Some(&error));
        }
    }
    outcome(MANY, None)
}

#[expect(deprecated, reason = "its successor for WASI is not stable")]
fn symlink(target: &str, path: &str) -> io::Result<()> {
    fs::soft_link(target, path)
}
