//! SQS's JSON protocol, as much of it as a consumer speaks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::faults::Fate;
use super::history::What;
use super::messages::Given;
use super::{Shared, State};

/// How much longer an answer takes that is late.
const LATENESS: Duration = Duration::from_millis(300);
/// How long a request waits at most before it looks again, whatever it waits for.
const TICK: Duration = Duration::from_millis(50);

/// How far the time of a signature may be from the queue's.
const SIGNATURE_AGE: Duration = Duration::from_secs(300);

type Body = BoxBody<Bytes, io::Error>;

/// Serves the queue for ever.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&shared)));
    }
}

/// One connection, until it ends or the way is cut.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let answering = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&answering);
        async move {
            let mut response = answer(&shared, request).await?;
            let date = httpdate::fmt_http_date(shared.now());
            let date = HeaderValue::try_from(date).expect("dates are plain text");
            response.headers_mut().insert(DATE, date);
            Ok::<_, io::Error>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let cut = async {
        while !shared.is_cut.load(Ordering::Relaxed) {
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::select! {
        _ = connection => {}
        () = cut => {}
    }
}

/// # Errors
///
/// Where the fault is that there is no answer.
async fn answer(shared: &Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let action = target
        .and_then(|target| target.strip_prefix("AmazonSQS."))
        .unwrap_or_default()
        .to_owned();
    if let Err(code) = admit(shared, request.headers()) {
        shared.lock().refused_signatures += 1;
        return Ok(refused(StatusCode::FORBIDDEN, code));
    }
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let body: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
    // A consumer has to find its queue; what it does then may fail.
    let fate = match action.as_str() {
        "GetQueueAttributes" => Fate::Served,
        _ => shared.lock().dice.fate(&shared.settings.faults),
    };
    match fate {
        Fate::Refused => return Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure")),
        Fate::Throttled => return Ok(refused(StatusCode::BAD_REQUEST, "ThrottlingException")),
        Fate::Served | Fate::Unanswered | Fate::CutShort | Fate::Late => {}
    }
    let answer = match action.as_str() {
        "GetQueueAttributes" => attributes(shared),
        "ReceiveMessage" => receive(shared, &body).await,
        "DeleteMessageBatch" => delete(shared, &body),
        "ChangeMessageVisibilityBatch" => give_back(shared, &body),
        _ => return Ok(refused(StatusCode::BAD_REQUEST, "UnsupportedOperation")),
    };
    let answer = Bytes::from(answer.to_string());
    match fate {
        Fate::Unanswered => Err(io::ErrorKind::ConnectionReset.into()),
        Fate::CutShort => Ok(cut_short(&answer)),
        Fate::Late => {
            tokio::time::sleep(LATENESS).await;
            Ok(whole(StatusCode::OK, answer))
        }
        Fate::Served | Fate::Refused | Fate::Throttled => Ok(whole(StatusCode::OK, answer)),
    }
}

/// Whether it is signed with a valid access key, and now; else the code of the refusal.
fn admit(shared: &Shared, headers: &HeaderMap) -> Result<(), &'static str> {
    let now = shared.now();
    if !is_signed_about(now, headers) {
        return Err("RequestTimeTooSkewed");
    }
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|authorization| authorization.to_str().ok());
    let access_key = authorization
        .and_then(|authorization| authorization.split_once("Credential=")?.1.split_once('/'))
        .map(|(access_key, _)| access_key.to_owned())
        .ok_or("MissingAuthenticationToken")?;
    let end = access_key.strip_prefix("EXPIRES").and_then(|end| end.parse().ok());
    if end.is_some_and(|end| now >= SystemTime::UNIX_EPOCH + Duration::from_secs(end)) {
        return Err("ExpiredToken");
    }
    shared.lock().access_keys.insert(access_key);
    Ok(())
}

/// Whether the signature was made within five minutes of that time.
fn is_signed_about(now: SystemTime, headers: &HeaderMap) -> bool {
    let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok());
    // 20261128T081249Z is 2026-11-28T08:12:49Z in short.
    let signed = date
        .filter(|date| date.len() == 16 && date.is_ascii())
        .and_then(|date| {
            let (day, time) = (&date[..8], &date[9..15]);
            let (year, month, day) = (&day[..4], &day[4..6], &day[6..]);
            let (hour, minute, second) = (&time[..2], &time[2..4], &time[4..]);
            humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
        });
    signed.is_some_and(|signed| {
        let apart = now.duration_since(signed).unwrap_or_else(|error| error.duration());
        apart < SIGNATURE_AGE
    })
}

fn attributes(shared: &Shared) -> Value {
    json!({"Attributes": {
        "QueueArn": format!("arn:aws:sqs:us-east-1:000000000000:{}", shared.name()),
        "VisibilityTimeout": shared.settings.visibility.as_secs().to_string(),
    }})
}

