//! How a guest's outgoing HTTP requests reach [`Outbound`]: the side of it that the engine's library asks for, for both
//! versions of `wasi:http`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::outbound::{self, Outbound, Timeouts};

/// How long a request may take while its guest starts up, before there is an event: as long as the longest Init timeout.
/// The watchdog ends a start-up that lasts too long.
const START_UP: Duration = Duration::from_secs(86_400);

/// The way out of one sandbox.
pub(super) struct Hooks {
    outbound: Arc<Outbound>,
    /// When the current event ends, or the start-up before the first.
    deadline: Instant,
}

impl Hooks {
    pub(super) fn new(outbound: &Arc<Outbound>) -> Self {
        Self {
            outbound: Arc::clone(outbound),
            deadline: Instant::now() + START_UP,
        }
    }

    /// Gives requests as long as a start-up may take from now.
    pub(super) fn set_start_up_deadline(&mut self) {
        self.deadline = Instant::now() + START_UP;
    }

    /// Gives requests until then.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }
}

type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Finished), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // Tells the guest how the reading of the response ended. It reads it from us and knows.
        _response_read: Finished,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (outbound, deadline) = (Arc::clone(&self.outbound), self.deadline);
        let RequestOptions {
            connect_timeout,
            first_byte_timeout,
            between_bytes_timeout,
        } = options.unwrap_or_default();
        let timeouts = Timeouts {
            connect: connect_timeout,
            first_byte: first_byte_timeout,
            between_bytes: between_bytes_timeout,
        };
        Box::new(async move {
            if let Err(refusal) = outbound.check(&request) {
                // A guest that still writes its body would otherwise hear of a lost connection instead of the refusal.
                tokio::spawn(tokio::time::timeout_at(deadline.into(), discard(request.into_body())));
                return Err(code(refusal));
            }
            let (response, connection) = outbound.send(request, timeouts, deadline).await.map_err(code)?;
            let response = response.map(|body| body.map_err(code).boxed_unsync());
            Ok((response, Box::new(async { connection.await.map_err(code) }) as Finished))
        })
    }
}

async fn discard(mut body: WasiBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The code that the guest gets.
fn code(error: outbound::Error) -> Error {
    use outbound::Error as E;
    match error {
        E::Denied { .. } | E::Uncovered { .. } => Error::HttpRequestDenied,
        E::AddressProhibited { .. } => Error::DestinationIpProhibited,
        E::InvalidUri(_) => Error::HttpRequestUriInvalid,
        E::InvalidMethod(_) => Error::HttpRequestMethodInvalid,
        E::DnsTimeout { .. } => Error::DnsTimeout,
        E::Dns { code, .. } => Error::DnsError {
            rcode: code,
            info_code: None,
        },
        E::ConnectionRefused { .. } => Error::ConnectionRefused,
        E::Unreachable { .. } => Error::DestinationUnavailable,
        E::ConnectionTimeout => Error::ConnectionTimeout,
        E::TlsCertificate(_) => Error::TlsCertificateError,
        E::TlsAlert { id, message } => Error::TlsAlertReceived {
            alert_id: Some(id),
            alert_message: Some(message),
        },
        E::TlsProtocol(_) => Error::TlsProtocolError,
        E::RequestBody(error) => match error.downcast() {
            Ok(own) => *own,
            Err(other) => Error::InternalError(Some(other.to_string())),
        },
        E::RequestBodyTooLarge { limit } => Error::HttpRequestBodySize(Some(limit)),
        E::LengthRequired => Error::HttpRequestLengthRequired,
        E::Unsignable(_) | E::Protocol(_) => Error::HttpProtocolError,
        E::NoCredentials { .. } | E::CredentialsWithheld { .. } => Error::ConfigurationError,
        E::ReadTimeout => Error::ConnectionReadTimeout,
        E::DeadlineExceeded => Error::HttpResponseTimeout,
        E::ResponseIncomplete => Error::HttpResponseIncomplete,
        E::ConnectionTerminated(_) => Error::ConnectionTerminated,
        E::ResponseHeadersTooLarge { limit_bytes, .. } => {
            Error::HttpResponseHeaderSectionSize(u32::try_from(limit_bytes).ok())
        }
    }
}
