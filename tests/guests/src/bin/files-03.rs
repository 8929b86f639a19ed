//! As `files`, on `wasi:filesystem` 0.3: a server that finds operations in `/tmp` in a request's body.

use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode as FileError, OpenFlags, PathFlags};
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};
use wasip3::wit_stream;

wasip3::http::service::export!(Files);

struct Files;

#[derive(Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
enum Operation {
    Write { path: String, length: usize },
    Append { path: String, length: usize },
    SetSize { path: String, length: u64 },
    Remove { path: String },
    MakeDirectory { path: String },
    Symlink { target: String, path: String },
    HardLink { target: String, path: String },
    Size { path: String },
}

impl wasip3::exports::http::handler::Guest for Files {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let body = http_from_wasi_request(request)?.into_body().collect().await?.to_bytes();
        let operations: Vec<Operation> = serde_json::from_slice(&body).expect("the body is a list of operations");
        let (directory, _) = preopens::get_directories().into_iter().next().expect("there is a /tmp");
        let mut results = Vec::new();
        for operation in operations {
            let result = carry_out(&directory, operation).await;
            results.push(result.unwrap_or_else(|error| json!({ "error": format!("{error:?}") })));
        }
        http_into_wasi_response(http::Response::new(json!(results).to_string()))
    }
}

async fn carry_out(directory: &Descriptor, operation: Operation) -> Result<Value, FileError> {
    match operation {
        Operation::Write { path, length } => {
            let file = open(directory, path, OpenFlags::CREATE | OpenFlags::TRUNCATE).await?;
            let (mut data, reader) = wit_stream::new();
            let end = file.write_via_stream(reader, 0);
            data.write_all(vec![b'x'; length]).await;
            drop(data);
            end.await?;
        }
        Operation::Append { path, length } => {
            let file = open(directory, path, OpenFlags::CREATE).await?;
            let (mut data, reader) = wit_stream::new();
            let end = file.append_via_stream(reader);
            data.write_all(vec![b'x'; length]).await;
            drop(data);
            end.await?;
        }
        Operation::SetSize { path, length } => {
            let file = open(directory, path, OpenFlags::empty()).await?;
            file.set_size(length).await?;
        }
        Operation::Remove { path } => directory.unlink_file_at(path).await?,
        Operation::MakeDirectory { path } => directory.create_directory_at(path).await?,
        Operation::Symlink { target, path } => directory.symlink_at(target, path).await?,
        Operation::HardLink { target, path } => {
            directory.link_at(PathFlags::empty(), target, directory, path).await?;
        }
        Operation::Size { path } => {
            let found = directory.stat_at(PathFlags::empty(), path).await?;
            return Ok(found.size.into());
        }
    }
    Ok(Value::Null)
}

async fn open(directory: &Descriptor, path: String, flags: OpenFlags) -> Result<Descriptor, FileError> {
    directory
        .open_at(PathFlags::empty(), path, flags, DescriptorFlags::WRITE)
        .await
}

fn main() {}
