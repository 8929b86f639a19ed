//! The HTTP front: turns requests into events and answers into responses, as AWS's front doors do.
//!
//! ```text
//! request ─► limits ─► route ─► event ─► platform ─► answer ─► response
//! ```
//!
//! Events and responses are pure functions, one file per kind of front door.

mod failure;
mod function_url;
mod http_api;
mod load_balancer;
mod payload_2;
mod request;
mod response;
mod rest_api;
mod routes;
mod streamed;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Method};
use hyper::body::Body as _;
use serde_json::Value;

use crate::invocation::{Answer, AnswerBody, Invocation, MAX_PAYLOAD_BYTES, Refusal};
use crate::journal::What;
use crate::platform::Platform;
use crate::server::{self, ReadError, RequestBody};
use failure::Failure;
use request::RequestParts;
use response::Malformed;
pub use rest_api::RestApi;
pub use routes::Route;
use routes::{Match, Routes};
use streamed::{Door, NoStream};

/// The id of the API in events.
const API_ID: &str = "orlop00000";
/// The most bytes of a request line with its headers, and of the headers of a response (API Gateway guide, "Quotas").
const MAX_API_GATEWAY_HEADER_BYTES: usize = 10_240;
/// The most bytes of a request's body (API Gateway guide, "Quotas").
const MAX_API_GATEWAY_BODY_BYTES: usize = 10 << 20;
/// How many addresses a load balancer takes in `x-forwarded-for`.
const MAX_FORWARDED_ADDRESSES: usize = 30;

/// What stands in front of the function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP API of API Gateway with payload format 2.0.
    #[default]
    HttpApi,
    /// A REST API of API Gateway.
    RestApi(RestApi),
    /// A Function URL.
    FunctionUrl {
        /// Whether its invoke mode is `RESPONSE_STREAM`.
        streamed: bool,
    },
    /// An Application Load Balancer.
    LoadBalancer {
        /// Whether the target group has `lambda.multi_value_headers.enabled`.
        multi_value: bool,
    },
}

impl Kind {
    /// How long the front door waits for the function. Function URLs and load balancers wait as long as the function
    /// may take.
    fn timeout(&self) -> Option<Duration> {
        match self {
            Self::HttpApi => Some(Duration::from_secs(30)),
            Self::RestApi(RestApi { streamed: false, .. }) => Some(Duration::from_secs(29)),
            Self::RestApi(RestApi { streamed: true, .. }) => Some(Duration::from_secs(900)),
            Self::FunctionUrl { .. } | Self::LoadBalancer { .. } => None,
        }
    }

    fn max_body_bytes(&self) -> usize {
        match self {
            Self::HttpApi | Self::RestApi(_) => MAX_API_GATEWAY_BODY_BYTES,
            Self::FunctionUrl { .. } => MAX_PAYLOAD_BYTES,
            Self::LoadBalancer { .. } => load_balancer::MAX_BYTES,
        }
    }

    /// Function URLs and load balancers have no limit of their own below that of the server here.
    fn max_head_bytes(&self) -> Option<usize> {
        match self {
            Self::HttpApi | Self::RestApi(_) => Some(MAX_API_GATEWAY_HEADER_BYTES),
            Self::FunctionUrl { .. } | Self::LoadBalancer { .. } => None,
        }
    }

    /// What the front door adds to every response.
    fn add_ids(&self, request: &RequestParts, headers: &mut HeaderMap) {
        let mut add = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        match self {
            Self::HttpApi => add("apigw-requestid", &request.short_id),
            Self::RestApi(_) => {
                add("x-amzn-requestid", &request.request_id);
                add("x-amz-apigw-id", &request.short_id);
                add("x-amzn-trace-id", &request.header(&request::TRACE_ID));
            }
            Self::FunctionUrl { .. } => {
                add("x-amzn-requestid", &request.request_id);
                add("x-amzn-trace-id", &request.header(&request::TRACE_ID));
            }
            Self::LoadBalancer { .. } => {}
        }
    }
}

