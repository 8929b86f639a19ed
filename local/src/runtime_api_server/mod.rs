//! The Runtime API of one execution environment, as the runtime inside sees it (runtime contract §1 and §9).
//!
//! This file is the wire: paths, statuses and bodies. What may happen when is [`session`]'s to say.

mod session;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::invocation::{
    MAX_PAYLOAD_BYTES, MAX_STREAM_BYTES, ResponseStream, StreamEnd, error_body, too_large_message,
};
pub(crate) use session::{Delivery, Mode, Outcome, Session, Standing};
use session::{Pen, Refusal};

/// What is read of a body before it is refused; above Lambda's limit, so that a body just above it is read to its end.
const MAX_BODY_BYTES: usize = 64 << 20;
/// The pieces of a stream that wait for the caller to take them.
const CHUNKS_IN_FLIGHT: usize = 2;

const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const EXTENSION_NAME: &str = "lambda-extension-name";
const EXTENSION_IDENTIFIER: &str = "lambda-extension-identifier";

/// A running server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) session: Arc<Session>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on a free port of the loopback interface. `function` is what an extension is told of the function, in JSON.
pub(crate) fn serve(mode: Mode, function: serde_json::Value) -> std::io::Result<Server> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let session = Arc::new(Session::new(mode, function));
    let served = Arc::clone(&session);
    let task = tokio::spawn(async move {
        // The connections end with the server.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let session = Arc::clone(&served);
            let service = service_fn(move |request| {
                let session = Arc::clone(&session);
                async move { Ok::<_, Infallible>(answer(&session, request).await) }
            });
            let _ = stream.set_nodelay(true);
            // A connection that breaks is the runtime's to mend.
            connections
                .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Server { address, session, task })
}

type Reply = Response<Full<Bytes>>;

async fn answer(session: &Session, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let reply = match segments.as_slice() {
        ["2018-06-01", "ping"] => Ok(Response::new(Full::from("pong"))),
        ["2018-06-01", "runtime", rest @ ..] => runtime(session, rest, request).await,
        ["2020-01-01", "extension", rest @ ..] => extension(session, rest, request).await,
        ["2022-07-01", "telemetry"] => Ok(not_supported("Telemetry")),
        ["2020-08-15", "logs"] => Ok(not_supported("Logs")),
        _ => Ok(unknown_path()),
    };
    reply.unwrap_or_else(refused)
}

async fn runtime(session: &Session, path: &[&str], request: Request<Incoming>) -> Result<Reply, Refusal> {
    match (request.method(), path) {
        (&Method::GET, ["invocation", "next"]) => session.next().await.map(|delivery| event(&delivery)),
        (&Method::POST, ["init", "error"]) => {
            let error_type = error_type(request.headers());
            let body = read(request.into_body()).await?;
            session.fail_init(error_type, body)?;
            Ok(accepted())
        }
        (&Method::POST, ["invocation", id, "response"]) => {
            let pen = session.begin_answer(id, invocation_id(request.headers()))?;
            match request.headers().get(RESPONSE_MODE).map(|mode| mode.as_bytes()) {
                None => respond(pen, request.into_body()).await,
                Some(mode) if mode.eq_ignore_ascii_case(b"streaming") => stream(pen, request).await,
                Some(_) => Err(pen.refuse_mode()),
            }
        }
        (&Method::POST, ["invocation", id, "error"]) => {
            let pen = session.begin_answer(id, invocation_id(request.headers()))?;
            match read(request.into_body()).await {
                Ok(body) => {
                    pen.finish(Outcome::Error(body));
                    Ok(accepted())
                }
                Err(refusal) => Err(pen.broken_off(refusal)),
            }
        }
        (_, ["invocation", "next"]) => Ok(wrong_method("GET")),
        (_, ["init", "error"] | ["invocation", _, "response" | "error"]) => Ok(wrong_method("POST")),
        _ => Ok(unknown_path()),
    }
}

async fn respond(pen: Pen<'_>, body: Incoming) -> Result<Reply, Refusal> {
    match read(body).await {
        Ok(body) if body.len() > MAX_PAYLOAD_BYTES => {
            pen.finish(Outcome::Error(error_body(
                "Function.ResponseSizeTooLarge",
                &too_large_message(),
            )));
            Err(Refusal::TooLarge)
        }
        Ok(body) => {
            pen.finish(Outcome::Response(body));
            Ok(accepted())
        }
        Err(refusal) => Err(pen.broken_off(refusal)),
    }
}

/// Passes the pieces of a response on as they come, and reads how it ended from the trailers (runtime contract §3.2).
async fn stream(pen: Pen<'_>, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (pieces, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let (ended, end) = oneshot::channel();
    let upload = pen.stream(ResponseStream {
        content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        chunks,
        end,
    });
    let mut body = request.into_body();
    let mut sent: u64 = 0;
    // A caller that has left does not stop the function, so nobody may be listening to the pieces or to the end.
    let (end, reply) = loop {
        let frame = match body.frame().await {
            None => break (StreamEnd::Complete, Ok(accepted())),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                let error = error_body("Runtime.TruncatedResponse", "the response broke off");
                let _ = ended.send(StreamEnd::Failed(error));
                return Err(upload.broken_off());
            }
        };
        match frame.into_data() {
            Ok(data) => {
                sent += data.len() as u64;
                if sent > MAX_STREAM_BYTES {
                    let error = error_body(
                        "Function.ResponseSizeTooLarge",
                        "a streamed response has at most 200 MiB",
                    );
                    break (StreamEnd::Failed(error), Err(Refusal::TooLarge));
                }
                let _ = pieces.send(data).await;
            }
            Err(frame) => {
                if let Some(error) = frame.trailers_ref().and_then(stream_error) {
                    break (StreamEnd::Failed(error), Ok(accepted()));
                }
            }
        }
    };
    let _ = ended.send(end);
    upload.finish();
    reply
}

