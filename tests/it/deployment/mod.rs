//! Many handlers in one image: which function takes an event, what each of them may do, and what becomes of events that
//! nobody takes.

mod handlers;
mod settings;

use std::fmt::Write as _;
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use orlop_tests::{Answer, Event, FakeRuntimeApi, Served, TaskRoot, examples, guests, text};
use serde_json::{Value, json};

const END: Duration = Duration::from_secs(5);

/// A running process of many functions.
struct Deployed(Served);

impl Deref for Deployed {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Deployed {
    fn new(task_root: TaskRoot) -> Self {
        Self::with(task_root, None, &[])
    }

    fn with(task_root: TaskRoot, handler: Option<&str>, variables: &[(&str, &str)]) -> Self {
        Self(Served::in_task_root(
            FakeRuntimeApi::start(),
            task_root,
            handler,
            variables,
        ))
    }

    fn ask(&self, id: &str, event: impl Into<Vec<u8>>) -> Answer {
        self.0.ask(Event::new(id, event))
    }

    /// The name that the chosen function has in its environment.
    #[track_caller]
    fn who_takes(&self, id: &str, event: &Value) -> String {
        let environment = self.answer(id, event.to_string());
        text(&environment, "WHO").to_owned()
    }

    /// The report of an Init that fails, when the process has ended.
    fn init_error(&self) -> Value {
        let report = self.lambda.wait_for_init_error();
        assert_eq!(self.host.wait_for_exit(END).code(), Some(1));
        report.json()
    }

    /// The names of the functions that were loaded, in order. One alone, and without routes, has no name.
    fn loaded(&self) -> Vec<String> {
        let ready = self.host.wait_for_log(|line| line.contains("\tready "));
        if ready.contains(" component=") {
            return Vec::new();
        }
        let names = self.host.log().into_iter().filter_map(|line| {
            let fields = line.split_once("\tloaded ")?.1;
            let name = fields.split(' ').find_map(|field| field.strip_prefix("function="))?;
            Some(name.to_owned())
        });
        names.collect()
    }
}

/// A task root with these components, compiled, and this `orlop.toml`.
fn task_root(components: &[orlop_tests::Component], manifest: &str) -> TaskRoot {
    let task_root = components.iter().fold(TaskRoot::new(), TaskRoot::with_compiled);
    task_root.with_content("orlop.toml", manifest)
}

/// Functions that answer with their environment, in which each has its name.
fn named_functions(names: &[&str]) -> String {
    names.iter().fold(String::new(), |mut manifest, name| {
        writeln!(
            manifest,
            "[functions.{name}]\ncomponent = 'environment'\nenvironment = {{ WHO = '{name}' }}"
        )
        .unwrap();
        manifest
    })
}

/// A request as API Gateway's HTTP API describes it.
fn http_event(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "a=1",
        "headers": { "host": "example.com" },
        "requestContext": { "http": { "method": method, "path": path, "sourceIp": "203.0.113.17" }, "stage": "$default" },
        "isBase64Encoded": false,
    })
}

fn queue_event(queue: &str) -> Value {
    let arn = format!("arn:aws:sqs:eu-central-1:123456789012:{queue}");
    json!({ "Records": [{ "messageId": "1", "body": "", "eventSource": "aws:sqs", "eventSourceARN": arn }] })
}

fn scheduled_event() -> Value {
    json!({ "detail-type": "Scheduled Event", "source": "aws.events", "resources": [], "detail": {} })
}