async fn receive(shared: &Shared, request: &Value) -> Value {
    let most = request["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
    let wait = Duration::from_secs(request["WaitTimeSeconds"].as_u64().unwrap_or(0));
    let end = Instant::now() + wait;
    loop {
        let changed = shared.changed.notified();
        let (messages, timer) = {
            let mut state = shared.lock();
            (take(shared, &mut state, most), state.messages.next_timer())
        };
        let now = Instant::now();
        if !messages.is_empty() || now >= end {
            return match messages.is_empty() {
                true => json!({}),
                false => json!({"Messages": messages}),
            };
        }
        let next = timer.map_or(end, |timer| timer.min(end));
        // Whichever comes first.
        let _ = tokio::time::timeout(next.saturating_duration_since(now), changed).await;
    }
}

/// Messages as the answer has them.
fn take(shared: &Shared, state: &mut State, most: usize) -> Vec<Value> {
    let now = Instant::now();
    let is_doubled = most > 1 && state.dice.happens(shared.settings.faults.doubled);
    let doubled = is_doubled.then(|| state.messages.double(now)).flatten();
    let (mut given, died) = state.messages.receive(most - usize::from(is_doubled), now);
    died.into_iter().for_each(|died| state.history.add(What::Died(died.0)));
    given.extend(doubled);
    given.iter().map(|given| give(shared, state, given)).collect()
}

fn give(shared: &Shared, state: &mut State, given: &Given) -> Value {
    let message = state.messages.get(given.number).expect("it is given away");
    let mut body = message.body.clone();
    let md5 = md5_of(&body);
    let mut attributes = json!({"ApproximateReceiveCount": given.receives.to_string()});
    if shared.settings.is_fifo {
        attributes["MessageGroupId"] = json!(message.group);
    }
    let what = if state.dice.happens(shared.settings.faults.damaged) {
        body.push('!');
        What::Damaged(given.number, given.receives)
    } else {
        What::Received(given.number, given.receives)
    };
    state.history.add(what);
    json!({
        "MessageId": given.number.to_string(),
        "ReceiptHandle": BASE64_STANDARD.encode(given.receipt.to_string()),
        "Body": body,
        "MD5OfBody": md5,
        "Attributes": attributes,
    })
}

fn delete(shared: &Shared, request: &Value) -> Value {
    let mut state = shared.lock();
    let state = &mut *state;
    each(request, |receipt| {
        if state.dice.happens(shared.settings.faults.kept) {
            return Err(("InternalError", false));
        }
        let known = state.messages.number_of(receipt);
        let was_deleted = known.is_some_and(|number| state.messages.is_deleted(number));
        match (state.messages.delete(receipt, Instant::now()), known) {
            (Ok(_), _) if was_deleted => Ok(()),
            (Ok(number), _) => {
                state.history.add(What::Deleted(number));
                Ok(())
            }
            (Err(reason), Some(number)) => {
                state.history.add(What::DeleteRefused(number, reason));
                Err(("ReceiptHandleIsInvalid", true))
            }
            (Err(_), None) => Err(("ReceiptHandleIsInvalid", true)),
        }
    })
}

fn give_back(shared: &Shared, request: &Value) -> Value {
    let answer = {
        let mut state = shared.lock();
        each(request, |receipt| {
            let given_back = state.messages.give_back(receipt, Instant::now());
            given_back.map(|_| ()).map_err(|_| ("MessageNotInflight", true))
        })
    };
    shared.changed.notify_waiters();
    answer
}

/// Does something for each entry of a batch; what fails has a code, and whether it is the sender's fault.
fn each(request: &Value, mut act: impl FnMut(u64) -> Result<(), (&'static str, bool)>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in request["Entries"].as_array().into_iter().flatten() {
        let id = &entry["Id"];
        let handle = BASE64_STANDARD.decode(entry["ReceiptHandle"].as_str().unwrap_or_default());
        let receipt = handle
            .ok()
            .and_then(|handle| String::from_utf8(handle).ok()?.parse().ok());
        match act(receipt.unwrap_or_default()) {
            Ok(()) => successful.push(json!({"Id": id})),
            Err((code, is_the_senders)) => {
                failed.push(json!({"Id": id, "Code": code, "Message": code, "SenderFault": is_the_senders}));
            }
        }
    }
    json!({"Successful": successful, "Failed": failed})
}

fn md5_of(body: &str) -> String {
    use md5::{Digest as _, Md5};
    format!("{:x}", Md5::digest(body))
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    response(status, body)
}

/// Half of the answer, and then the end of the connection.
fn cut_short(body: &Bytes) -> Response<Body> {
    let half = Frame::data(body.slice(..body.len() / 2));
    let pieces = [Ok(half), Err(io::ErrorKind::ConnectionReset.into())];
    response(StatusCode::OK, StreamBody::new(stream::iter(pieces)).boxed())
}

fn refused(status: StatusCode, code: &str) -> Response<Body> {
    let body = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": code});
    whole(status, Bytes::from(body.to_string()))
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
