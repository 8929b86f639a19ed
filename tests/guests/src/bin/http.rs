//! Answers HTTP requests with a description of them, with the response that the body describes, or, by path, wrongly.
//!
//! Bytes are strings of Latin-1 characters in both directions. A body such as
//! `{"respond": {"status": 200, "headers": [["name", "value"]], "body": ""}}` is answered with just that.

use std::io::{ErrorKind, Read, Result, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};

wasip2::http::proxy::export!(Server);

struct Server;

type Header = (String, Vec<u8>);

/// In nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// How many requests this instance has seen.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl wasip2::exports::http::incoming_handler::Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let target = request.path_with_query().unwrap_or_default();
        match target.as_str() {
            "/panic" => panic!("before the response"),
            "/panic-in-body" => {
                let body = begin(out, 200, &[]);
                write(&body, b"the beginning").expect("the response is wanted");
                panic!("in the body");
            }
            "/panic-at-end" => {
                answer(out, 200, &[], b"all of it");
                panic!("after the response");
            }
            "/spin-in-body" => {
                let body = begin(out, 200, &[]);
                write(&body, b"the beginning").expect("the response is wanted");
                loop {
                    std::hint::spin_loop();
                }
            }
            "/wait-in-body" => {
                let body = begin(out, 200, &[]);
                write(&body, b"the beginning").expect("the response is wanted");
                monotonic_clock::subscribe_duration(HOUR).block();
            }
            "/exit" => std::process::exit(3),
            "/exit-at-end" => {
                answer(out, 200, &[], b"all of it");
                std::process::exit(3);
            }
            "/no-response" => {}
            "/error-code" => ResponseOutparam::set(out, Err(ErrorCode::ConfigurationError)),
            "/drop-body" => {
                let body = begin(out, 200, &[]);
                write(&body, b"the beginning").expect("the response is wanted");
            }
            "/forget-body" => {
                let body = begin(out, 200, &[]);
                write(&body, b"all of it").expect("the response is wanted");
                std::mem::forget(body);
            }
            "/forget-stream" => {
                let body = begin(out, 200, &[]);
                let mut stream = body.write().expect("it is taken once");
                stream.write_all(b"all of it").expect("the response is wanted");
                std::mem::forget((stream, body));
            }
            "/no-body" => ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new()))),
            "/inject" => inject(out),
            "/lengths" => {
                let fields = Fields::new();
                let appended = ["5", "6"].map(|length| fields.append("content-length", length.as_bytes()).is_ok());
                answer(out, 200, &[], json!(appended).to_string().as_bytes());
            }
            "/headers" => {
                let headers: Vec<Header> = (0..2_000).map(|index| (format!("x-{index}"), b"y".to_vec())).collect();
                answer(out, 200, &headers, b"");
            }
            "/large" => {
                let body = begin(out, 200, &[]);
                write(&body, &vec![b'a'; 7_000_000]).expect("the response is wanted");
                OutgoingBody::finish(body, None).expect("the response is wanted");
            }
            _ => describe_or_obey(&request, &target, out),
        }
    }
}

/// What an attacker would write into a header if they could, and how the attempts end.
fn inject(out: ResponseOutparam) {
    let fields = Fields::new();
    let attempts = [
        fields.append("x-a", b"1\r\nset-cookie: stolen=1"),
        fields.append("x-a: 1\r\nset-cookie", b"stolen=1"),
        fields.append("x-a", b"1\n2"),
        fields.append("x-a", b"1\0"),
        fields.append("", b"1"),
    ];
    let outcomes: Vec<_> = attempts
        .into_iter()
        .map(|attempt| attempt.map_or_else(|error| error.to_string(), |()| "taken".to_owned()))
        .collect();
    answer(out, 200, &[], json!(outcomes).to_string().as_bytes());
}

fn describe_or_obey(request: &IncomingRequest, target: &str, out: ResponseOutparam) {
    let body = read(request);
    let order = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let response = &order["respond"];
    if response.is_object() {
        let status = response["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let headers: Vec<Header> = response["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|header| (text(&header[0]).to_owned(), bytes(text(&header[1]))))
            .collect();
        let status = status.expect("a response has a status");
        answer(out, status, &headers, &bytes(text(&response["body"])));
        return;
    }
    let headers = request.headers().entries().into_iter();
    let description = json!({
        "method": method(request.method()),
        "scheme": request.scheme().map(scheme),
        "authority": request.authority(),
        "path_with_query": target,
        "headers": headers.map(|(name, value)| json!([name, latin_1(&value)])).collect::<Vec<_>>(),
        "body": latin_1(&body),
        "count": COUNT.load(Ordering::Relaxed),
    });
    let json_type = ("content-type".to_owned(), b"application/json".to_vec());
    answer(out, 200, &[json_type], description.to_string().as_bytes());
}

/// A whole response. What the interface refuses of it is left out, and a body that is not wanted is no failure.
fn answer(out: ResponseOutparam, status: u16, headers: &[Header], content: &[u8]) {
    let body = begin(out, status, headers);
    if write(&body, content).is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn begin(out: ResponseOutparam, status: u16, headers: &[Header]) -> OutgoingBody {
    let fields = Fields::new();
    for (name, value) in headers {
        if let Err(error) = fields.append(name, value) {
            eprintln!("{name}: {error}");
        }
    }
    let response = OutgoingResponse::new(fields);
    if response.set_status_code(status).is_err() {
        eprintln!("{status} is no status");
    }
    let body = response.body().expect("it is taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn write(body: &OutgoingBody, content: &[u8]) -> Result<()> {
    body.write().expect("it is taken once").write_all(content)
}

fn read(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("it is taken once");
    let mut stream = body.stream().expect("it is taken once");
    let mut content = Vec::new();
    match stream.read_to_end(&mut content) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => panic!("the request's body broke off: {error}"),
        Ok(_) | Err(_) => content,
    }
}

fn method(method: Method) -> String {
    if let Method::Other(name) = method {
        return name;
    }
    format!("{method:?}").trim_start_matches("Method::").to_uppercase()
}

fn scheme(scheme: Scheme) -> String {
    if let Scheme::Other(name) = scheme {
        return name;
    }
    format!("{scheme:?}").trim_start_matches("Scheme::").to_lowercase()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn bytes(latin_1: &str) -> Vec<u8> {
    latin_1
        .chars()
        .map(|character| u8::try_from(character).expect("bytes come as Latin-1"))
        .collect()
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn main() {}
