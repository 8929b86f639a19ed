//! Calls a guest that is an HTTP server: an HTTP-shaped event becomes a request, the response becomes the answer that the
//! event's source understands. Every other event is posted to one path.

mod ending;
mod stream;

#[cfg(feature = "wasi-0-3")]
use std::pin::Pin;
use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;
use tracing::error;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
#[cfg(feature = "wasi-0-3")]
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{Error, WasiHttpView, p2};

use self::ending::{Ending, Guest as GuestHas};
use self::stream::{Begun, Stream};
use super::outcome::classify;
use super::{Call, ResponseMode};
use crate::error::{FunctionError, MAX_RESPONSE_BYTES};
use crate::events::{
    Envelope, HttpEvent, LambdaContext, Refusal, envelope, has_body, pass_through, pass_through_answer,
};
use crate::pieces::Pieces;
use crate::runtime_api::{Answer, Responder};
use crate::sandbox::State;

/// The server's export.
pub(super) enum Exports {
    Wasi02(p2::bindings::ProxyIndices),
    #[cfg(feature = "wasi-0-3")]
    Wasi03(p3::bindings::ServiceIndices),
}

/// The server in one instance.
pub(super) enum Guest {
    Wasi02(p2::bindings::Proxy),
    #[cfg(feature = "wasi-0-3")]
    Wasi03(p3::bindings::Service),
}

type GuestResponse = Response<UnsyncBoxBody<Bytes, Error>>;

impl Exports {
    pub(super) fn new(linked: &InstancePre<State>) -> wasmtime::Result<Self> {
        let exports = p2::bindings::ProxyIndices::new(linked).map(Self::Wasi02);
        #[cfg(feature = "wasi-0-3")]
        let exports = exports.or_else(|_| p3::bindings::ServiceIndices::new(linked).map(Self::Wasi03));
        exports
    }