/// The error in the trailers of a stream that failed.
fn stream_error(trailers: &HeaderMap) -> Option<Bytes> {
    let body = trailers.get(ERROR_BODY).map(|body| BASE64_STANDARD.decode(body));
    match (body, trailers.get(ERROR_TYPE)) {
        (Some(Ok(body)), _) => Some(body.into()),
        (Some(Err(_)), _) => Some(error_body("Runtime.Unknown", "the stream's error is not base64")),
        (None, Some(_)) => Some(error_body(&error_type(trailers), "the stream failed")),
        (None, None) => None,
    }
}

async fn extension(session: &Session, path: &[&str], request: Request<Incoming>) -> Result<Reply, Refusal> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let identifier = header(EXTENSION_IDENTIFIER);
    match (request.method(), path) {
        (&Method::POST, ["register"]) => {
            let name = header(EXTENSION_NAME).unwrap_or_default();
            let body = read(request.into_body()).await?;
            let identifier = session.register(&name, &body)?;
            let mut reply = json(StatusCode::OK, &session.function().to_string());
            if let Ok(identifier) = identifier.parse() {
                reply.headers_mut().insert(EXTENSION_IDENTIFIER, identifier);
            }
            Ok(reply)
        }
        (&Method::GET, ["event", "next"]) => {
            let event = session.next_for_extension(identifier.as_deref()).await?;
            Ok(json(StatusCode::OK, &event))
        }
        (&Method::POST, ["init" | "exit", "error"]) => {
            session.know_extension(identifier.as_deref())?;
            Ok(accepted())
        }
        _ => Ok(unknown_path()),
    }
}

fn event(delivery: &Delivery) -> Reply {
    let mut builder = Response::builder()
        .header("Content-Type", &delivery.content_type)
        .header("Lambda-Runtime-Aws-Request-Id", &delivery.request_id)
        .header("Lambda-Runtime-Invocation-Id", &delivery.invocation_id)
        .header("Lambda-Runtime-Deadline-Ms", delivery.deadline_ms.to_string())
        .header("Lambda-Runtime-Invoked-Function-Arn", &delivery.function_arn)
        .header("Lambda-Runtime-Trace-Id", &delivery.trace_id);
    if let Some(context) = &delivery.client_context {
        builder = builder.header("Lambda-Runtime-Client-Context", context.as_bytes());
    }
    if let Some(tenant_id) = &delivery.tenant_id {
        builder = builder.header("Lambda-Runtime-Aws-Tenant-Id", tenant_id.as_bytes());
    }
    builder
        .body(Full::new(delivery.payload.clone()))
        .unwrap_or_else(|error| {
            let message = format!("a property of the event is no header value: {error}");
            error_reply(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", &message)
        })
}

fn invocation_id(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(INVOCATION_ID)?.as_bytes();
    (!value.is_empty()).then_some(value)
}

/// The error type as Lambda keeps it (runtime contract §4.2).
fn error_type(headers: &HeaderMap) -> String {
    let given = headers
        .get(ERROR_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match given.split_once('.') {
        Some(("Runtime" | "Function", reason)) if is_reason(reason) => given.to_owned(),
        Some(("Function", _)) => "Function.Unknown".to_owned(),
        Some(_) | None => "Runtime.Unknown".to_owned(),
    }
}

fn is_reason(reason: &str) -> bool {
    let mut letters = reason.chars();
    reason.len() >= 2
        && letters.next().is_some_and(|letter| letter.is_ascii_uppercase())
        && letters.all(|letter| letter.is_ascii_alphabetic())
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err(Refusal::BrokenOff),
    }
}

fn accepted() -> Reply {
    json(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n")
}

fn not_supported(api: &str) -> Reply {
    error_reply(
        StatusCode::ACCEPTED,
        &format!("{api}.NotSupported"),
        &format!("{api} API is not supported"),
    )
}

fn unknown_path() -> Reply {
    let mut reply = Response::new(Full::from("404 page not found\n"));
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

fn wrong_method(allowed: &'static str) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    reply
        .headers_mut()
        .insert(http::header::ALLOW, http::HeaderValue::from_static(allowed));
    reply
}

fn refused(refusal: Refusal) -> Reply {
    let status = match &refusal {
        Refusal::WrongState { .. } | Refusal::Extension { .. } => StatusCode::FORBIDDEN,
        Refusal::UnknownRequest | Refusal::WrongMode | Refusal::BrokenOff => StatusCode::BAD_REQUEST,
        Refusal::TooLate => StatusCode::GONE,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::ShuttingDown => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error_reply(status, refusal.error_type(), &refusal.to_string())
}

fn error_reply(status: StatusCode, error_type: &str, message: &str) -> Reply {
    let body = serde_json::json!({ "errorMessage": message, "errorType": error_type });
    json(status, &format!("{body}\n"))
}

fn json(status: StatusCode, body: &str) -> Reply {
    let mut reply = Response::new(Full::from(body.to_owned()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    reply
}