/// A front door. Clones are handles to one and the same.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    platform: Platform,
    function: String,
    kind: Kind,
    routes: Routes,
    timeout: Option<Duration>,
}

impl Gateway {
    /// A front door of this kind before a function. Routes count for APIs only; without any, the function gets every
    /// request.
    pub fn new(platform: Platform, function: String, kind: Kind, routes: Vec<Route>) -> Self {
        Self(Arc::new(Inner {
            platform,
            function,
            timeout: kind.timeout(),
            kind,
            routes: Routes::new(routes),
        }))
    }

    /// With another time for which an API waits for the function, as an integration's `timeoutInMillis` has it. API
    /// Gateway's own are 30 s for HTTP APIs, 29 s for REST APIs, and 15 min until the head of a streamed response.
    /// Other front doors have none.
    #[must_use]
    pub fn with_integration_timeout(self, timeout: Duration) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.timeout = inner.timeout.map(|_| timeout);
        Self(Arc::new(inner))
    }

    /// Answers one request.
    pub async fn answer(&self, request: server::Request) -> server::Response {
        let (head, body) = request.into_parts();
        let refused = refuse_head(&self.0.kind, &head);
        let mut request = RequestParts::new(head);
        let served = match refused {
            None => self.serve(&mut request, body).await,
            Some(failure) => Err(failure),
        };
        let mut response = served.unwrap_or_else(|failure| failure::response(&self.0.kind, failure).map(server::full));
        self.0.kind.add_ids(&request, response.headers_mut());
        if request.method == Method::HEAD && response.body().size_hint().exact().is_none() {
            // Nobody takes the pieces of a stream.
            response = response.map(|_| server::full(Bytes::new()));
        }
        response
    }

    async fn serve(&self, request: &mut RequestParts, body: RequestBody) -> Result<server::Response, Failure> {
        let Inner { kind, routes, .. } = &*self.0;
        let route = match kind {
            Kind::HttpApi => routes.of_http_api(&request.method, &request.path),
            Kind::RestApi(_) => routes.of_rest_api(&request.method, &request.path),
            Kind::FunctionUrl { .. } | Kind::LoadBalancer { .. } => Some(Match::default()),
        };
        let route = route.ok_or(Failure::NoRoute)?;
        let body = server::read(body, kind.max_body_bytes()).await;
        request.set_body(body.map_err(|error| match error {
            ReadError::TooLarge { .. } => Failure::BodyTooLarge,
            ReadError::BrokenOff => Failure::BadRequest,
        })?);
        let event = event(kind, request, &route);
        let answered = async { self.response(request, self.invoke(request, &event).await?).await };
        match self.0.timeout {
            None => answered.await,
            Some(timeout) => tokio::time::timeout(timeout, answered)
                .await
                .unwrap_or(Err(Failure::TimedOut)),
        }
    }

    async fn invoke(&self, request: &RequestParts, event: &Value) -> Result<AnswerBody, Failure> {
        let inner = Arc::clone(&self.0);
        let invocation = Invocation {
            payload: Bytes::from(event.to_string()),
            source: request.in_words(),
            request_id: match inner.kind {
                Kind::FunctionUrl { .. } => Some(request.request_id.clone()),
                Kind::HttpApi | Kind::RestApi(_) | Kind::LoadBalancer { .. } => None,
            },
            trace_id: Some(request.trace_id()),
            ..Invocation::default()
        };
        // A task of its own: a function goes on when its client, or the front door, no longer waits.
        let invoked = tokio::spawn(async move { inner.platform.invoke(&inner.function, invocation).await });
        match invoked.await {
            Ok(Ok(Answer { body, .. })) => Ok(body),
            Ok(Err(refusal)) => Err(self.refused(request, &refusal)),
            // It has panicked, which is told where it did.
            Err(_) => Err(Failure::Rejected),
        }
    }

    fn refused(&self, request: &RequestParts, refusal: &Refusal) -> Failure {
        let failure = match refusal {
            // The journal has it.
            Refusal::Throttled { .. } => return Failure::Throttled,
            Refusal::TooLarge { .. } => Failure::BodyTooLarge,
            Refusal::UnknownFunction(_) => Failure::Rejected,
            Refusal::CannotStart { .. } => Failure::Function,
            Refusal::ShuttingDown => Failure::ShuttingDown,
        };
        self.notice(request, &refusal.to_string());
        failure
    }

    async fn response(&self, request: &RequestParts, answer: AnswerBody) -> Result<server::Response, Failure> {
        match (&self.0.kind, answer) {
            (Kind::FunctionUrl { streamed: true }, AnswerBody::Response(answer)) => {
                Ok(function_url::unstreamed(answer).map(server::full))
            }
            (Kind::FunctionUrl { streamed: true }, AnswerBody::Stream(stream)) => {
                let response = streamed::response(Door::FunctionUrl, stream).await;
                response.map_err(|error| self.no_stream(request, &error, Failure::Function))
            }
            (Kind::RestApi(RestApi { streamed: true, .. }), AnswerBody::Stream(stream)) => {
                let response = streamed::response(Door::RestApi, stream).await;
                response.map_err(|error| self.no_stream(request, &error, Failure::Rejected))
            }
            (Kind::RestApi(RestApi { streamed: true, .. }), AnswerBody::Response(_)) => {
                Err(self.no_stream(request, &NoStream::Malformed(Malformed::NotStreamed), Failure::Rejected))
            }
            (_, answer) => self.whole_response(request, answer).await,
        }
    }

    async fn whole_response(&self, request: &RequestParts, answer: AnswerBody) -> Result<server::Response, Failure> {
        let answer = answer.collect().await.map_err(|_| Failure::Function)?;
        let response = match &self.0.kind {
            Kind::HttpApi => http_api::response(&answer),
            Kind::RestApi(api) => api.response(&answer, request),
            Kind::FunctionUrl { .. } => function_url::response(&answer),
            Kind::LoadBalancer { multi_value } => load_balancer::response(&answer, *multi_value),
        };
        match response {
            Ok(response) => Ok(response.map(server::full)),
            Err(malformed) => Err(self.malformed(request, &malformed)),
        }
    }

    fn no_stream(&self, request: &RequestParts, error: &NoStream, malformed: Failure) -> Failure {
        match error {
            NoStream::Failed => Failure::Function,
            NoStream::Malformed(reason) => {
                self.malformed(request, reason);
                malformed
            }
        }
    }

    fn malformed(&self, request: &RequestParts, malformed: &Malformed) -> Failure {
        self.notice(
            request,
            &format!("the function's answer is no HTTP response: {malformed}"),
        );
        Failure::Function
    }

    /// Tells the developer what the client does not hear.
    fn notice(&self, request: &RequestParts, text: &str) {
        let text = format!("{}: {text}", request.in_words());
        self.0.platform.journal().record(What::Notice { text });
    }
}

