//! Carries out a list of file operations, and answers with the result or the kind of error of each.

use std::fs;
use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
enum Operation {
    Write { path: String, data: String },
    Append { path: String, data: String },
    Read { path: String },
    List { path: String },
    Remove { path: String },
    MakeDirectory { path: String },
    Rename { path: String, to: String },
    Symlink { target: String, path: String },
    HardLink { target: String, path: String },
    ReadLink { path: String },
    Size { path: String },
}

#[orlop_sdk::handler]
fn files(operations: Vec<Operation>) -> Vec<Value> {
    let results = operations.into_iter().map(carry_out);
    results
        .map(|result| result.unwrap_or_else(|error| json!({ "error": format!("{:?}", error.kind()) })))
        .collect()
}

fn carry_out(operation: Operation) -> io::Result<Value> {
    match operation {
        Operation::Write { path, data } => fs::write(path, data).map(Value::from),
        Operation::Append { path, data } => {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path)?;
            io::Write::write_all(&mut file, data.as_bytes()).map(Value::from)
        }
        Operation::Read { path } => fs::read(path).map(|data| String::from_utf8_lossy(&data).into()),
        Operation::List { path } => {
            let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names.into())
        }
        Operation::Remove { path } => fs::remove_file(path).map(Value::from),
        Operation::MakeDirectory { path } => fs::create_dir(path).map(Value::from),
        Operation::Rename { path, to } => fs::rename(path, to).map(Value::from),
        Operation::Symlink { target, path } => symlink(&target, &path).map(Value::from),
        Operation::HardLink { target, path } => fs::hard_link(target, path).map(Value::from),
        Operation::ReadLink { path } => fs::read_link(path).map(|target| target.to_string_lossy().into()),
        Operation::Size { path } => fs::metadata(path).map(|metadata| metadata.len().into()),
    }
}

#[expect(deprecated, reason = "its successor for WASI is not stable")]
fn symlink(target: &str, path: &str) -> io::Result<()> {
    fs::soft_link(target, path)
}
