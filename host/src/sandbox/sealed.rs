//! What takes the place of `http` and `outbound` in a program that was built without outgoing requests: no request leaves. That no
//! function is granted one is checked before, in `config`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::Request;
use tracing::warn;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::manifest::Grants;

/// What requests need to know of the environment, which is nothing here.
#[derive(Debug, Default)]
pub struct Platform;

impl Platform {
    /// Reads nothing.
    pub fn from_environment<'a>(_variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self
    }

    /// There are none.
    #[expect(
        clippy::unused_async,
        reason = "where requests may leave, somebody may be asking for credentials"
    )]
    pub async fn forget_credentials(&self) {}

    /// Trusts nobody, because nobody is asked.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn trust(&mut self, _pem: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// The closed way out of the sandboxes of one function.
pub struct Outbound {
    function: String,
    has_refused: AtomicBool,
}

impl Outbound {
    /// The closed way out for a function's guests.
    pub fn new(function: &str, _grants: &Grants, _platform: &Arc<Platform>) -> Self {
        Self {
            function: function.to_owned(),
            has_refused: AtomicBool::new(false),
        }
    }
}

/// The closed way out of one sandbox.
pub(super) struct Hooks {
    outbound: Arc<Outbound>,
}

impl Hooks {
    pub(super) fn new(outbound: &Arc<Outbound>) -> Self {
        Self {
            outbound: Arc::clone(outbound),
        }
    }

    /// Nothing takes time.
    pub(super) fn set_start_up_deadline(&mut self) {}

    /// Nothing takes time.
    pub(super) fn set_deadline(&mut self, _deadline: Instant) {}
}

type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Finished), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _response_read: Finished,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Outbound { function, has_refused } = &*self.outbound;
        if !has_refused.swap(true, Ordering::Relaxed) {
            warn!(
                function,
                "refused a request of the guest: this `bootstrap` was built without outgoing requests; build the image on \
                 `orlop-lean` or `orlop`, and grant the request"
            );
        }
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
