//! Why a request got no response, or a response no end.

use std::net::IpAddr;

/// What became of a request. Each variant is one error code of `wasi:http/types`, named in its description; a body
/// failure of the guest's own keeps the code it has already.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No grant covers the target. `HTTP-request-denied`.
    #[error("the request to {target} is not granted; to allow it, put `{grant}` under `{section}` in orlop.toml")]
    Denied {
        /// `scheme://host:port`.
        target: String,
        /// The line of `orlop.toml` that would allow it.
        grant: String,
        /// The table that line belongs in.
        section: String,
    },
    /// It goes to a service of AWS, and is a request that no grant speaks about. `HTTP-request-denied`.
    #[error("the request to {target} is covered by no `aws` grant: {reason}")]
    Uncovered {
        /// `scheme://host:port`.
        target: String,
        /// What is odd about it.
        reason: &'static str,
    },
    /// The target is granted, or named, but leads to an address that is closed to guests. `destination-IP-prohibited`.
    #[error("{target} leads to {address}, {reason}")]
    AddressProhibited {
        /// `scheme://host:port`.
        target: String,
        /// The address.
        address: IpAddr,
        /// What is there, and what would open it if anything would.
        reason: String,
    },
    /// The URI names no target. `HTTP-request-URI-invalid`.
    #[error("the request's URI is refused: {0}")]
    InvalidUri(String),
    /// `CONNECT`, which asks for a tunnel. `HTTP-request-method-invalid`.
    #[error("the method {0} is not supported")]
    InvalidMethod(http::Method),
    /// Nobody answered for the name in time. `DNS-timeout`.
    #[error("no name server answered for {name} in time")]
    DnsTimeout {
        /// The name.
        name: String,
    },
    /// The name has no address, or it could not be asked for. `DNS-error`.
    #[error("{name} cannot be resolved: {reason}")]
    Dns {
        /// The name.
        name: String,
        /// The name server's response code, such as `NXDOMAIN`, if it gave one.
        code: Option<String>,
        /// The cause.
        reason: String,
    },
    /// The peer accepts no connection at that port. `connection-refused`.
    #[error("{target} refused the connection")]
    ConnectionRefused {
        /// `scheme://host:port`.
        target: String,
    },
    /// There is no way to the peer. `destination-unavailable`.
    #[error("{target} cannot be reached: {reason}")]
    Unreachable {
        /// `scheme://host:port`.
        target: String,
        /// The cause.
        reason: String,
    },
    /// No connection came about in the guest's own time for that. `connection-timeout`.
    #[error("no connection came about in time")]
    ConnectionTimeout,
    /// The peer's certificate is not one for this name that a trusted authority has signed. `TLS-certificate-error`.
    #[error("the peer's certificate is not accepted: {0}")]
    TlsCertificate(String),
    /// The peer broke the handshake off. `TLS-alert-received`.
    #[error("the peer sent the TLS alert {message} ({id})")]
    TlsAlert {
        /// The alert's number (RFC 8446, section 6).
        id: u8,
        /// Its name.
        message: String,
    },
    /// The handshake failed otherwise. `TLS-protocol-error`.
    #[error("the TLS handshake failed: {0}")]
    TlsProtocol(String),
    /// The body that the guest sent failed: the guest's own error, unchanged, for the adapter that knows its type.
    #[error("the request's body failed: {0}")]
    RequestBody(Box<dyn std::error::Error + Send + Sync>),
    /// The body is larger than what the host holds in memory to sign it. `HTTP-request-body-size`.
    #[error("the request's body exceeds {limit} bytes, which is the most that is signed")]
    RequestBodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// S3 wants to know a body's length in advance, and this body is too large to be measured by the host.
    /// `HTTP-request-length-required`.
    #[error("S3 takes no body of unknown length; send a `content-length`")]
    LengthRequired,
    /// A header or a path that cannot be signed. `HTTP-protocol-error`.
    #[error("the request cannot be signed: {0}")]
    Unsignable(String),
    /// A grant asks for a signature, and the function has no credentials. `configuration-error`.
    #[error(
        "the request to {target} is to be signed, and the function's environment has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor AWS_CONTAINER_CREDENTIALS_FULL_URI"
    )]
    NoCredentials {
        /// `scheme://host:port`.
        target: String,
    },
    /// A grant asks for a signature, and where the platform keeps the function's credentials there are none.
    /// `configuration-error`.
    #[error(
        "the request to {target} is to be signed, and the place in AWS_CONTAINER_CREDENTIALS_FULL_URI gives no credentials: {reason}"
    )]
    CredentialsWithheld {
        /// `scheme://host:port`.
        target: String,
        /// Why not.
        reason: String,
    },
    /// Nothing arrived for as long as the guest was prepared to wait. `connection-read-timeout`.
    #[error("the peer sent nothing in time")]
    ReadTimeout,
    /// The event's deadline passed. `HTTP-response-timeout`.
    #[error("the event's deadline passed before the response was complete")]
    DeadlineExceeded,
    /// The peer closed the connection before the response was complete. `HTTP-response-incomplete`.
    #[error("the response broke off")]
    ResponseIncomplete,
    /// The connection was reset or lost. `connection-terminated`.
    #[error("the connection was lost: {0}")]
    ConnectionTerminated(String),
    /// The head of the response exceeds the host's limit. `HTTP-response-header-section-size`.
    #[error("the response's headers exceed {limit_bytes} bytes or {limit_count} fields")]
    ResponseHeadersTooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
        /// The limit in fields.
        limit_count: usize,
    },
    /// What the peer sent is not HTTP/1.1. `HTTP-protocol-error`.
    #[error("the peer does not speak HTTP/1.1: {0}")]
    Protocol(String),
}
