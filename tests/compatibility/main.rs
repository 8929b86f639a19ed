//! Components that were not written for Orlop, and what the stock `wasmtime` CLI makes of them: the host makes the
//! same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use orlop_tests::stock::{Response, StockServe, stock_run};
use orlop_tests::{Answer, Component, Event, FakeRuntimeApi, Host, Served, TaskRoot, foreign, guests, text};
use serde_json::{Value, json};

/// What a program is run with: its arguments, variables and stdin.
struct Run<'run> {
    arguments: &'run [&'run str],
    variables: &'run [(&'run str, &'run str)],
    stdin: &'run [u8],
}

/// A run with arguments and stdin alone.
const fn run<'run>(arguments: &'run [&'run str], stdin: &'run [u8]) -> Run<'run> {
    Run {
        arguments,
        variables: &[],
        stdin,
    }
}

/// What a server is asked.
struct Request<'request> {
    method: &'request str,
    target: &'request str,
    headers: &'request [(&'request str, &'request str)],
    body: &'request [u8],
}

const fn get(target: &str) -> Request<'_> {
    Request {
        method: "GET",
        target,
        headers: &[],
        body: b"",
    }
}

/// The requests for the site that is there in several languages; `tests/foreign/README.md` has its pages.
const SITE: &[Request<'_>] = &[
    get("/"),
    get("/none"),
    get("/bytes"),
    get("/cookies"),
    get("/echo"),
    Request {
        method: "POST",
        target: "/echo",
        headers: &[("content-type", "text/plain; charset=utf-8")],
        body: "h\u{e4}llo".as_bytes(),
    },
    Request {
        method: "POST",
        target: "/echo",
        headers: &[],
        body: b"\x00\xff\xfe",
    },
    Request {
        method: "HEAD",
        target: "/",
        headers: &[],
        body: b"",
    },
    Request {
        method: "DELETE",
        target: "/request",
        headers: &[("x-test-a", "1"), ("X-Test-B", "two words")],
        body: b"",
    },
    Request {
        method: "PROPFIND",
        target: "/request",
        headers: &[],
        body: b"",
    },
    Request {
        method: "PATCH",
        target: "/request",
        headers: &[("content-type", "x/y")],
        body: b"not read",
    },
    get("/request?a=1&b&c=%zz&a=2"),
    get("/request?q=%2F&x=a+b"),
    get("/request%3Fa"),
    get("/a%2Fb"),
    get("//request"),
    get("/%"),
    get("/status/204"),
    get("/status/304"),
    get("/status/418"),
    get("/status/599"),
];

#[test]
fn a_core_module_from_c_answers_alike() {
    program_answers_alike(
        foreign::c_upper(),
        &[
            run(&[], b"abc\xff\n"),
            run(&[], b""),
            run(&["3"], b"abc"),
            Run {
                arguments: &[],
                variables: &[("NAME", "x y")],
                stdin: b"abc",
            },
        ],
    );
}

#[test]
fn a_program_in_python_answers_alike() {
    program_answers_alike(
        foreign::python_command(),
        &[
            run(&[], b"b\na\n\xc3\xa4\n"),
            run(&[], b"\xff\n"),
            run(&[], b""),
            run(&[], b"b\nfail\n"),
        ],
    );
}

#[test]
fn a_program_on_wasi_0_3_answers_alike() {
    program_answers_alike(foreign::wasip3_command(), &[run(&[], b""), run(&[], b"{}")]);
}

#[test]
fn ripgrep_answers_alike() {
    program_answers_alike(
        foreign::ripgrep(),
        &[
            run(&["-n", "a$", "-"], b"alpha\nbeta\nb\n"),
            run(&["alpha", "-"], b"al\x00pha\nalpha\n"),
            run(&["--version"], b""),
            run(&["zzz", "-"], b"alpha\n"),
            run(&["(", "-"], b"alpha\n"),
        ],
    );
}

#[test]
fn htmlq_answers_alike() {
    let page = b"<p class=x>Hi <b>there</b></p><p>no</p>";
    program_answers_alike(
        foreign::htmlq(),
        &[
            run(&[".x"], page),
            run(&["--text", "b"], page),
            run(&["p"], b""),
            // It panics.
            run(&["!!"], page),
        ],
    );
}