/// What is refused before the body is looked at.
fn refuse_head(kind: &Kind, head: &http::request::Parts) -> Option<Failure> {
    let is_load_balancer = matches!(kind, Kind::LoadBalancer { .. });
    if head.method == Method::CONNECT || (is_load_balancer && head.method == Method::TRACE) {
        return Some(Failure::MethodNotAllowed);
    }
    // Other upgrades are offers that a server may pass over.
    let is_web_socket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if head.headers.get_all(UPGRADE).iter().any(is_web_socket) {
        return Some(Failure::Upgrade);
    }
    if kind
        .max_head_bytes()
        .is_some_and(|limit| request::head_bytes(head) > limit)
    {
        return Some(Failure::HeadTooLarge);
    }
    (is_load_balancer && request::forwarded_addresses(&head.headers) > MAX_FORWARDED_ADDRESSES)
        .then_some(Failure::TooManyAddresses)
}

fn event(kind: &Kind, request: &RequestParts, route: &Match) -> Value {
    match kind {
        Kind::HttpApi => http_api::event(request, route),
        Kind::RestApi(api) => api.event(request, route),
        Kind::FunctionUrl { .. } => function_url::event(request),
        Kind::LoadBalancer { multi_value } => load_balancer::event(request, *multi_value),
    }
}
