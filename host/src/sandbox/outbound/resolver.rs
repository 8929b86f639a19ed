//! Names become addresses, as the system's configuration says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError};
use tokio::sync::OnceCell;

use super::error::Error;

/// A host that is linked statically against glibc cannot load name-service modules, so `/etc/resolv.conf` and
/// `/etc/hosts` are read here: once, at the first name that is asked for, so that a function without calls pays
/// nothing.
pub(super) enum Resolver {
    System(Box<OnceCell<TokioResolver>>),
    /// Answers given in advance.
    #[cfg(test)]
    Fixed(std::collections::HashMap<&'static str, Vec<IpAddr>>),
}

impl Resolver {
    pub(super) fn system() -> Self {
        Self::System(Box::default())
    }

    /// The addresses of a name, IPv4 first, at least one. `localhost` is this machine, whoever is asked (RFC 6761,
    /// §6.3).
    ///
    /// # Errors
    ///
    /// [`Error::DnsTimeout`] and [`Error::Dns`].
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        if name == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let addresses: Vec<IpAddr> = match self {
            Self::System(resolver) => resolver
                .get_or_try_init(|| async { system_resolver() })
                .await
                .map_err(|error| failed(name, &error))?
                .lookup_ip(name)
                .await
                .map_err(|error| failed(name, &error))?
                .iter()
                .collect(),
            #[cfg(test)]
            Self::Fixed(answers) => answers.get(name).cloned().unwrap_or_default(),
        };
        if addresses.is_empty() {
            return Err(Error::Dns {
                name: name.to_owned(),
                code: None,
                reason: "it has no address".to_owned(),
            });
        }
        Ok(addresses)
    }
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Lambda freezes the process, and with it the clock that a cache would go by.
    options.cache_size = 0;
    builder.build()
}

fn failed(name: &str, error: &NetError) -> Error {
    let name = name.to_owned();
    if let NetError::Timeout = error {
        return Error::DnsTimeout { name };
    }
    let code = if let NetError::Dns(DnsError::NoRecordsFound(answer)) = error {
        Some(answer.response_code.to_string())
    } else {
        None
    };
    Error::Dns {
        name,
        code,
        reason: error.to_string(),
    }
}
