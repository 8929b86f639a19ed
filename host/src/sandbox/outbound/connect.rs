//! Connections: to an address that was checked, and to no other; with TLS where the scheme says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::Platform;
use super::address::{AddressKind, Host, Target};
use super::allow::{self, Permit, prohibited};
use super::error::Error;
use super::platform::is_same_machine;
use super::resolver::Resolver;
use crate::manifest::Scheme;

/// A connection that HTTP can be spoken over.
pub(super) trait Stream: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Stream for T {}

/// Makes connections. Nothing is set up before the first one.
pub(super) struct Connector {
    resolver: Resolver,
    platform: Arc<Platform>,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Connector {
    pub(super) fn new(resolver: Resolver, platform: Arc<Platform>) -> Self {
        Self {
            resolver,
            platform,
            tls: OnceLock::new(),
        }
    }

    /// A connection to the target. Every address of its name must be open to guests; then they are tried in turn, and
    /// no name is resolved twice, so that a name cannot mean one address to the check and another to the connection.
    ///
    /// # Errors
    ///
    /// Any [`Error`] up to the end of the TLS handshake.
    pub(super) async fn connect(&self, target: &Target, permit: &Permit<'_>) -> Result<Box<dyn Stream>, Error> {
        let addresses = self.addresses(target).await?;
        for address in &addresses {
            self.check(target, permit, *address).await?;
        }
        let stream = self.connect_to_first(target, permit, &addresses).await?;
        self.speak(target, stream).await
    }

    /// A connection to a place that the platform has named, and no guest: nothing is checked.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub(super) async fn connect_unchecked(&self, target: &Target) -> Result<Box<dyn Stream>, Error> {
        let addresses = self.addresses(target).await?;
        let addresses: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, target.port)).collect();
        let stream = TcpStream::connect(&*addresses).await;
        self.speak(target, stream.map_err(|error| failed(target, &error))?)
            .await
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, Error> {
        match &target.host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => self.resolver.addresses(name).await,
        }
    }

    async fn speak(&self, target: &Target, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        match target.scheme {
            Scheme::Http => Ok(Box::new(TokioIo::new(stream))),
            Scheme::Https => self.secure(target, stream).await,
        }
    }

    async fn check(&self, target: &Target, permit: &Permit<'_>, address: IpAddr) -> Result<(), Error> {
        if self.is_of_platform(target, address).await {
            return Err(prohibited(target, address, allow::PLATFORM));
        }
        match permit.objection(address) {
            Some(objection) => Err(prohibited(target, address, objection)),
            None => Ok(()),
        }
    }

    /// Whether one of the platform's own services is at that address and the target's port, or has the target's name.
    async fn is_of_platform(&self, target: &Target, address: IpAddr) -> bool {
        if self.platform.is_at(address, target.port) {
            return true;
        }
        for host in self.platform.hosts_at(target.port) {
            let Host::Name(name) = host else {
                continue;
            };
            if *host == target.host {
                return true;
            }
            let known = self.resolver.addresses(name).await.unwrap_or_default();
            if known.into_iter().any(|known| is_same_machine(known, address)) {
                return true;
            }
        }
        false
    }

    pub(super) async fn connect_to_first(
        &self,
        target: &Target,
        permit: &Permit<'_>,
        addresses: &[IpAddr],
    ) -> Result<TcpStream, Error> {
        let mut last = None;
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(*address, target.port)).await {
                Ok(stream) => {
                    let own = stream.local_addr().map_err(|error| failed(target, &error))?;
                    self.check_ends(target, permit, own.ip(), *address)?;
                    // Requests are written in one go; waiting to fill a packet would only delay them.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        Err(failed(target, &error))
    }

    /// A connection whose two ends are one address has not left this machine, although the address does not look like
    /// it.
    pub(super) fn check_ends(
        &self,
        target: &Target,
        permit: &Permit<'_>,
        own: IpAddr,
        peer: IpAddr,
    ) -> Result<(), Error> {
        let is_disguised = own == peer && !AddressKind::of(peer).is_this_machine();
        let is_of_platform = self.platform.hosts_at(target.port).next().is_some();
        if is_disguised && (is_of_platform || !permit.names(peer)) {
            return Err(prohibited(target, peer, allow::THIS_MACHINE));
        }
        Ok(())
    }

    async fn secure(&self, target: &Target, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        let name = match &target.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| Error::TlsCertificate(format!("{name} is no name that certificates are made for")))?,
        };
        let connector = TlsConnector::from(Arc::clone(
            self.tls.get_or_init(|| tls(&self.platform.additional_roots)),
        ));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(TokioIo::new(stream))),
            Err(error) => Err(tls_error(&error)),
        }
    }
}

fn failed(target: &Target, error: &io::Error) -> Error {
    let target = target.to_string();
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return Error::ConnectionRefused { target };
    }
    Error::Unreachable {
        target,
        reason: error.to_string(),
    }
}

/// Trusts what browsers trust, because an image holds no certificates of its own, and the additional roots.
fn tls(additional_roots: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(additional_roots.iter().cloned());
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn tls_error(error: &io::Error) -> Error {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return Error::TlsProtocol(error.to_string());
    };
    if let rustls::Error::AlertReceived(alert) = cause {
        return Error::TlsAlert {
            id: u8::from(*alert),
            message: format!("{alert:?}"),
        };
    }
    if let rustls::Error::InvalidCertificate(_) = cause {
        return Error::TlsCertificate(cause.to_string());
    }
    Error::TlsProtocol(cause.to_string())
}