    pub(super) fn load(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Guest> {
        match self {
            Self::Wasi02(indices) => indices.load(store, instance).map(Guest::Wasi02),
            #[cfg(feature = "wasi-0-3")]
            Self::Wasi03(indices) => indices.load(store, instance).map(Guest::Wasi03),
        }
    }
}

impl Guest {
    pub(super) async fn call(&self, store: &mut Store<State>, call: &Call<'_>) -> Result<Answer, FunctionError> {
        store
            .data_mut()
            .begin(call.context.deadline.instant, call.context.trace_variable());
        let delivery = Delivery {
            call,
            event: HttpEvent::recognise(call.event),
        };
        let request = match delivery.request() {
            Ok(request) => request,
            Err(refusal) => return delivery.deliver(whole(refusal.into_response())).await,
        };
        match self {
            Self::Wasi02(proxy) => call_0_2(proxy, store, request, &delivery).await,
            #[cfg(feature = "wasi-0-3")]
            Self::Wasi03(service) => call_0_3(service, store, request, &delivery).await,
        }
    }
}

fn whole(response: Response<Bytes>) -> GuestResponse {
    response.map(|body| Full::new(body).map_err(Error::from).boxed_unsync())
}

/// A response that the guest has given while it still runs and writes the body.
enum Arrival {
    /// It is on its way.
    Begun(Result<Begun, FunctionError>),
    /// It leaves when it is whole.
    Whole(GuestResponse),
}

async fn call_0_2(
    proxy: &p2::bindings::Proxy,
    store: &mut Store<State>,
    request: Request<Bytes>,
    delivery: &Delivery<'_>,
) -> Result<Answer, FunctionError> {
    let scheme = match request.uri().scheme_str() {
        Some("http") => p2::bindings::http::types::Scheme::Http,
        Some("https") | None => p2::bindings::http::types::Scheme::Https,
        Some(other) => p2::bindings::http::types::Scheme::Other(other.to_owned()),
    };
    let (sender, arrival) = oneshot::channel();
    let host = |error: wasmtime::Error| FunctionError::Host(format!("passing the request on: {error:#}"));
    let mut http = store.data_mut().http();
    let request = http
        .new_incoming_request(scheme, request.map(Full::new))
        .map_err(host)?;
    let ending = Ending::default();
    let (stream, body_ending) = (delivery.stream(), ending.clone());
    let out = http
        .new_response_outparam_from_callback(move |response| {
            let arrival = response.map(|response| {
                let response = response.map(|body| body_ending.of(body));
                match stream {
                    Some(stream) => Arrival::Begun(stream.begin(response)),
                    None => Arrival::Whole(response),
                }
            });
            // The receiver lives longer than the guest's call.
            let _ = sender.send(arrival);
        })
        .map_err(host)?;

    let mut deliver = pin!(async {
        match arrival.await {
            Ok(Ok(Arrival::Begun(begun))) => Ok(begun?.end().await),
            Ok(Ok(Arrival::Whole(response))) => delivery.deliver(response).await,
            Ok(Err(code)) => Err(FunctionError::InvalidResponse(format!(
                "the guest gave the error {code:?} in place of a response"
            ))),
            Err(_) => Err(FunctionError::InvalidResponse(
                "the guest returned without a response".to_owned(),
            )),
        }
    });
    let mut delivered = None;
    let called = {
        let mut called = pin!(
            proxy
                .wasi_http_incoming_handler()
                .call_handle(&mut *store, request, out)
        );
        loop {
            tokio::select! {
                biased;
                called = &mut called => break called,
                answer = &mut deliver, if delivered.is_none() => delivered = Some(answer),
            }
        }
    };
    ending.guest_has(match called {
        Ok(()) => GuestHas::Returned,
        Err(_) => GuestHas::Failed,
    });
    if delivered.is_none() {
        // A response that the guest has given is seen at once.
        delivered = tokio::select! {
            biased;
            answer = &mut deliver => Some(answer),
            () = std::future::ready(()) => None,
        };
    }
    let answer = match delivered {
        Some(answer) => answer,
        None if ending.has_body() => deliver.await,
        None => {
            if let Err(trap) = called {
                return Err(classify(&trap, store));
            }
            // It holds on to what the response would have come through.
            store.data_mut().abandon_resources();
            deliver.await
        }
    };
    let is_unfinished = ending.is_cut();
    match called {
        Ok(()) => {
            if is_unfinished {
                store.data_mut().abandon_resources();
            }
            answer
        }
        Err(trap) => {
            let error = classify(&trap, store);
            if answer.is_err() || is_unfinished {
                return Err(error);
            }
            let when = match ending.is_over() {
                true => "after its response was complete; the response stands",
                false => "when nobody took any more of its response",
            };
            error!(
                error_type = error.report().error_type,
                error_message = error.to_string(),
                "the guest failed {when}"
            );
            store.data_mut().abandon_resources();
            answer
        }
    }
}

#[cfg(feature = "wasi-0-3")]
async fn call_0_3(
    service: &p3::bindings::Service,
    store: &mut Store<State>,
    request: Request<Bytes>,
    delivery: &Delivery<'_>,
) -> Result<Answer, FunctionError> {
    let run = store
        .run_concurrent(async |accessor| -> wasmtime::Result<Result<Answer, FunctionError>> {
            let (request, transmitted) = accessor.with(|mut access| {
                let (request, transmitted) =
                    p3::Request::from_http(access.data_mut().http().hooks, request.map(Full::new));
                let transmitted: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> = Box::pin(transmitted);
                (request, transmitted)
            });
            let response = match service.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => {
                    return Ok(Err(FunctionError::InvalidResponse(format!(
                        "the guest gave the error {code:?} in place of a response"
                    ))));
                }
            };
            let response = accessor.with(|access| response.into_http(access, transmitted))?;
            Ok(delivery.deliver(response).await)
        })
        .await;
    match run.flatten() {
        Ok(answer) => answer,
        Err(error) => Err(classify(&error, store)),
    }
}

/// The way of one event through a server, and of the response back.
struct Delivery<'a> {
    call: &'a Call<'a>,
    /// `None` for events that are no HTTP.
    event: Option<HttpEvent<'a>>,
}

