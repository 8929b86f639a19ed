//! What the API says when it refuses a call: the errors of Lambda's service model, as its REST-JSON protocol has them.

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use serde::Serialize;

use crate::function::{ACCOUNT, REGION};
use crate::invocation::Refusal;
use crate::server::{Response, respond};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A refused call. The function has not seen the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    code: Code,
    message: String,
}

/// The errors that are given here, under their names in Lambda's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidParameterValue,
    InvalidRequestContent,
    RequestTooLarge,
    ResourceNotFound,
    Service,
    /// All environments that the function may have are busy.
    TooManyInvocations,
    /// More events wait than are kept.
    TooManyEvents,
    UnknownOperation,
    Validation,
}

/// The body. Which of the two names the message has is different from error to error.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "Type")]
    whose_fault: &'static str,
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
    capital_message: Option<&'a str>,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameterValue | Self::InvalidRequestContent | Self::Validation => StatusCode::BAD_REQUEST,
            Self::ResourceNotFound | Self::UnknownOperation => StatusCode::NOT_FOUND,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyInvocations | Self::TooManyEvents => StatusCode::TOO_MANY_REQUESTS,
            Self::Service => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "InvalidParameterValueException",
            Self::InvalidRequestContent => "InvalidRequestContentException",
            Self::RequestTooLarge => "RequestTooLargeException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Service => "ServiceException",
            Self::TooManyInvocations | Self::TooManyEvents => "TooManyRequestsException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Validation => "ValidationException",
        }
    }

    /// Why a call was throttled.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::TooManyInvocations => Some("ReservedFunctionConcurrentInvocationLimitExceeded"),
            Self::TooManyEvents => Some("FunctionInvocationRateLimitExceeded"),
            Self::InvalidParameterValue
            | Self::InvalidRequestContent
            | Self::RequestTooLarge
            | Self::ResourceNotFound
            | Self::Service
            | Self::UnknownOperation
            | Self::Validation => None,
        }
    }
}

impl ApiError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn unknown_function(name: &str) -> Self {
        let message = format!("Function not found: arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
        Self::new(Code::ResourceNotFound, message)
    }

    pub(super) fn unknown_operation(method: &Method, path: &str) -> Self {
        let message = format!(
            "{method} {path} is no part of Lambda's API that is played here. There are Invoke, InvokeWithResponseStream, \
             ListFunctions, GetFunction and GetFunctionConfiguration."
        );
        Self::new(Code::UnknownOperation, message)
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn response(&self) -> Response {
        let Self { code, message } = self;
        // As in the service's model.
        let is_capital = matches!(code, Code::ResourceNotFound | Code::Service);
        let body = Body {
            whose_fault: if *code == Code::Service { "Service" } else { "User" },
            reason: code.reason(),
            message: (!is_capital).then_some(message),
            capital_message: is_capital.then_some(message),
        };
        let body = serde_json::to_vec(&body).expect("strings are JSON");
        let mut response = respond(code.status(), "application/json", body);
        let headers = response.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(code.name()));
        if code.reason().is_some() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let code = match refusal {
            Refusal::UnknownFunction(name) => return Self::unknown_function(&name),
            Refusal::Throttled { .. } => Code::TooManyInvocations,
            Refusal::TooLarge { .. } => Code::RequestTooLarge,
            Refusal::CannotStart { .. } | Refusal::ShuttingDown => Code::Service,
        };
        Self::new(code, message)
    }
}
