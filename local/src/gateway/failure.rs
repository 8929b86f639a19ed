//! What each front door says where there is no answer of the function's to give.
//!
//! Sources: Lambda guide, "Handling Lambda errors with an API Gateway API" and "Creating and managing Lambda function
//! URLs"; API Gateway guide, "Gateway response types", "Create routes for HTTP APIs" and "Quotas"; ELB guide,
//! "Troubleshoot your Application Load Balancers" and "Use Lambda functions as targets"; runtime contract §4.5, of user
//! reports.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use http::{Response, StatusCode};

use super::{Kind, rest_api};

/// Why the function's answer is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No route fits.
    NoRoute,
    /// The function failed, could not be started, or gave an answer that the front door does not understand.
    Function,
    /// All environments are busy.
    Throttled,
    /// Lambda would not take the event for another reason.
    Rejected,
    /// The function takes longer than the front door waits.
    TimedOut,
    /// Request line and headers are too large.
    HeadTooLarge,
    /// The body, or the event made of it, is too large.
    BodyTooLarge,
    /// The body broke off.
    BadRequest,
    /// `CONNECT`, or what a load balancer does not take.
    MethodNotAllowed,
    /// The connection was to become a WebSocket.
    Upgrade,
    /// More than thirty addresses in `x-forwarded-for`.
    TooManyAddresses,
    /// The platform is going down.
    ShuttingDown,
}

/// The response of this kind of front door.
pub(super) fn response(kind: &Kind, failure: Failure) -> Response<Bytes> {
    let (status, message) = match kind {
        Kind::HttpApi => of_http_api(failure),
        Kind::RestApi(_) => of_rest_api(failure),
        Kind::FunctionUrl { .. } => of_function_url(failure),
        Kind::LoadBalancer { .. } => of_load_balancer(failure),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (content_type, body) = match kind {
        Kind::HttpApi => ("application/json", format!("{{\"message\":\"{message}\"}}")),
        Kind::RestApi(_) => ("application/json", format!("{{\"message\": \"{message}\"}}")),
        Kind::FunctionUrl { .. } => ("application/json", function_url_body(failure, message)),
        Kind::LoadBalancer { .. } => ("text/html", page(&format!("{} {message}", status.as_u16()))),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    match kind {
        Kind::RestApi(_) => {
            let error_type = HeaderValue::from_static(rest_api::error_type(status));
            headers.insert(HeaderName::from_static("x-amzn-errortype"), error_type);
        }
        Kind::LoadBalancer { .. } => {
            headers.insert(SERVER, HeaderValue::from_static("awselb/2.0"));
        }
        Kind::HttpApi | Kind::FunctionUrl { .. } => {}
    }
    if failure.leaves_a_body_unread() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Failure {
    fn leaves_a_body_unread(self) -> bool {
        match self {
            Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::BadRequest
            | Self::MethodNotAllowed
            | Self::Upgrade
            | Self::TooManyAddresses => true,
            Self::NoRoute | Self::Function | Self::Throttled | Self::Rejected | Self::TimedOut | Self::ShuttingDown => {
                false
            }
        }
    }
}

fn of_http_api(failure: Failure) -> (u16, &'static str) {
    match failure {
        Failure::NoRoute => (404, "Not Found"),
        // API Gateway takes throttled invocations for internal errors as well.
        Failure::Function | Failure::Throttled | Failure::Rejected => (500, "Internal Server Error"),
        Failure::TimedOut | Failure::ShuttingDown => (503, "Service Unavailable"),
        Failure::HeadTooLarge => (431, "Request Header Fields Too Large"),
        Failure::BodyTooLarge => (413, "Request Entity Too Large"),
        Failure::BadRequest | Failure::TooManyAddresses => (400, "Bad Request"),
        Failure::MethodNotAllowed => (405, "Method Not Allowed"),
        Failure::Upgrade => (501, "Not Implemented"),
    }
}

fn of_rest_api(failure: Failure) -> (u16, &'static str) {
    match failure {
        Failure::NoRoute => (403, "Missing Authentication Token"),
        Failure::Function => (502, "Internal server error"),
        Failure::Throttled | Failure::Rejected => (500, "Internal server error"),
        Failure::TimedOut => (504, "Endpoint request timed out"),
        Failure::ShuttingDown => (503, "Service Unavailable"),
        Failure::HeadTooLarge => (431, "HTTP header is larger than 10240 bytes."),
        Failure::BodyTooLarge => (413, "Request Too Long"),
        Failure::BadRequest | Failure::TooManyAddresses => (400, "Bad Request"),
        Failure::MethodNotAllowed => (405, "Method Not Allowed"),
        Failure::Upgrade => (501, "Not Implemented"),
    }
}

fn of_function_url(failure: Failure) -> (u16, &'static str) {
    match failure {
        Failure::NoRoute => (404, "Not Found"),
        Failure::Function => (502, "Internal Server Error"),
        Failure::Throttled => (429, "Rate Exceeded."),
        Failure::Rejected => (500, "Internal Server Error"),
        Failure::TimedOut => (504, "Gateway Timeout"),
        Failure::ShuttingDown => (503, "Service Unavailable"),
        Failure::HeadTooLarge => (431, "Request Header Fields Too Large"),
        Failure::BodyTooLarge => (413, "Request Entity Too Large"),
        Failure::BadRequest | Failure::TooManyAddresses => (400, "Bad Request"),
        Failure::MethodNotAllowed => (405, "Method Not Allowed"),
        Failure::Upgrade => (501, "Not Implemented"),
    }
}

fn of_load_balancer(failure: Failure) -> (u16, &'static str) {
    match failure {
        Failure::NoRoute => (404, "Not Found"),
        Failure::Function | Failure::Throttled | Failure::Rejected => (502, "Bad Gateway"),
        Failure::TimedOut => (504, "Gateway Time-out"),
        Failure::ShuttingDown => (503, "Service Temporarily Unavailable"),
        Failure::BodyTooLarge => (413, "Request Entity Too Large"),
        // Load balancers refuse upgrades in front of functions with 400.
        Failure::HeadTooLarge | Failure::BadRequest | Failure::Upgrade => (400, "Bad Request"),
        Failure::MethodNotAllowed => (405, "Not Allowed"),
        Failure::TooManyAddresses => (463, "Bad Request"),
    }
}

/// AWS documents the status of what is throttled, not its body; this is that of Lambda's other interfaces.
fn function_url_body(failure: Failure, message: &str) -> String {
    if failure == Failure::Function {
        message.to_owned()
    } else if failure == Failure::Throttled {
        let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
        format!("{{\"Reason\":\"{reason}\",\"Type\":\"User\",\"message\":\"{message}\"}}")
    } else {
        format!("{{\"Message\":\"{message}\"}}")
    }
}

/// The page that a load balancer sends.
fn page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         </body>\r\n</html>\r\n"
    )
}