#[test]
fn routes_choose_by_method_and_path_queue_and_source_and_the_first_that_fits_wins() {
    let functions = named_functions(&["create", "read", "files", "orders", "queues", "clock", "buckets"]);
    let routes = r#"
        routes = [
            { method = "POST", path = "/orders", function = "create" },
            { method = ["GET", "HEAD"], path = "/orders/{id}", function = "read" },
            { path = "/files/{path+}", function = "files" },
            { arn = "arn:aws:sqs:*:*:orders", function = "orders" },
            { source = "aws:sqs", function = "queues" },
            { source = "aws.events", function = "clock" },
            { arn = "arn:aws:s3:::my-*", function = "buckets" },
        ]
    "#;
    let deployed = Deployed::new(task_root(&[guests::ENVIRONMENT], &format!("{routes}\n{functions}")));
    let bucket =
        json!({ "Records": [{ "eventSource": "aws:s3", "s3": { "bucket": { "arn": "arn:aws:s3:::my-site" } } }] });
    for (index, (event, function)) in [
        (http_event("POST", "/orders"), "create"),
        (http_event("GET", "/orders/7"), "read"),
        (http_event("HEAD", "/orders/7"), "read"),
        (http_event("PATCH", "/files/a/b"), "files"),
        (queue_event("orders"), "orders"),
        (queue_event("returns"), "queues"),
        (scheduled_event(), "clock"),
        (bucket, "buckets"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(
            deployed.who_takes(&format!("event-{index}"), event),
            *function,
            "{event}"
        );
    }
}

#[test]
fn an_http_event_that_no_route_takes_is_answered_with_404_and_the_next_event_is_served() {
    let manifest = named_functions(&["create", "queue"])
        + "[[routes]]\nmethod = 'POST'\npath = '/orders'\nfunction = 'create'\n\
           [[routes]]\nsource = 'aws:sqs'\nfunction = 'queue'\n";
    let deployed = Deployed::new(task_root(&[guests::ENVIRONMENT], &manifest));
    for (index, (method, path)) in [
        ("GET", "/orders"),
        ("POST", "/orders/"),
        ("POST", "/Orders"),
        ("POST", "/"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = deployed.answer(&format!("nowhere-{index}"), http_event(method, path).to_string());
        assert_eq!(answer["statusCode"], 404, "{method} {path}: {answer}");
        let body = text(&answer, "body");
        assert!(body.contains(&format!("{method} {path}")), "{answer}");
        let event = http_event("POST", "/orders");
        assert_eq!(deployed.who_takes(&format!("next-{index}"), &event), "create");
    }
    // For a load balancer the envelope is another one.
    let balanced = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:x:1:targetgroup/t/1" } },
        "httpMethod": "GET",
        "path": "/nowhere",
        "queryStringParameters": {},
        "headers": { "host": "example.com" },
        "body": "",
        "isBase64Encoded": false,
    });
    let answer = deployed.answer("balanced", balanced.to_string());
    assert_eq!(answer["statusCode"], 404, "{answer}");
    assert!(
        answer["statusDescription"]
            .as_str()
            .is_some_and(|text| text.starts_with("404")),
        "{answer}"
    );
}

#[test]
fn another_event_that_no_route_takes_is_an_error_that_names_it_and_the_next_event_is_served() {
    let manifest = named_functions(&["orders"]) + "[[routes]]\narn = 'arn:aws:sqs:*:*:orders'\nfunction = 'orders'\n";
    let deployed = Deployed::new(task_root(&[guests::ENVIRONMENT], &manifest));
    for (index, (event, named)) in [
        (
            queue_event("returns").to_string(),
            "arn:aws:sqs:eu-central-1:123456789012:returns",
        ),
        (scheduled_event().to_string(), "aws.events"),
        ("{}".to_owned(), "no source"),
        ("not json".to_owned(), "no source"),
        (String::new(), "no source"),
        // A client's header or body cannot make a queue's event of it.
        (
            json!({ "source": "aws:sqs", "eventSourceARN": "arn:aws:sqs:x:1:orders" }).to_string(),
            "no source",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = deployed.ask(&format!("nowhere-{index}"), event);
        assert!(answer.is_error, "{}", answer.text());
        assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.RouteNotFound"));
        let report = answer.json();
        assert_eq!(text(&report, "errorType"), "Runtime.RouteNotFound");
        assert!(text(&report, "errorMessage").contains(named), "{report}");
        assert_eq!(
            deployed.who_takes(&format!("next-{index}"), &queue_event("orders")),
            "orders"
        );
    }
    let posing = deployed.answer("posing", {
        let mut event = http_event("POST", "/");
        event["Records"] = queue_event("orders")["Records"].clone();
        event.to_string()
    });
    assert_eq!(posing["statusCode"], 404, "{posing}");
}

#[test]
fn an_event_that_is_too_large_to_be_read_says_so_whichever_functions_are_broken() {
    let manifest = "[functions.broken]\n".to_owned()
        + &named_functions(&["orders"])
        + "[[routes]]\nsource = 'aws.events'\nfunction = 'broken'\n\
           [[routes]]\nsource = 'aws:sqs'\nfunction = 'orders'\n";
    let variables = [("ORLOP_LIMIT_EVENT", "1KiB")];
    let deployed = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), None, &variables);
    let mut event = queue_event("orders");
    event["Records"][0]["body"] = "x".repeat(2000).into();
    let report = deployed.failure("large", event.to_string());
    assert_eq!(text(&report, "errorType"), "Runtime.UnmarshalError");
    assert!(text(&report, "errorMessage").contains("ORLOP_LIMIT_EVENT"), "{report}");
    assert_eq!(deployed.who_takes("next", &queue_event("orders")), "orders");
}

