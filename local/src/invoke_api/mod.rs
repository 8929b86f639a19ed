//! Lambda's API for calling functions, as the AWS CLI and the SDKs speak it.
//!
//! `Invoke` and `InvokeWithResponseStream` (Lambda's API reference), and the calls that clients make on the way: `ListFunctions`,
//! `GetFunction`, `GetFunctionConfiguration`. Signatures are not looked at. Whether a request comes from this machine is to be
//! asked before it gets here ([`server::is_local`](crate::server::is_local)).

mod asynchronous;
mod description;
mod destination;
mod error;
mod event_stream;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri};

use asynchronous::AsynchronousEvents;
pub use asynchronous::{EventInvokeConfig, Unfinished};
use error::{ApiError, Code};
use request::{InvocationType, Options, Reference};

use crate::function::Function;
use crate::invocation::{Answer, Invocation, Refusal, error_body, new_trace_id};
use crate::platform::Platform;
use crate::queue::Queues;
use crate::server::{ReadError, Request, Response, full, read, respond};

/// The version that is called, whatever the caller's qualifier: there is one.
const VERSION: &str = "$LATEST";
/// How much of an event is read. More than any limit, so that a caller has sent it all and gets to read the refusal.
const MAX_BODY_BYTES: usize = 32 << 20;
/// Where the paths of this API begin.
const FUNCTIONS: &str = "/2015-03-31/functions";
const STREAMING_FUNCTIONS: &str = "/2021-11-15/functions";

const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// How the API behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How asynchronous events are treated.
    pub events: EventInvokeConfig,
    /// The same for functions, by name, that want it in another way.
    pub events_of: HashMap<String, EventInvokeConfig>,
}

/// The API. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct InvokeApi {
    platform: Platform,
    config: Arc<Config>,
    events: AsynchronousEvents,
}

