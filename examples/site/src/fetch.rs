//! From a URL into a file.

use anyhow::{Context, Result, bail, ensure};
use std::{fs::File, io::Write, path::Path};
use wstd::http::body::{Bytes, util::Full};
use wstd::http::{Body, BodyExt, Client, HeaderMap, Request, Uri};

/// In bytes.
const LARGEST_ARCHIVE: usize = 64 << 20;
/// Hosts of repositories answer with another host's address.
const MOST_REDIRECTS: usize = 5;

/// Writes what is at `url` to `file`.
///
/// # Errors
///
/// Its host is not granted or cannot be reached, or has no file of an acceptable size there.
pub(crate) async fn fetch(url: &Uri, file: &Path) -> Result<()> {
    let mut url = url.clone();
    for _ in 0..=MOST_REDIRECTS {
        let request = Request::get(&url)
            .header("user-agent", "orlop-site")
            .body(whole_body(Vec::new()))?;
        let response = Client::new()
            .send(request)
            .await
            .with_context(|| format!("cannot fetch {url}"))?;
        if !response.status().is_redirection() {
            ensure!(response.status() == 200, "{url} answered {}", response.status());
            return save(response.into_body(), file)
                .await
                .with_context(|| format!("cannot fetch {url}"));
        }
        url = redirected(&url, response.headers()).with_context(|| format!("{url} answered {}", response.status()))?;
    }
    bail!("{url} comes after more than {MOST_REDIRECTS} redirects")
}

/// The body of a request. `Body::from` would write an empty one, too, which fails if the answer is there before.
pub(crate) fn whole_body(content: Vec<u8>) -> Body {
    Body::from_http_body(Full::<Bytes>::from(content))
}

fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri> {
    let location = headers.get("location").context("there is no location")?.to_str()?;
    let mut parts = location.parse::<Uri>().context("its location is no URL")?.into_parts();
    if parts.authority.is_none() {
        ensure!(location.starts_with('/'), "its location is relative to a path");
        parts.authority = from.authority().cloned();
    }
    parts.scheme = parts.scheme.or_else(|| from.scheme().cloned());
    Ok(Uri::from_parts(parts)?)
}

/// Frame by frame, so that an archive need not fit into memory.
async fn save(body: Body, file: &Path) -> Result<()> {
    let mut body = body.into_boxed_body();
    let mut file = File::create(file)?;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("it breaks off")?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        ensure!(size <= LARGEST_ARCHIVE, "it has more than {LARGEST_ARCHIVE} bytes");
        file.write_all(&data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(location: &'static str) -> Result<String> {
        let headers = HeaderMap::from_iter([("location".parse()?, location.parse()?)]);
        redirected(&"https://example.com/a/b?c".parse()?, &headers).map(|url| url.to_string())
    }

    #[test]
    fn a_redirect_may_leave_the_host_or_stay() {
        assert_eq!(location("http://other.example/d").unwrap(), "http://other.example/d");
        assert_eq!(location("/d?e").unwrap(), "https://example.com/d?e");
        assert!(location("d").is_err());
        assert!(location("").is_err());
        assert!(redirected(&"https://example.com/".parse().unwrap(), &HeaderMap::new()).is_err());
    }
}
