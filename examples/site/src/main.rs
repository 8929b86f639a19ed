//! Publishes a Markdown site: fetches a repository's archive, renders its pages and puts them into an S3 bucket.
//!
//! It works on an API Gateway request (HTTP API) or an SQS message. The body of either may name the archive, as in
//! `{"archive": "https://example.com/site.tar.gz"}`; else the variable `ARCHIVE_URL` does. `BUCKET` and `AWS_REGION`
//! say where the site goes, `S3_ENDPOINT` where S3 is, if not at AWS.
//!
//! There are no credentials in here. `orlop.toml` grants the archive's hosts and the bucket, the host signs what goes
//! to the bucket, and a request to anywhere else is refused.

mod archive;
mod bucket;
mod fetch;
mod pages;

use crate::{bucket::Bucket, pages::Site};
use anyhow::Context;
use orlop_sdk::{
    Error,
    events::{apigw::ApiGatewayV2httpRequest, encodings::Base64Data, sqs::SqsEvent},
    handler,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{env, fs, path::Path};
use wstd::{http::Uri, runtime::block_on};

/// Emptied for each site, because one event may bring several.
const WORKSHOP: &str = "/tmp/site";

/// A request always has a response. Of a message only its failure counts: an error brings it back to the queue.
#[handler]
fn handle(event: Value) -> Result<Response, Error> {
    if event.get("Records").is_some() {
        let batch: SqsEvent = serde_json::from_value(event)?;
        for message in batch.records {
            publish(message.body.unwrap_or_default().as_bytes())?;
        }
        return Ok(Response::ok());
    }
    if event.get("requestContext").is_none() {
        return Err(Error::new(
            "UnknownEvent",
            "the event is neither from API Gateway nor from SQS",
        ));
    }
    let request: ApiGatewayV2httpRequest = serde_json::from_value(event)?;
    let outcome = read_body(request).and_then(|body| publish(&body));
    Ok(outcome.map_or_else(|failure| Response::refusal(&failure), |()| Response::ok()))
}

fn read_body(request: ApiGatewayV2httpRequest) -> Result<Vec<u8>, Failure> {
    let body = request.body.unwrap_or_default();
    if !request.is_base64_encoded {
        return Ok(body.into_bytes());
    }
    let decoded: Result<Base64Data, _> = serde_json::from_value(body.into());
    decoded
        .map(|data| data.0)
        .map_err(|error| Failure::Request(error.to_string()))
}

/// What a body may say.
#[derive(Default, Deserialize)]
struct Job {
    archive: Option<String>,
}

fn publish(body: &[u8]) -> Result<(), Failure> {
    let job: Job = match body.trim_ascii() {
        b"" => Job::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Failure::Request(format!("the body is not {{\"archive\": URL}}: {error}")))?,
    };
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let url = job.archive.or_else(|| variable("ARCHIVE_URL"));
    let url = url.ok_or_else(|| Failure::Request("name an `archive` in the body, or set ARCHIVE_URL".to_owned()))?;
    let url = url.parse::<Uri>().ok().filter(|url| url.scheme().is_some());
    let url = url.ok_or_else(|| Failure::Request("the `archive` is no URL".to_owned()))?;
    let bucket = Bucket::new(variable).map_err(|error| Failure::Upload(format!("{error:#}")))?;

    let workshop = Path::new(WORKSHOP);
    let files = block_on(async {
        let site = fetch_site(&url, workshop).await;
        let site = site.map_err(|error| Failure::Archive(format!("{error:#}")))?;
        let uploaded = bucket.upload(&site).await;
        uploaded.map_err(|error| Failure::Upload(format!("{error:#}")))
    })?;
    eprintln!("published {files} files of {url}");
    Ok(())
}

async fn fetch_site(url: &Uri, workshop: &Path) -> anyhow::Result<Site> {
    if workshop.exists() {
        fs::remove_dir_all(workshop)?;
    }
    fs::create_dir_all(workshop)?;
    let packed = workshop.join("archive.tar.gz");
    fetch::fetch(url, &packed).await?;
    let folder = archive::unpack(&packed, &workshop.join("unpacked"));
    folder.and_then(Site::read).with_context(|| format!("cannot use {url}"))
}

/// What went wrong, by who can mend it.
enum Failure {
    /// Whoever sent the event.
    Request(String),
    /// Whoever has the archive.
    Archive(String),
    /// Whoever has the bucket.
    Upload(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(message) => Self::new("InvalidRequest", message),
            Failure::Archive(message) => Self::new("InvalidArchive", message),
            Failure::Upload(message) => Self::new("UploadFailed", message),
        }
    }
}

/// The answer in API Gateway's payload format 2.0.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Response {
    fn ok() -> Self {
        Self {
            status_code: 200,
            headers: None,
            body: None,
        }
    }

    fn refusal(failure: &Failure) -> Self {
        let (status_code, message) = match failure {
            Failure::Request(message) => (400, message),
            Failure::Archive(message) | Failure::Upload(message) => (502, message),
        };
        eprintln!("{message}");
        Self {
            status_code,
            headers: Some(json!({ "content-type": "application/json" })),
            body: Some(json!({ "message": message }).to_string()),
        }
    }
}