/// What a request asks for. The functions' names are as in the path.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    List,
    Get(&'a str),
    GetConfiguration(&'a str),
    Invoke(&'a str),
    InvokeWithStream(&'a str),
}

impl InvokeApi {
    /// The API of a platform; destinations of asynchronous events are among these queues.
    pub fn new(platform: Platform, config: Config, destinations: Queues) -> Self {
        Self {
            events: AsynchronousEvents::new(platform.clone(), destinations),
            platform,
            config: Arc::new(config),
        }
    }

    /// Whether a request is one for this API: for those who serve several on one listener.
    pub fn takes(request: &Parts) -> bool {
        let path = request.uri.path();
        [FUNCTIONS, STREAMING_FUNCTIONS].iter().any(|prefix| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response {
        let request_id = uuid::Uuid::new_v4().to_string();
        let answered = self.act(request, &request_id).await;
        let mut response = answered.unwrap_or_else(|error| error.response());
        insert(&mut response, REQUEST_ID, &request_id);
        response
    }

    /// Takes no more asynchronous events, gives those that are being handled this long, and returns what is left; a notice in the
    /// journal says so. To be called before the platform shuts down.
    pub async fn shut_down(&self, grace: Duration) -> Vec<Unfinished> {
        self.events.shut_down(grace).await
    }

    async fn act(&self, request: Request, request_id: &str) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let json = |value: serde_json::Value| respond(StatusCode::OK, "application/json", value.to_string());
        match Call::of(&parts)? {
            Call::List => Ok(json(description::list(&self.platform.functions()))),
            Call::Get(name) => {
                let (function, reference) = self.function(name, &parts.uri)?;
                Ok(json(description::function(&function, reference.qualifier.as_deref())))
            }
            Call::GetConfiguration(name) => {
                let (function, reference) = self.function(name, &parts.uri)?;
                Ok(json(description::configuration(
                    &function,
                    reference.qualifier.as_deref(),
                )))
            }
            call @ (Call::Invoke(name) | Call::InvokeWithStream(name)) => {
                let body = match read(body, MAX_BODY_BYTES).await {
                    Ok(body) => body,
                    Err(error) => return Ok(unread(error)),
                };
                let (function, reference) = self.function(name, &parts.uri)?;
                let options = Options::parse(&parts.headers)?;
                let payload = request::check_payload(body, options.invocation_type)?;
                let invocation = Invocation {
                    payload,
                    source: "Invoke".to_owned(),
                    request_id: Some(request_id.to_owned()),
                    content_type: None,
                    client_context: options.client_context.clone(),
                    tenant_id: options.tenant_id.clone(),
                    trace_id: Some(options.trace_id.clone().unwrap_or_else(new_trace_id)),
                    qualifier: reference.qualifier,
                };
                match (options.invocation_type, call) {
                    (InvocationType::DryRun, _) => Ok(empty(StatusCode::NO_CONTENT)),
                    (InvocationType::Event, Call::InvokeWithStream(_)) => {
                        let message = "InvokeWithResponseStream knows the invocation types RequestResponse and DryRun.";
                        Err(ApiError::new(Code::InvalidParameterValue, message))
                    }
                    (InvocationType::Event, _) => self.accept(function, request_id, invocation),
                    (InvocationType::RequestResponse, Call::InvokeWithStream(_)) => {
                        self.stream(&function, &options, invocation).await
                    }
                    (InvocationType::RequestResponse, _) => self.invoke(&function, &options, invocation).await,
                }
            }
        }
    }

    fn function(&self, segment: &str, uri: &Uri) -> Result<(Arc<Function>, Reference), ApiError> {
        let reference = Reference::parse(segment, uri)?;
        match self.platform.function(&reference.name) {
            Some(function) => Ok((function, reference)),
            None => Err(ApiError::unknown_function(&reference.name)),
        }
    }

    fn accept(&self, function: Arc<Function>, request_id: &str, invocation: Invocation) -> Result<Response, ApiError> {
        let config = self.config.events_of.get(&function.name).unwrap_or(&self.config.events);
        let invocation = Invocation {
            // Lambda passes it on for callers only who wait.
            client_context: None,
            ..invocation
        };
        let trace_id = invocation.trace_id.clone();
        self.events.accept(function, config.clone(), request_id, invocation)?;
        let mut response = empty(StatusCode::ACCEPTED);
        insert(&mut response, TRACE_ID, trace_id.as_deref().unwrap_or_default());
        Ok(response)
    }

    async fn invoke(
        &self,
        function: &Function,
        options: &Options,
        invocation: Invocation,
    ) -> Result<Response, ApiError> {
        let trace_id = invocation.trace_id.clone();
        let Answer { body, report, .. } = self.call(function, invocation).await?;
        let (payload, is_error) = match body.collect().await {
            Ok(payload) => (payload, false),
            Err(error) => (error, true),
        };
        let mut response = respond(StatusCode::OK, "application/json", payload);
        if is_error {
            insert(&mut response, FUNCTION_ERROR, "Unhandled");
        }
        if options.wants_log
            && let Ok(report) = report.await
        {
            insert(&mut response, LOG_RESULT, &BASE64_STANDARD.encode(report.log_tail));
        }
        insert(&mut response, EXECUTED_VERSION, VERSION);
        insert(&mut response, TRACE_ID, trace_id.as_deref().unwrap_or_default());
        Ok(response)
    }

    async fn stream(
        &self,
        function: &Function,
        options: &Options,
        invocation: Invocation,
    ) -> Result<Response, ApiError> {
        let trace_id = invocation.trace_id.clone();
        let answer = self.call(function, invocation).await?;
        let mut response = Response::new(event_stream::body(answer, options.wants_log));
        insert(&mut response, CONTENT_TYPE, event_stream::CONTENT_TYPE);
        insert(&mut response, EXECUTED_VERSION, VERSION);
        insert(&mut response, TRACE_ID, trace_id.as_deref().unwrap_or_default());
        Ok(response)
    }

    /// Has the event handled. A runtime that cannot be started is the function's error.
    async fn call(&self, function: &Function, invocation: Invocation) -> Result<Answer, ApiError> {
        let request_id = invocation.request_id.clone().unwrap_or_default();
        match self.platform.invoke(&function.name, invocation).await {
            Ok(answer) => Ok(answer),
            Err(refusal @ Refusal::CannotStart { .. }) => {
                // There is no report of what did not run.
                let (_, report) = tokio::sync::oneshot::channel();
                let body = crate::invocation::AnswerBody::Error(cannot_start(&request_id, &refusal));
                Ok(Answer {
                    request_id,
                    body,
                    report,
                })
            }
            Err(
                refusal @ (Refusal::UnknownFunction(_)
                | Refusal::Throttled { .. }
                | Refusal::TooLarge { .. }
                | Refusal::ShuttingDown),
            ) => Err(refusal.into()),
        }
    }
}

impl<'a> Call<'a> {
    fn of(request: &'a Parts) -> Result<Self, ApiError> {
        let path = request.uri.path();
        let (is_streaming, rest) = match (path.strip_prefix(FUNCTIONS), path.strip_prefix(STREAMING_FUNCTIONS)) {
            (Some(rest), _) => (false, rest),
            (None, rest) => (true, rest.unwrap_or_default()),
        };
        let segments: Vec<_> = rest.trim_start_matches('/').split('/').collect();
        match (&request.method, is_streaming, segments.as_slice()) {
            (&Method::GET, false, [""]) => Ok(Self::List),
            (&Method::GET, false, [name]) => Ok(Self::Get(name)),
            (&Method::GET, false, [name, "configuration"]) => Ok(Self::GetConfiguration(name)),
            (&Method::POST, false, [name, "invocations"]) => Ok(Self::Invoke(name)),
            (&Method::POST, true, [name, "response-streaming-invocations"]) => Ok(Self::InvokeWithStream(name)),
            (method, _, _) => Err(ApiError::unknown_operation(method, path)),
        }
    }
}

/// What a caller is told about a runtime that could not be started: on Lambda, that is the function's error.
fn cannot_start(request_id: &str, refusal: &Refusal) -> Bytes {
    error_body(
        "Runtime.InvalidEntrypoint",
        &format!("RequestId: {request_id} Error: {refusal}"),
    )
}

/// The body cannot be read, so the connection is of no more use.
fn unread(error: ReadError) -> Response {
    let error = match error {
        ReadError::TooLarge { .. } => ApiError::new(Code::RequestTooLarge, request::too_large_message()),
        ReadError::BrokenOff => ApiError::new(
            Code::InvalidRequestContent,
            format!("Could not read the request: {error}"),
        ),
    };
    let mut response = error.response();
    insert(&mut response, CONNECTION, "close");
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Adds a header, if its value can be one.
fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, path: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(path);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn calls_are_known_by_their_paths() {
        for (method, path, call) in [
            ("GET", "/2015-03-31/functions", Call::List),
            ("GET", "/2015-03-31/functions/?MaxItems=1", Call::List),
            ("GET", "/2015-03-31/functions/a", Call::Get("a")),
            (
                "GET",
                "/2015-03-31/functions/a/configuration",
                Call::GetConfiguration("a"),
            ),
            ("POST", "/2015-03-31/functions/a%3Ab/invocations", Call::Invoke("a%3Ab")),
            (
                "POST",
                "/2021-11-15/functions/a/response-streaming-invocations?Qualifier=1",
                Call::InvokeWithStream("a"),
            ),
        ] {
            let parts = parts(method, path);
            assert!(InvokeApi::takes(&parts), "{path}");
            assert_eq!(Call::of(&parts).unwrap(), call, "{path}");
        }
    }

    #[test]
    fn other_calls_are_refused() {
        for (method, path) in [
            ("GET", "/2015-03-31/functions/a/invocations"),
            ("POST", "/2015-03-31/functions"),
            ("DELETE", "/2015-03-31/functions/a"),
            ("POST", "/2021-11-15/functions/a/invocations"),
            ("GET", "/2021-11-15/functions"),
            ("POST", "/2015-03-31/functions/a/b/invocations"),
        ] {
            let error = Call::of(&parts(method, path)).unwrap_err();
            assert_eq!(error.code(), Code::UnknownOperation, "{method} {path}");
        }
    }

    #[test]
    fn requests_of_others_are_not_taken() {
        for path in [
            "/",
            "/2015-03-31/functionsx",
            "/2015-03-31",
            "/000000000000/orders",
            "/_page/journal",
        ] {
            assert!(!InvokeApi::takes(&parts("GET", path)), "{path}");
        }
    }
}