#[test]
fn a_404_is_streamed_where_answers_are() {
    let manifest = "[defaults]\nresponse-mode = 'streaming'\n".to_owned()
        + &named_functions(&["create"])
        + "[[routes]]\nmethod = 'POST'\npath = '/orders'\nfunction = 'create'\n";
    let deployed = Deployed::new(task_root(&[guests::ENVIRONMENT], &manifest));
    let answer = deployed.ask("nowhere", http_event("GET", "/orders").to_string());
    assert!(!answer.is_error, "{}", answer.text());
    assert_eq!(
        answer.header("lambda-runtime-function-response-mode").unwrap(),
        b"streaming"
    );
    let end = answer.body.windows(8).position(|bytes| bytes == [0; 8]).unwrap();
    let prelude: Value = serde_json::from_slice(&answer.body[..end]).unwrap();
    assert_eq!(prelude["statusCode"], 404, "{prelude}");
}

#[test]
fn a_trap_and_an_overrun_of_one_function_do_not_disturb_the_others() {
    let manifest = named_functions(&["other"])
        + r#"
        [functions.failing]
        component = "record"
        timeout = "1s"

        [[routes]]
        arn = "arn:aws:sqs:*:*:other"
        function = "other"

        [[routes]]
        arn = "arn:aws:sqs:*:*:failing"
        function = "failing"
    "#;
    let deployed = Deployed::new(task_root(&[guests::RECORD, guests::ENVIRONMENT], &manifest));
    let pid = deployed.host.pid();
    for (verb, error_type) in [
        ("panic", "Runtime.GuestTrap"),
        ("spin", "Runtime.DeadlineExceeded"),
        ("sleep 600000", "Runtime.DeadlineExceeded"),
    ] {
        let mut event = queue_event("failing");
        event["Records"][0]["body"] = verb.into();
        // Its own timeout ends it, long before Lambda's.
        deployed
            .lambda
            .send(Event::new(verb, event.to_string()).due_in(Duration::from_secs(60)));
        let report = deployed.lambda.wait_for_answer(verb).json();
        assert_eq!(text(&report, "errorType"), error_type, "{verb}: {report}");
        assert_eq!(
            deployed.who_takes(&format!("after-{verb}"), &queue_event("other")),
            "other"
        );
        assert_eq!(
            deployed.answer(&format!("again-{verb}"), queue_event("failing").to_string()),
            Value::Null
        );
    }
    assert_eq!(deployed.host.pid(), pid);
}

#[test]
fn an_unknown_key_is_an_init_error_with_its_line_and_the_nearest_key() {
    for (manifest, parts) in [
        (
            "[functions.environment]\ntimeot = '1s'\n",
            ["line 2", "functions.environment.timeot", "`timeout`"],
        ),
        (
            "[functions.environment.limits]\nmemry = 1\n",
            ["line 2", "memry", "`memory`"],
        ),
        (
            "[functions.environment.grants]\noutbond = []\n",
            ["line 2", "outbond", "`outbound`"],
        ),
        ("[function.environment]\n", ["line 1", "function", "`functions`"]),
        (
            "[functions.environment]\n\n[[routes]]\nfunction = 'environment'\nmethods = 'GET'\n",
            ["line 5", "methods", "`method`"],
        ),
        (
            "[functions.environment]\n[[routes]]\nfunction = 'enviroment'\n",
            ["line 3", "[functions.enviroment]", "environment"],
        ),
        (
            "[functions.environment]\nbatch = 'records'\n",
            ["line 2", "\"records\"|'records'", "record"],
        ),
    ] {
        let report = Deployed::new(task_root(&[guests::ENVIRONMENT], manifest)).init_error();
        assert_eq!(text(&report, "errorType"), "Runtime.InvalidConfiguration", "{manifest}");
        let message = text(&report, "errorMessage");
        assert!(message.starts_with("orlop.toml"), "{message}");
        for part in parts {
            let is_there = part.split('|').any(|part| message.contains(part));
            assert!(is_there, "{part} is missing in {message}");
        }
    }
}

