//! The Runtime API of one execution environment, as the runtime inside sees it (runtime contract §1).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// The largest answer Lambda takes, in bytes.
const MAX_RESPONSE_BYTES: usize = 6_291_556;
/// What is read of a body before it is refused; above Lambda's limit, so that the size can be told.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The trailer that holds the error of a stream, in base64.
const ERROR_BODY: &str = "lambda-runtime-function-error-body";

/// One event on its way to the runtime.
#[derive(Debug, Clone)]
pub struct Event {
    /// The request id.
    pub request_id: String,
    /// The payload.
    pub payload: Bytes,
    /// Lambda's timeout, counted from the delivery.
    pub timeout: Duration,
}

/// What the runtime made of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The body of `/response`.
    Response(Bytes),
    /// The body of `/error`.
    Error(Bytes),
    /// A streamed response that failed in the middle: what came before, and the error as the body of `/error` would be.
    Interrupted(Bytes, Bytes),
    /// A response beyond Lambda's limit, of so many bytes.
    TooLarge(usize),
}

/// An event and whom to tell about it.
pub(crate) struct Delivery {
    pub(crate) event: Event,
    /// Told when the runtime has taken the event, which is when its timeout begins.
    pub(crate) taken: oneshot::Sender<()>,
    /// Told what became of it.
    pub(crate) answered: oneshot::Sender<Answer>,
}

/// A running server. It ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) events: mpsc::Sender<Delivery>,
    /// Receives the body of `/init/error`; `None` once Init is over.
    pub(crate) init_error: Option<oneshot::Receiver<Bytes>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on a free port of the loopback interface.
pub(crate) async fn serve() -> std::io::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (events, queue) = mpsc::channel(1);
    let (init_error_sender, init_error) = oneshot::channel();
    let shared = Arc::new(Shared {
        queue: AsyncMutex::new(queue),
        running: Mutex::new(None),
        init_error: Mutex::new(Some(init_error_sender)),
    });
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.answer(request).await) }
            });
            let _ = stream.set_nodelay(true);
            // A connection that breaks is the runtime's to mend.
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(Server {
        address,
        events,
        init_error: Some(init_error),
        task,
    })
}

struct Shared {
    queue: AsyncMutex<mpsc::Receiver<Delivery>>,
    running: Mutex<Option<(Event, oneshot::Sender<Answer>)>>,
    /// Taken by the first `/next` as well: after that, Init cannot fail any more.
    init_error: Mutex<Option<oneshot::Sender<Bytes>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let Some(call) = path.strip_prefix("/2018-06-01/runtime/") else {
            return refusal(StatusCode::NOT_FOUND, "NotFound", "404 page not found");
        };
        match (request.method(), call.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["init", "error"]) => match read(request).await {
                Ok(body) => match lock(&self.init_error).take() {
                    // The receiver is gone only when nobody wants to know any more.
                    Some(sender) => {
                        let _ = sender.send(body);
                        accepted()
                    }
                    None => refusal(StatusCode::FORBIDDEN, "InvalidStateTransition", "Init is over"),
                },
                Err(response) => response,
            },
            (&Method::POST, ["invocation", id, kind @ ("response" | "error")]) => {
                let (id, is_error) = ((*id).to_owned(), *kind == "error");
                match read_with_error(request).await {
                    Ok((body, error)) => self.finish(&id, is_error, body, error),
                    Err(response) => response,
                }
            }
            _ => refusal(StatusCode::NOT_FOUND, "NotFound", "404 page not found"),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        lock(&self.init_error).take();
        // An event that was never answered is delivered again, as Lambda does.
        let unanswered = lock(&self.running).as_ref().map(|(event, _)| event.clone());
        let event = match unanswered {
            Some(event) => event,
            None => match self.queue.lock().await.recv().await {
                Some(Delivery { event, taken, answered }) => {
                    let _ = taken.send(());
                    *lock(&self.running) = Some((event.clone(), answered));
                    event
                }
                None => {
                    return refusal(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "InternalServerError",
                        "shutting down",
                    );
                }
            },
        };
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + event.timeout;
        Response::builder()
            .header("Content-Type", "application/json")
            .header("Lambda-Runtime-Aws-Request-Id", &event.request_id)
            .header("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string())
            .header(
                "Lambda-Runtime-Invoked-Function-Arn",
                "arn:aws:lambda:us-east-1:012345678912:function:function",
            )
            .body(Full::new(event.payload))
            .unwrap_or_else(|_| {
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalServerError",
                    "bad request id",
                )
            })
    }

    fn finish(&self, id: &str, is_error: bool, body: Bytes, error: Option<Bytes>) -> Response<Full<Bytes>> {
        let mut running = lock(&self.running);
        match running.take() {
            None => refusal(
                StatusCode::FORBIDDEN,
                "InvalidStateTransition",
                "no event is being answered",
            ),
            Some((event, sender)) if event.request_id != id => {
                *running = Some((event, sender));
                refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
            }
            Some((_, sender)) => {
                let size = body.len();
                let (answer, response) = if let Some(error) = error {
                    (Answer::Interrupted(body, error), accepted())
                } else if is_error {
                    (Answer::Error(body), accepted())
                } else if size > MAX_RESPONSE_BYTES {
                    let message = format!("Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).");
                    (
                        Answer::TooLarge(size),
                        refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message),
                    )
                } else {
                    (Answer::Response(body), accepted())
                };
                let _ = sender.send(answer);
                response
            }
        }
    }
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Response<Full<Bytes>>> {
    read_with_error(request).await.map(|(body, _)| body)
}

/// The body, and the error in the trailers that end a stream which failed (runtime contract §3.2).
async fn read_with_error(request: Request<Incoming>) -> Result<(Bytes, Option<Bytes>), Response<Full<Bytes>>> {
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => {
            let error = body.trailers().and_then(|trailers| trailers.get(ERROR_BODY));
            let error = error.and_then(|error| BASE64_STANDARD.decode(error).ok());
            Ok((body.to_bytes(), error.map(Bytes::from)))
        }
        Err(_) => Err(refusal(
            StatusCode::BAD_REQUEST,
            "TruncatedHTTPRequest",
            "the body broke off, or has no end",
        )),
    }
}

fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("{\"status\":\"OK\"}\n"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!(
        "{{\"errorMessage\":\"{message}\",\"errorType\":\"{error_type}\"}}\n"
    )));
    *response.status_mut() = status;
    response
}