impl Delivery<'_> {
    fn request(&self) -> Result<Request<Bytes>, Refusal> {
        let Call {
            event,
            context,
            identity,
            http: settings,
            mode: _,
            responder: _,
        } = self.call;
        let context = LambdaContext {
            request_id: &context.request_id,
            deadline_ms: context.deadline.unix_ms,
            invoked_function_arn: context.invoked_function_arn.as_deref(),
            trace_id: context.trace_id.as_deref(),
            client_context: context.client_context.as_deref(),
            identity: context.identity.as_deref(),
            tenant_id: context.tenant_id.as_deref(),
            function_name: &identity.name,
            function_version: &identity.version,
            memory_mb: identity.memory_mb,
            log_group: identity.log_group.as_deref(),
            log_stream: identity.log_stream.as_deref(),
        };
        match &self.event {
            Some(http_event) => http_event.to_request(settings, &context),
            None => Ok(pass_through((*event).clone(), &settings.pass_through_path, &context)),
        }
    }

    /// How the response leaves if it is streamed.
    fn stream(&self) -> Option<Stream> {
        match (&self.event, self.call.mode) {
            (Some(event), ResponseMode::Streaming) => Some(Stream::new(event, self.call.responder)),
            (Some(_) | None, ResponseMode::Streaming | ResponseMode::Buffered) => None,
        }
    }

    async fn deliver(&self, response: GuestResponse) -> Result<Answer, FunctionError> {
        let (parts, body) = response.into_parts();
        let Some(event) = &self.event else {
            let body = collect(body).await?;
            let answer = pass_through_answer(Response::from_parts(parts, body));
            return match answer {
                Ok(answer) if answer.len() > MAX_RESPONSE_BYTES => Err(FunctionError::ResponseTooLarge { bytes: None }),
                Ok(answer) => Ok(Answer::Whole(answer)),
                Err(error) => Err(FunctionError::Guest {
                    error_type: "Function.HttpStatus".to_owned(),
                    message: error.to_string(),
                    stack_trace: Vec::new(),
                }),
            };
        };
        deliver_http(
            event,
            self.call.mode,
            self.call.responder,
            Response::from_parts(parts, body),
        )
        .await
    }
}

/// Sends a response in the form that the event's source understands.
async fn deliver_http(
    event: &HttpEvent<'_>,
    mode: ResponseMode,
    responder: &Responder,
    response: GuestResponse,
) -> Result<Answer, FunctionError> {
    match mode {
        ResponseMode::Buffered => {
            let (parts, body) = response.into_parts();
            let (source, method) = (event.source(), event.method());
            let body = match has_body(method, parts.status) {
                true => collect(body).await?,
                false => discard(body).await,
            };
            let envelope = envelope(source, method, Response::from_parts(parts, body));
            Ok(Answer::Whole(noted(envelope)))
        }
        ResponseMode::Streaming => Ok(Stream::new(event, responder).begin(response)?.end().await),
    }
}

/// The answer to an HTTP event that no route takes.
pub struct NotFound<'a> {
    event: HttpEvent<'a>,
    mode: ResponseMode,
}

impl<'a> NotFound<'a> {
    /// The answer to that event, in that mode.
    pub fn new(event: HttpEvent<'a>, mode: ResponseMode) -> Self {
        Self { event, mode }
    }

    /// Answers with status 404.
    ///
    /// # Errors
    ///
    /// [`FunctionError::Host`] if a stream cannot begin.
    pub async fn answer(&self, responder: &Responder) -> Result<Answer, FunctionError> {
        let refusal = Refusal {
            status: StatusCode::NOT_FOUND,
            message: format!("no route takes {} {}", self.event.method(), self.event.path()),
        };
        deliver_http(&self.event, self.mode, responder, whole(refusal.into_response())).await
    }
}

/// The bytes of an envelope; one line for the operator if they are not the guest's response.
fn noted(envelope: Envelope) -> Bytes {
    let Envelope { bytes, replaced } = envelope;
    if let Some(reason) = replaced {
        error!(reason = reason.to_string(), "the response could not be delivered");
    }
    bytes
}

/// Takes a body that no client gets, as a server does: many guests fail when their body is not wanted.
async fn discard(mut body: UnsyncBoxBody<Bytes, Error>) -> Bytes {
    while let Some(Ok(_)) = body.frame().await {}
    Bytes::new()
}

/// The whole body; of one that is larger than any answer, just enough to show it.
async fn collect(mut body: UnsyncBoxBody<Bytes, Error>) -> Result<Bytes, FunctionError> {
    let mut all = Pieces::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FunctionError::InvalidResponse(format!("its body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        all.push(data);
        if all.size() > MAX_RESPONSE_BYTES {
            break;
        }
    }
    Ok(all.into_bytes())
}
