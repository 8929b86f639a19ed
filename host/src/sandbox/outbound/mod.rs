//! What may leave a sandbox over HTTP: requests to places that a grant names, checked down to the address that is
//! connected to, and signed where a grant says so.
//!
//! [`Outbound::send`] decides in this order: the URI names a target ([`address`]); a grant covers it ([`allow`],
//! [`aws`]); its name is resolved ([`resolver`]) and every address is open to guests; the connection goes to one of
//! those addresses ([`connect`]); the request is sent and the response read within the event's deadline ([`exchange`]).
//! A request that is signed is so with credentials that the guest never sees ([`sign`]); the platform may have them ready
//! ([`credentials`]) or hand them out ([`container`]).
//!
//! A name on the list may lead to any public or private address: VPC endpoints and databases have private ones.
//! Loopback and link-local addresses are open only to a grant that names the very address. The Runtime API, the
//! metadata services and the places where credentials are kept are closed to every grant.
//!
//! A connection serves one request. Redirects are the guest's to follow, through the same checks. Proxy variables do
//! not matter.

mod address;
mod allow;
mod aws;
mod connect;
mod container;
mod credentials;
mod error;
mod exchange;
mod platform;
mod resolver;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, request};
use http_body::Body;
use http_body_util::BodyExt;

pub use credentials::Credentials;
pub use error::Error;
pub use exchange::{Connection, IncomingBody, Timeouts};
pub use platform::Platform;

use self::address::Target;
use self::allow::{AllowList, Permit};
use self::aws::{Facts, Rule};
use self::connect::Connector;
use self::exchange::{OutgoingBody, exchange, in_time};
use self::platform::Source;
use self::resolver::Resolver;
use crate::manifest::Grants;

/// S3's header for "take the content from that object".
const COPY_SOURCE: &str = "x-amz-copy-source";

/// The way out of the sandboxes of one function. It is made at Init and shared; until the first request that is granted
/// it holds no more than the grants.
pub struct Outbound {
    allow: AllowList,
    connector: Connector,
    platform: Arc<Platform>,
}

impl Outbound {
    /// The way out for a function's guests. Without grants, every request is refused.
    pub fn new(function: &str, grants: &Grants, platform: &Arc<Platform>) -> Self {
        Self::with_resolver(function, grants, platform, Resolver::system())
    }

    fn with_resolver(function: &str, grants: &Grants, platform: &Arc<Platform>, resolver: Resolver) -> Self {
        Self {
            allow: AllowList::new(function, grants, platform),
            connector: Connector::new(resolver, Arc::clone(platform)),
            platform: Arc::clone(platform),
        }
    }

    /// Whether a grant covers the request, as [`Self::send`] finds out before anything else.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUri`], [`Error::InvalidMethod`], [`Error::Denied`], [`Error::Uncovered`] or
    /// [`Error::AddressProhibited`]; the first refusal of a target is in the log.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        self.permit(request.uri(), request.method(), request.headers())
            .map(drop)
    }

    fn permit(&self, uri: &Uri, method: &Method, headers: &HeaderMap) -> Result<(Target, Permit<'_>), Error> {
        let target = Target::of(uri)?;
        if method == Method::CONNECT {
            return Err(Error::InvalidMethod(method.clone()));
        }
        let permit = self.allow.permit(&Facts {
            target: &target,
            method: method.as_str(),
            path: uri.path(),
            copies: headers.contains_key(COPY_SOURCE),
        })?;
        Ok((target, permit))
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// The URI is absolute. `Host` is set from it, whatever the guest has set. Everything, the response's body
    /// included, ends at the deadline. The connection lives for as long as the [`Connection`] is kept. Needs a Tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// Any [`Error`]. The first refusal of a target is in the log as well.
    pub async fn send<B>(
        &self,
        request: Request<B>,
        timeouts: Timeouts,
        deadline: Instant,
    ) -> Result<(Response<IncomingBody>, Connection), Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let (target, permit) = self.permit(&parts.uri, &parts.method, &parts.headers)?;
        let path = path_and_query(&parts.uri, permit.signed_by)?;
        let host = HeaderValue::try_from(target.authority()).map_err(|error| Error::InvalidUri(error.to_string()))?;
        parts.headers.insert(HOST, host);
        let body = match permit.signed_by {
            Some(rule) => {
                parts.uri = absolute(&target, &path)?;
                let signing = self.sign(&mut parts, &target, rule, body);
                in_time(deadline, None, Error::DeadlineExceeded, signing).await?
            }
            None => body.map_err(Into::into).boxed_unsync(),
        };
        parts.uri = Uri::from(path);
        let connecting = self.connect(&target, &permit);
        let stream = in_time(deadline, timeouts.connect, Error::ConnectionTimeout, connecting).await?;
        exchange(stream, Request::from_parts(parts, body), &timeouts, deadline).await
    }

    async fn connect(&self, target: &Target, permit: &Permit<'_>) -> Result<Box<dyn connect::Stream>, Error> {
        let connected = self.connector.connect(target, permit).await;
        if let Err(refusal @ Error::AddressProhibited { .. }) = &connected {
            self.allow.log(target, refusal);
        }
        connected
    }

    async fn sign<B>(
        &self,
        parts: &mut request::Parts,
        target: &Target,
        rule: &Rule,
        body: B,
    ) -> Result<OutgoingBody, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let credentials = match self.credentials(target).await {
            Ok(credentials) => credentials,
            Err(error) => {
                self.allow.log(target, &error);
                return Err(error);
            }
        };
        let (payload, body) = sign::prepare_body(rule, &mut parts.headers, body).await?;
        sign::sign_request(parts, rule, &credentials, &payload, SystemTime::now())?;
        Ok(body)
    }

    async fn credentials(&self, target: &Target) -> Result<Credentials, Error> {
        let target = target.to_string();
        match &self.platform.credentials {
            None => Err(Error::NoCredentials { target }),
            Some(Source::Variables(credentials)) => Ok(credentials.clone()),
            Some(Source::Container(container)) => {
                let credentials = container.credentials(&self.connector).await;
                credentials.map_err(|reason| Error::CredentialsWithheld { target, reason })
            }
        }
    }
}

/// The path and the query as they go into the request line.
fn path_and_query(uri: &Uri, signed_by: Option<&Rule>) -> Result<PathAndQuery, Error> {
    let path = uri.path();
    if !path.starts_with('/') {
        return Err(Error::InvalidUri("the path does not begin with `/`".to_owned()));
    }
    let path = match signed_by {
        Some(rule) if rule.is_s3() => sign::s3_path(path)?,
        Some(_) | None => path.to_owned(),
    };
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    PathAndQuery::try_from(text).map_err(|error| Error::InvalidUri(error.to_string()))
}

fn absolute(target: &Target, path: &PathAndQuery) -> Result<Uri, Error> {
    Uri::builder()
        .scheme(target.scheme.name())
        .authority(target.authority())
        .path_and_query(path.clone())
        .build()
        .map_err(|error| Error::InvalidUri(error.to_string()))
}
