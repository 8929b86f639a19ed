//! Which front door an event came through, decided by discriminators (contract §10.1).

use std::borrow::Cow;

use bytes::Bytes;

use super::json::{Object, Value};
use super::pass_through::DEFAULT_PASS_THROUGH_PATH;
use super::target::escape_path;

/// A front door that turns HTTP into events. It decides how an event is read and in which form it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// API Gateway REST API, Lambda proxy integration.
    RestApi,
    /// API Gateway HTTP API, payload format 1.0.
    HttpApi1,
    /// API Gateway HTTP API, payload format 2.0.
    HttpApi2,
    /// Lambda function URL.
    FunctionUrl,
    /// Application Load Balancer.
    Alb {
        /// Whether the target group has multi-value headers enabled.
        multi_value: bool,
    },
    /// API Gateway WebSocket API: no HTTP request, but the answer is an envelope.
    WebSocket,
    /// VPC Lattice, event structure version 1.
    VpcLattice1,
    /// VPC Lattice, event structure version 2.
    VpcLattice2,
}

/// An event that came through a [`Source`], parsed as far as needed.
#[derive(Debug)]
pub struct HttpEvent<'a> {
    pub(super) source: Source,
    pub(super) bytes: &'a Bytes,
    pub(super) event: Object<'a>,
    pub(super) context: Option<Object<'a>>,
    pub(super) context_value: Option<Value<'a>>,
    method: Cow<'a, str>,
    path: String,
}

impl<'a> HttpEvent<'a> {
    /// `None` if the payload did not come through one of the front doors (contract §10.1, statement 99): not JSON,
    /// another event, or the question of an API to its Lambda authorizer, which looks like a request and is answered
    /// with a policy.
    ///
    /// Members that are missing, `null`, unknown or of an unexpected type never fail the event.
    pub fn recognise(bytes: &'a Bytes) -> Option<Self> {
        let event = Object::parse(std::str::from_utf8(bytes).ok()?)?;
        let context_value = event.get("requestContext");
        let context = context_value.and_then(Value::object);
        let source = Source::of(&event, context.as_ref())?;
        let (method, path) = method_and_path(source, &event, context.as_ref());
        Some(Self {
            source,
            bytes,
            event,
            context,
            context_value,
            method: method.unwrap_or(Cow::Borrowed("GET")),
            path: escape_path(&path.unwrap_or_default()),
        })
    }

    /// Where it came from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The method as the client sent it, which may be no valid one; `GET` if the event names none, `POST` for WebSocket
    /// events.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, percent-encoded, before any stage or base path is stripped; begins with `/`. For WebSocket events
    /// [`DEFAULT_PASS_THROUGH_PATH`].
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A member of the event's `requestContext`, as text.
    pub(super) fn context_text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.context.as_ref()?.text(name)
    }
}

impl Source {
    fn of(event: &Object<'_>, context: Option<&Object<'_>>) -> Option<Self> {
        if is_question_to_an_authorizer(event) {
            return None;
        }
        if let Some(context) = context {
            if context.object("elb").is_some() {
                let multi_value = is_multi_value(event);
                return Some(Self::Alb { multi_value });
            }
            let version = event.text("version");
            let is_version_2 = version.as_deref() == Some("2.0");
            if is_version_2 && context.get("http").is_some_and(Value::is_object) {
                let domain = context.text("domainName").unwrap_or_default();
                return Some(if domain.contains(".lambda-url.") {
                    Self::FunctionUrl
                } else {
                    Self::HttpApi2
                });
            }
            if context.get("connectionId").is_some() && context.get("eventType").is_some() {
                return Some(Self::WebSocket);
            }
            let has_resource = event.get("resource").is_some() || context.get("resourcePath").is_some();
            if event.text("httpMethod").is_some() && has_resource {
                let is_http_api = version.as_deref() == Some("1.0");
                return Some(if is_http_api { Self::HttpApi1 } else { Self::RestApi });
            }
            if is_version_2 && context.get("targetGroupArn").is_some() {
                return Some(Self::VpcLattice2);
            }
        }
        (event.text("raw_path").is_some() && event.text("method").is_some()).then_some(Self::VpcLattice1)
    }
}

/// API Gateway's requests to authorizers say so, and name what is to be authorized.
fn is_question_to_an_authorizer(event: &Object<'_>) -> bool {
    event
        .text("type")
        .is_some_and(|kind| kind == "REQUEST" || kind == "TOKEN")
        && (event.get("methodArn").is_some() || event.get("routeArn").is_some())
}

/// An ALB sends one of the two maps. Test events, written by hand, may have both or an empty one.
fn is_multi_value(event: &Object<'_>) -> bool {
    match event.object("multiValueHeaders") {
        Some(map) => !map.is_empty() || event.object("headers").is_none(),
        None => false,
    }
}

type MethodAndPath<'a> = (Option<Cow<'a, str>>, Option<Cow<'a, str>>);

fn method_and_path<'a>(source: Source, event: &Object<'a>, context: Option<&Object<'a>>) -> MethodAndPath<'a> {
    match source {
        Source::RestApi | Source::HttpApi1 | Source::Alb { .. } => (event.text("httpMethod"), event.text("path")),
        Source::HttpApi2 | Source::FunctionUrl => {
            let http = context.and_then(|context| context.object("http"));
            let of_http = |name| http.as_ref().and_then(|http| http.text(name));
            (of_http("method"), event.text("rawPath").or_else(|| of_http("path")))
        }
        Source::WebSocket => (Some("POST".into()), Some(DEFAULT_PASS_THROUGH_PATH.into())),
        Source::VpcLattice1 => (event.text("method"), event.text("raw_path").map(without_query)),
        Source::VpcLattice2 => (event.text("method"), event.text("path").map(without_query)),
    }
}

/// VPC Lattice documents a path and sends the query with it.
fn without_query(path: Cow<'_, str>) -> Cow<'_, str> {
    match path.split_once('?') {
        Some((path, _)) => Cow::Owned(path.to_owned()),
        None => path,
    }
}
