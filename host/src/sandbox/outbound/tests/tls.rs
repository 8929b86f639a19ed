//! Requests over TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// What a peer needs to be taken for `name`.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// A way out to `https://localhost:port` that trusts this authority.
    fn trusted_by_outbound(&self, port: u16) -> Outbound {
        let mut platform = Platform::default();
        platform.trust(self.0.pem().as_bytes()).unwrap();
        on_platform(&format!("outbound = ['https://localhost:{port}']"), platform, &[])
    }
}

#[tokio::test]
async fn a_granted_call_over_tls_speaks_http_1_to_a_peer_whose_name_is_vouched_for() {
    let authority = Authority::new();
    let peer = Peer::new().await;
    let outbound = authority.trusted_by_outbound(peer.port());
    let acceptor = authority.acceptor("localhost");
    let uri = format!("https://localhost:{}/x", peer.port());
    let (body, protocol) = tokio::join!(fetch(&outbound, &uri), async {
        let mut stream = acceptor.accept(peer.accept().await).await.unwrap();
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        stream.flush().await.unwrap();
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    });
    assert_eq!(body.unwrap(), "ok");
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let stranger = Authority::new();
    for acceptor in [authority.acceptor("other.example"), stranger.acceptor("localhost")] {
        let peer = Peer::new().await;
        let outbound = authority.trusted_by_outbound(peer.port());
        let uri = format!("https://localhost:{}/", peer.port());
        let (refusal, accepted) = tokio::join!(refusal(&outbound, &uri), async {
            acceptor.accept(peer.accept().await).await
        });
        assert!(matches!(refusal, Error::TlsCertificate(_)), "{refusal}");
        assert!(accepted.is_err());
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_no_peer_for_https() {
    let peer = Peer::new().await;
    let outbound = Authority::new().trusted_by_outbound(peer.port());
    let uri = format!("https://localhost:{}/", peer.port());
    let (refusal, ()) = tokio::join!(refusal(&outbound, &uri), async {
        let mut stream = peer.accept().await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(matches!(refusal, Error::TlsProtocol(_)), "{refusal}");
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_given_up() {
    let peer = Peer::new().await;
    let outbound = Authority::new().trusted_by_outbound(peer.port());
    let timeouts = Timeouts {
        connect: Some(Duration::from_millis(1)),
        ..Timeouts::default()
    };
    let request = get(&format!("https://localhost:{}/", peer.port()));
    let result = outbound.send(request, timeouts, later()).await;
    assert!(matches!(result.err(), Some(Error::ConnectionTimeout)));
}
