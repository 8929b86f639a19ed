//! Puts files into S3, with requests that the host signs.

use crate::{fetch::whole_body, pages::Site};
use anyhow::{Context, Result, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wstd::http::{Client, Request};
use wstd::runtime::spawn;

/// What is encoded in the path of a URL, the way S3 wants it signed.
pub(crate) const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Each has its file in memory and a connection.
const UPLOADS_AT_ONCE: usize = 8;

/// Where the site goes.
pub(crate) struct Bucket {
    /// Without a slash at its end.
    url: String,
}

impl Bucket {
    /// The bucket that the variables name.
    ///
    /// # Errors
    ///
    /// One is missing: `BUCKET`, or both `AWS_REGION` and `S3_ENDPOINT`.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let name = variable("BUCKET").context("BUCKET is not set")?;
        let url = if let Some(endpoint) = variable("S3_ENDPOINT") {
            format!("{}/{name}", endpoint.trim_end_matches('/'))
        } else {
            let region = variable("AWS_REGION").context("neither AWS_REGION nor S3_ENDPOINT is set")?;
            format!("https://{name}.s3.{region}.amazonaws.com")
        };
        Ok(Self { url })
    }

    /// Puts all of the site into the bucket and says how many files that were. What else is in the bucket stays there.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read or put; others may be in the bucket already.
    pub(crate) async fn upload(&self, site: &Site) -> Result<usize> {
        let files: Vec<_> = site.files().collect();
        for some in files.chunks(UPLOADS_AT_ONCE) {
            let mut uploads = Vec::new();
            for (path, key) in some {
                uploads.push(spawn(put(self.url_of(key), content_type(key), site.content(path)?)));
            }
            for upload in uploads {
                upload.await?;
            }
        }
        Ok(files.len())
    }

    fn url_of(&self, key: &str) -> String {
        format!("{}/{}", self.url, utf8_percent_encode(key, IN_PATHS))
    }
}

async fn put(url: String, content_type: &'static str, content: Vec<u8>) -> Result<()> {
    // S3 takes no body of unknown length.
    let request = Request::put(&url)
        .header("content-type", content_type)
        .header("content-length", content.len())
        .body(whole_body(content))?;
    let response = Client::new()
        .send(request)
        .await
        .with_context(|| format!("cannot put {url}"))?;
    let status = response.status();
    let mut body = response.into_body();
    let answer = body.contents().await.with_context(|| format!("cannot put {url}"))?;
    let answer = String::from_utf8_lossy(&answer[..answer.len().min(1_000)]);
    ensure!(status.is_success(), "cannot put {url}: {status}: {answer}");
    Ok(())
}

/// By the extension, as a browser needs it.
fn content_type(key: &str) -> &'static str {
    let extension = key.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)], key: &str) -> Result<String> {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Ok(Bucket::new(find)?.url_of(key))
    }

    #[test]
    fn a_bucket_is_at_aws_unless_an_endpoint_is_named() {
        let mut variables = vec![("BUCKET", "b"), ("AWS_REGION", "eu-central-1")];
        assert_eq!(
            url(&variables, "a/b.html").unwrap(),
            "https://b.s3.eu-central-1.amazonaws.com/a/b.html"
        );
        variables.push(("S3_ENDPOINT", "http://127.0.0.1:5000/"));
        assert_eq!(url(&variables, "a/b.html").unwrap(), "http://127.0.0.1:5000/b/a/b.html");
        assert_eq!(url(&variables[1..], "").unwrap_err().to_string(), "BUCKET is not set");
        assert!(url(&variables[..1], "").is_err());
    }

    #[test]
    fn a_key_is_encoded_but_for_its_slashes() {
        let variables = [("BUCKET", "b"), ("S3_ENDPOINT", "http://s")];
        assert_eq!(
            url(&variables, "ä/a b+c?.md").unwrap(),
            "http://s/b/%C3%A4/a%20b%2Bc%3F.md"
        );
    }

    #[test]
    fn the_extension_decides_on_the_type_in_any_case() {
        assert_eq!(content_type("a.b/c.PNG"), "image/png");
        assert_eq!(content_type("a.b/c"), "application/octet-stream");
    }
}