#[test]
fn a_broken_function_fails_its_own_events_and_the_others_serve() {
    let manifest = named_functions(&["good"])
        + r#"
        [functions.missing]
        [functions.garbage]
        [functions.failing]
        component = "counter"
        environment = { INIT = "fail" }
        [functions.panicking]
        component = "counter"
        environment = { INIT = "panic" }
        [functions.wrong]
        component = "environment"
        world = "http"
        [functions.small]
        component = "environment"
        limits = { instances = 1 }
    "#;
    let names = ["good", "missing", "garbage", "failing", "panicking", "wrong"];
    let routes = names.map(|name| format!("[[routes]]\narn = 'arn:aws:sqs:*:*:{name}'\nfunction = '{name}'\n"));
    let root = task_root(&[guests::ENVIRONMENT, guests::COUNTER], &(manifest + &routes.concat()))
        .with_content("garbage.wasm", "\0asm, or so they say");
    let deployed = Deployed::new(root);
    let task_root = deployed.task_root.path().to_str().unwrap();
    for (name, error_type, reason) in [
        ("missing", "Runtime.ComponentNotFound", task_root),
        ("garbage", "Runtime.InvalidComponent", "garbage.wasm"),
        ("failing", "Runtime.InitFailed", "told to fail"),
        ("panicking", "Runtime.GuestTrap", "told to panic"),
        ("wrong", "Runtime.InvalidComponent", "leave out the setting `world`"),
    ] {
        let report = deployed.failure(name, queue_event(name).to_string());
        assert_eq!(text(&report, "errorType"), error_type, "{name}: {report}");
        let message = text(&report, "errorMessage");
        assert!(message.contains(&format!("`{name}`")), "{report}");
        // Statement 54.
        assert!(
            !message.contains(reason) && !report.to_string().contains(task_root),
            "{report}"
        );
        assert_eq!(
            deployed.who_takes(&format!("after-{name}"), &queue_event("good")),
            "good"
        );
        let field = format!("function={name}");
        let line = deployed
            .host
            .wait_for_log(|line| line.split(' ').any(|word| word == field));
        assert!(
            line.contains("ERROR") && line.contains(error_type) && line.contains(reason),
            "{line}"
        );
    }
    assert_eq!(deployed.loaded(), ["good"], "what no route names is not loaded");
    deployed
        .host
        .wait_for_log(|line| line.contains("\tready broken=5 functions=1 "));
}

#[test]
fn a_deployment_of_broken_functions_only_fails_init() {
    let manifest = "[functions.one]\n[functions.two]\n\
                    [[routes]]\npath = '/1'\nfunction = 'one'\n[[routes]]\npath = '/2'\nfunction = 'two'\n";
    let report = Deployed::new(task_root(&[guests::ENVIRONMENT], manifest)).init_error();
    assert_eq!(text(&report, "errorType"), "Runtime.ComponentNotFound");
    let message = text(&report, "errorMessage");
    assert!(message.contains("one") || message.contains("two"), "{message}");
}

#[test]
fn fifty_functions_load_and_each_takes_its_own_events() {
    let names = (0..50).map(|index| format!("f{index:02}")).collect::<Vec<_>>();
    let mut manifest = named_functions(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        writeln!(
            manifest,
            "[[routes]]\narn = 'arn:aws:sqs:*:*:{name}'\nfunction = '{name}'"
        )
        .unwrap();
    }
    let deployed = Deployed::new(task_root(&[guests::ENVIRONMENT], &manifest));
    for name in &names {
        assert_eq!(deployed.who_takes(name, &queue_event(name)), *name);
    }
    assert_eq!(deployed.loaded(), names);
}

#[test]
fn the_three_functions_of_the_orders_example_serve_from_one_image() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/orders");
    let manifest = fs::read_to_string(folder.join("orlop.toml")).unwrap();
    let components = [examples::ORDERS_API, examples::ORDERS_QUEUE, examples::ORDERS_REPORT];
    let deployed = Deployed::with(task_root(&components, &manifest), None, &[("HOSTNAME", "ship")]);
    let json = |name: &str| -> Value {
        let path = folder.join("events").join(name);
        serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
    };
    for case in [
        "api-create",
        "api-create-too-many",
        "api-read",
        "api-read-unknown",
        "report",
    ] {
        let answer = deployed.answer(case, json(&format!("{case}.json")).to_string());
        assert_eq!(answer, json(&format!("{case}.expected.json")), "{case}");
    }
    // What the report is granted beyond the others.
    deployed.host.wait_for_log(|line| line.ends_with("\tmade on ship"));

    // The order for which nobody has to be called: what it asks for is not sold.
    let mut queue = json("queue.json");
    let records = queue["Records"].as_array_mut().unwrap();
    records.retain(|record| record["body"].as_str().is_some_and(|body| body.contains("sail")));
    assert_eq!(records.len(), 1);
    let answer = deployed.answer("queue", queue.to_string());
    assert_eq!(answer, json("queue.expected.json"));

    // A request that none of the routes wants.
    let answer = deployed.answer("nowhere", http_event("DELETE", "/orders/1001").to_string());
    assert_eq!(answer["statusCode"], 404);
    let report = deployed.failure("other-queue", queue_event("returns").to_string());
    assert_eq!(text(&report, "errorType"), "Runtime.RouteNotFound");
}