#[test]
fn jsonxf_answers_alike() {
    program_answers_alike(
        foreign::jsonxf(),
        &[
            run(&[], br#"{"b":[1,{"c":null}]}"#),
            run(&["-m"], b"{ \"b\" : [ 1 ] }\n"),
            run(&["--nope"], b"{}"),
            run(&["-o", "/x"], b"{}"),
        ],
    );
}

#[test]
fn pulldown_cmark_answers_alike() {
    program_answers_alike(
        foreign::pulldown_cmark(),
        &[
            run(&[], b"# Hi\n\n*a*\n"),
            run(&["-T"], b"|a|\n|-|\n|1|\n"),
            run(&["/nosuch"], b""),
        ],
    );
}

#[test]
fn a_program_that_may_not_listen_is_told_so_alike() {
    program_answers_alike(foreign::wstd_tcp_echo_server(), &[run(&[], b"")]);
}

#[test]
fn a_program_that_imports_outgoing_http_runs_alike_until_it_uses_it() {
    // It prints its usage and never makes a request.
    program_answers_alike(foreign::wstd_http_client(), &[run(&["--help"], b""), run(&[], b"")]);
}

#[test]
fn a_site_in_python_answers_alike() {
    site_answers_alike(foreign::python_web(), SITE);
}

#[test]
fn a_site_in_javascript_answers_alike() {
    site_answers_alike(foreign::javascript_web(), SITE);
}

#[test]
fn a_site_on_wasi_0_3_answers_alike() {
    site_answers_alike(foreign::rust_web_03(), SITE);
}

#[test]
fn the_examples_of_wasip3_answer_alike() {
    site_answers_alike(foreign::wasip3_http(), SITE);
    site_answers_alike(foreign::wasip3_http_compat(), SITE);
}

#[test]
fn the_examples_of_wstd_answer_alike() {
    let status = |value| Request {
        method: "GET",
        target: "/response-status",
        headers: value,
        body: b"",
    };
    let echo = |target| Request {
        method: "POST",
        target,
        headers: &[("x-test", "1")],
        body: b"abc",
    };
    site_answers_alike(
        foreign::wstd_http_server(),
        &[
            get("/"),
            get("/?x=1"),
            get("//"),
            get("/nope"),
            get("/echo-headers"),
            echo("/echo"),
            echo("/echo-trailers"),
            status(&[("x-response-status", "418")]),
        ],
    );
    site_answers_alike(foreign::wstd_http_server_proxy(), &[get("/"), get("/nope")]);
}

#[test]
fn a_server_that_does_not_do_as_it_should_answers_or_fails_alike() {
    let answered = [
        "/forget-body",
        "/forget-stream",
        "/no-body",
        "/inject",
        "/lengths",
        "/panic-at-end",
        "/exit-at-end",
    ];
    site_answers_alike(guests::HTTP, &answered.map(get));
    let stock = StockServe::start(guests::HTTP, &[]);
    let served = Served::new(guests::HTTP);
    // Not `/panic-in-body`: there a client of `wasmtime serve` takes the beginning of the body for all of it.
    for path in ["/panic", "/exit", "/no-response", "/error-code", "/drop-body"] {
        // Here a client gets a 5xx, or a body that breaks off.
        let is_failure = stock
            .request("GET", path, &[], b"")
            .map_or(true, |response| response.status >= 500 || !response.is_whole);
        assert!(is_failure, "{path}");
        served.failure(path, function_url_event(&get(path)).to_string());
    }
}

#[test]
fn handlers_in_python_and_javascript_answer_and_fail() {
    for guest in [foreign::python_handler(), foreign::javascript_handler()] {
        let served = Served::new(guest);
        let answer = served.answer("request-1", r#"{"a": [1, "ä"]}"#);
        assert_eq!(answer, json!({ "event": { "a": [1, "ä"] }, "requestId": "request-1" }));
        let failure = served.failure("request-2", r#"{"fail": "not today"}"#);
        assert_eq!(text(&failure, "errorType"), "Refused");
        assert_eq!(text(&failure, "errorMessage"), "not today");
        served.answer("request-3", "{}");
    }
}

/// Stdout is the answer where the program succeeds; where it does not, an error has the last of stderr.
fn program_answers_alike(program: Component, runs: &[Run<'_>]) {
    for (index, run) in runs.iter().enumerate() {
        let stock = stock_run(program, run.arguments, run.stdin, run.variables);
        let (_task_root, lambda, _host) = serve(program, run);
        let answer = ask(&lambda, Event::new(format!("run-{index}"), run.stdin));
        let name = format!("{} {:?}", program.name(), run.arguments);
        assert_eq!(
            answer.is_error,
            !stock.status.success(),
            "{name}: {answer:?}, {stock:?}"
        );
        if answer.is_error {
            let message = text(&answer.json(), "errorMessage").to_owned();
            let last = last_line(&stock);
            assert!(message.contains(&last), "{name}: {message:?} without {last:?}");
        } else {
            assert_eq!(answer.body, stock.stdout, "{name}");
        }
    }
}

fn last_line(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // What `wasmtime` itself has to say of a trap follows on the program's own lines.
    let own = stderr.split("Error: failed to run main module").next().unwrap();
    // The host leaves Rust's advice on panics out.
    own.lines()
        .rfind(|line| !line.trim().is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE=1`"))
        .unwrap_or_default()
        .to_owned()
}

/// In the order in which they have to go.
fn serve(program: Component, run: &Run<'_>) -> (TaskRoot, FakeRuntimeApi, Host) {
    let name = program.name();
    // Plain strings are written alike in JSON and TOML.
    let manifest = format!("[functions.{name}]\nargs = {}\n", json!(run.arguments));
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with_compiled(program)
        .with_content("orlop.toml", manifest);
    let host = Host::bootstrap(&lambda)
        .task_root(&task_root)
        .handler(name)
        .function(512);
    let variables = run.variables.iter();
    let host = variables
        .fold(host, |host, (name, value)| host.env(name, value))
        .start();
    (task_root, lambda, host)
}

fn ask(lambda: &FakeRuntimeApi, event: Event) -> Answer {
    let id = event.id().to_owned();
    lambda.send(event);
    lambda.wait_for_answer(&id)
}

fn site_answers_alike(site: Component, requests: &[Request<'_>]) {
    let stock = StockServe::start(site, &[]);
    let served = Served::new(site);
    for (index, request) in requests.iter().enumerate() {
        let name = format!("{} {} {}", site.name(), request.method, request.target);
        let expected = stock.request(request.method, request.target, request.headers, request.body);
        let expected = expected.unwrap_or_else(|error| panic!("{name} under wasmtime: {error}"));
        let envelope = served.answer(&format!("request-{index}"), function_url_event(request).to_string());
        assert_eq!(visible(&envelope), of_stock(&expected), "{name}");
    }
}

/// The request as a Function URL would hand it on: the target as it was sent, the body in Base64.
fn function_url_event(request: &Request<'_>) -> Value {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let mut headers = json!({ "host": "example.org" });
    for (name, value) in request.headers {
        headers[name.to_lowercase()] = json!(value);
    }
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "domainName": "example.org",
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": BASE64.encode(request.body),
        "isBase64Encoded": true,
    })
}

/// What a client sees of an answer: status, the headers that are the component's business, cookies, body.
#[derive(Debug, PartialEq)]
struct Visible {
    status: u64,
    /// Values of the same name are joined, as the envelope has them.
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    body: Vec<u8>,
}

/// Set by the server, or by the front door in its place.
const OF_THE_SERVER: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];

fn of_stock(response: &Response) -> Visible {
    let mut headers = BTreeMap::<String, String>::new();
    let mut cookies = Vec::new();
    for (name, value) in &response.headers {
        let (name, value) = (name.to_lowercase(), String::from_utf8_lossy(value).into_owned());
        if name == "set-cookie" {
            cookies.push(value);
        } else if let Some(values) = headers.get_mut(&name) {
            *values += &format!(", {value}");
        } else if !OF_THE_SERVER.contains(&name.as_str()) {
            headers.insert(name, value);
        }
    }
    assert!(response.is_whole);
    Visible {
        status: response.status.into(),
        headers,
        cookies,
        body: response.body.clone(),
    }
}

fn visible(envelope: &Value) -> Visible {
    let body = envelope["body"].as_str().unwrap_or_default();
    let body = match envelope["isBase64Encoded"].as_bool() {
        Some(true) => BASE64.decode(body).unwrap(),
        Some(false) | None => body.as_bytes().to_vec(),
    };
    let headers: BTreeMap<_, _> = serde_json::from_value(envelope["headers"].clone()).unwrap();
    // A page that echoes its request's headers shows them.
    let is_of_lambda = |name: &String| name.starts_with("x-amzn-");
    Visible {
        status: envelope["statusCode"].as_u64().unwrap(),
        headers: headers.into_iter().filter(|(name, _)| !is_of_lambda(name)).collect(),
        cookies: serde_json::from_value(envelope["cookies"].clone()).unwrap_or_default(),
        body,
    }
}
