//! What a guest's requests need to know of the environment the function runs in.

use std::fmt;
use std::net::IpAddr;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tracing::warn;

use super::address::{AddressKind, Host, read_authority};
use super::container::{self, Container};
use super::credentials::Credentials;

/// Variables that hold addresses of the platform's own services, as `host:port` or as a URL (runtime contract §1.7,
/// §5).
const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_METADATA_API", container::URI];

/// The environment of all functions of a process: addresses that are closed to guests, and what signing needs.
#[derive(Default)]
pub struct Platform {
    endpoints: Vec<(Host, u16)>,
    pub(super) region: Option<String>,
    pub(super) credentials: Option<Source>,
    pub(super) additional_roots: Vec<CertificateDer<'static>>,
}

/// Where the function's credentials are.
pub(super) enum Source {
    /// In the environment.
    Variables(Credentials),
    /// Where the environment says.
    Container(Container),
}

impl Source {
    /// That of an environment. Credentials that are there already come first, as with AWS's own tools.
    fn from_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        if let Some(credentials) = Credentials::from_environment(&variable) {
            return Some(Self::Variables(credentials));
        }
        match Container::from_environment(variable) {
            Ok(container) => container.map(Self::Container),
            Err(reason) => {
                warn!("{} is not asked for credentials: {reason}", container::URI);
                None
            }
        }
    }
}

impl Platform {
    /// Reads Lambda's own variables. `variable` gives a variable's value; an empty one counts as unset.
    pub fn from_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let endpoints = ENDPOINT_VARIABLES
            .into_iter()
            .filter_map(|name| {
                let endpoint = read_endpoint(variable(name)?);
                if endpoint.is_none() {
                    warn!("{name} is no address; guests are not kept from what it stands for");
                }
                endpoint
            })
            .collect();
        Self {
            endpoints,
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .map(str::to_owned),
            credentials: Source::from_environment(variable),
            additional_roots: Vec::new(),
        }
    }

    /// Forgets credentials that can be asked for again, before a snapshot of the process is taken: a copy of it may come to
    /// life when they have expired.
    pub async fn forget_credentials(&self) {
        if let Some(Source::Container(container)) = &self.credentials {
            container.forget().await;
        }
    }

    /// Trusts the certificates in a text of PEM as well, for private authorities.
    ///
    /// # Errors
    ///
    /// A sentence, if the text holds no certificate or a broken one.
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), String> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("the certificates cannot be read: {error}"))?;
        if certificates.is_empty() {
            return Err("there is no certificate in PEM form".to_owned());
        }
        self.additional_roots.extend(certificates);
        Ok(())
    }

    /// The hosts of the platform's own services at that port.
    pub(super) fn hosts_at(&self, port: u16) -> impl Iterator<Item = &Host> {
        (self.endpoints.iter()).filter_map(move |(host, known)| (*known == port).then_some(host))
    }

    /// Whether one of the platform's own services is known to be at that address.
    pub(super) fn is_at(&self, address: IpAddr, port: u16) -> bool {
        self.hosts_at(port).any(|host| match host {
            Host::Address(known) => is_same_machine(*known, address),
            Host::Name(_) => false,
        })
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Platform")
            .field("endpoints", &self.endpoints)
            .field("region", &self.region)
            .field("credentials", &self.credentials.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether two addresses are of one machine, as far as they show it: this machine has many.
pub(super) fn is_same_machine(one: IpAddr, other: IpAddr) -> bool {
    let is_own = |address| AddressKind::of(address).is_this_machine();
    one.to_canonical() == other.to_canonical() || (is_own(one) && is_own(other))
}

fn read_endpoint(text: &str) -> Option<(Host, u16)> {
    let (default_port, rest) = match text.split_once("://") {
        Some(("https", rest)) => (443, rest),
        Some((_, rest)) => (80, rest),
        None => (80, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = read_authority(authority).ok()?;
    Some((host, port.unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(variables: &'static [(&str, &str)]) -> Platform {
        Platform::from_environment(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn the_platforms_addresses_are_taken_in_every_form_they_come_in() {
        let platform = platform(&[
            ("AWS_LAMBDA_RUNTIME_API", "http://127.0.0.1:9001/"),
            ("AWS_LAMBDA_METADATA_API", "169.254.100.1:9002"),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://localhost/2021-04-23/credentials",
            ),
        ]);
        let endpoints: Vec<String> = platform
            .endpoints
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        assert_eq!(endpoints, ["127.0.0.1:9001", "169.254.100.1:9002", "localhost:80"]);
    }

    #[test]
    fn empty_variables_are_unset_and_credentials_are_never_printed() {
        let unset = platform(&[
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_REGION", ""),
        ]);
        assert!(unset.credentials.is_none() && unset.region.is_none());
        let broken = platform(&[("AWS_ACCESS_KEY_ID", "a\nb"), ("AWS_SECRET_ACCESS_KEY", "s")]);
        assert!(broken.credentials.is_none());
        let set = platform(&[
            ("AWS_ACCESS_KEY_ID", "hidden"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
            ("AWS_SESSION_TOKEN", "hidden"),
        ]);
        assert!(set.credentials.is_some());
        assert!(!format!("{set:?}").contains("hidden"));
    }

    #[test]
    fn a_text_without_certificates_is_not_silently_nothing() {
        for text in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Platform::default().trust(text.as_bytes()).is_err(), "{text}");
        }
    }
}
