//! Credentials that the platform hands out over HTTP and that expire: under SnapStart, Lambda's variables name a place where
//! they are to be had in place of the keys (runtime contract §1.7, §5).
//!
//! They are asked for when the first request is to be signed, and again [`MARGIN`] before they expire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::address::{Host, Target};
use super::connect::Connector;
use super::credentials::Credentials;
use super::error::Error;
use super::exchange::{Timeouts, exchange, in_time};
use crate::manifest::Scheme;

/// Where they are.
pub(super) const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// The value of the `Authorization` header that they are given for.
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
/// How long before they expire they are not used any more, so that what is signed with them arrives in time.
const MARGIN: Duration = Duration::from_secs(300);
/// How long the platform may take to give them.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A longer answer is none.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Where ECS and EKS have them, and AWS's own tools ask without TLS.
const KNOWN: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// The place, and what was last given there.
pub(super) struct Container {
    target: Target,
    path: PathAndQuery,
    token: Option<HeaderValue>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    credentials: Credentials,
    expiration: SystemTime,
}

/// What is answered. Lambda gives other members as well.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Container {
    /// The place that the variables name, if they name one.
    ///
    /// # Errors
    ///
    /// Why it is none that is asked.
    pub(super) fn from_environment<'a>(
        variable: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, &'static str> {
        let Some(uri) = variable(URI) else {
            return Ok(None);
        };
        let uri: Uri = uri.parse().map_err(|_| "it is no URI")?;
        let target = Target::of(&uri).map_err(|_| "it is no URI of http:// or https:// with a host")?;
        if target.scheme == Scheme::Http && !may_be_asked_without_tls(&target.host) {
            return Err("without TLS it has to be on this machine, or where AWS keeps credentials");
        }
        let token = variable(TOKEN).map(HeaderValue::from_str).transpose();
        let mut token = token.map_err(|_| "the token beside it is none")?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Some(Self {
            target,
            path: uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
            token,
            kept: Mutex::default(),
        }))
    }

    /// Credentials that are good for a while: those of before, or others.
    ///
    /// # Errors
    ///
    /// A sentence, without anything secret in it.
    pub(super) async fn credentials(&self, connector: &Connector) -> Result<Credentials, String> {
        let mut kept = self.kept.lock().await;
        let is_good_until = |moment: SystemTime| kept.as_ref().filter(|kept| kept.expiration > moment);
        let now = SystemTime::now();
        if let Some(kept) = is_good_until(now + MARGIN) {
            return Ok(kept.credentials.clone());
        }
        match self.ask(connector).await {
            Ok((credentials, expiration)) => {
                *kept = expiration.map(|expiration| Kept {
                    credentials: credentials.clone(),
                    expiration,
                });
                Ok(credentials)
            }
            Err(reason) => match is_good_until(now) {
                Some(kept) => Ok(kept.credentials.clone()),
                None => Err(reason),
            },
        }
    }

    /// Forgets what was given, so that it is in no snapshot of the process.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn ask(&self, connector: &Connector) -> Result<(Credentials, Option<SystemTime>), String> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let asking = in_time(
            deadline,
            None,
            Error::DeadlineExceeded,
            self.exchange(connector, deadline),
        );
        let (status, body) = match asking.await {
            Ok(answered) => answered,
            Err(Error::DeadlineExceeded) => {
                return Err(format!("it did not answer within {} s", LONGEST_WAIT.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        };
        if status != StatusCode::OK {
            return Err(format!("it answered with status {}", status.as_u16()));
        }
        // What is wrong with it could be told only with parts of it.
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| "its answer has no credentials")?;
        let expiration = answer.expiration.as_deref().map(humantime::parse_rfc3339);
        let expiration = expiration
            .transpose()
            .map_err(|_| "the expiration in its answer is no moment in time")?;
        let credentials = Credentials::new(
            &answer.access_key_id,
            &answer.secret_access_key,
            answer.token.as_deref(),
        );
        Ok((credentials.ok_or("its answer has no credentials")?, expiration))
    }

    async fn exchange(&self, connector: &Connector, deadline: Instant) -> Result<(StatusCode, Bytes), Error> {
        let stream = connector.connect_unchecked(&self.target).await?;
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from(self.path.clone());
        let invalid = |error: http::header::InvalidHeaderValue| Error::InvalidUri(error.to_string());
        let host = HeaderValue::try_from(self.target.authority()).map_err(invalid)?;
        request.headers_mut().insert(HOST, host);
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let (response, _connection) = exchange(stream, request, &Timeouts::default(), deadline).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| Error::Protocol(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

/// As AWS's own tools have it: nobody else can read along.
fn may_be_asked_without_tls(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.is_loopback() || KNOWN.contains(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(uri: &str, token: &str) -> Result<Option<Container>, &'static str> {
        Container::from_environment(|name| match name {
            URI => Some(uri),
            TOKEN => Some(token),
            _ => None,
        })
    }

    #[test]
    fn without_tls_only_this_machine_and_the_places_of_aws_are_asked() {
        for uri in [
            "http://127.0.0.1:9001/2021-04-23/credentials",
            "http://127.255.0.1/",
            "http://localhost:9001",
            "http://[::1]:80/x?y=z",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "https://credentials.example.com/",
        ] {
            assert!(container(uri, "t").is_ok(), "{uri}");
        }
        for uri in [
            "http://169.254.169.254/latest/meta-data",
            "http://169.254.170.3/",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "http://example.com/",
            "ftp://127.0.0.1/",
            "/2021-04-23/credentials",
            "nonsense",
        ] {
            assert!(container(uri, "t").is_err(), "{uri}");
        }
        assert!(container("http://127.0.0.1/", "a\nb").is_err());
    }
}
