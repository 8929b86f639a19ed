use std::time::Duration;

use super::*;
use crate::function::Isolation;

const WHOLE: &str = r#"
[defaults]
timeout = "10s"
environment = { STAGE = "prod", COLOUR = "blue" }

[defaults.limits]
handles = 50

[defaults.grants]
outbound = ["https://telemetry.example.com"]

[functions.orders-api]
component = "shop/orders"
world = "http"
isolation = "tenant"
response-mode = "streaming"
batch = "record"
batch-concurrency = 4
timeout = "5s"
args = ["--format", "json"]
base-path = "/api"
strip-stage = true
pass-through-path = "/events"
environment = { STAGE = "test" }

[functions.orders-api.limits]
memory = "64MiB"
stack = 524288
table-entries = 10

[functions.orders-api.grants]
outbound = ["https://api.stripe.com", "https://*.example.com:8443", "http://127.0.0.1:8080"]
environment = ["AWS_ACCESS_KEY_ID"]
tmp = "shared"

[[functions.orders-api.grants.aws]]
service = "s3"
region = "eu-central-1"
bucket = "my-site"
endpoint = "http://127.0.0.1:5000"
methods = ["PUT"]
path = "/site/*"

[functions.worker]

[[routes]]
function = "orders-api"
method = "POST"
path = "/orders"

[[routes]]
function = "worker"
arn = "arn:aws:sqs:*:*:orders"
"#;

fn complaint(text: &str) -> String {
    Manifest::parse(text).unwrap_err().to_string()
}

#[track_caller]
fn assert_complaint(text: &str, line: usize, parts: &[&str]) {
    let complaint = complaint(text);
    assert!(
        complaint.starts_with(&format!("orlop.toml, line {line}: ")),
        "{complaint}"
    );
    for part in parts {
        assert!(complaint.contains(part), "{part:?} is missing in {complaint}");
    }
    assert!(!complaint.contains(|letter: char| letter.is_control()), "{complaint:?}");
}

#[test]
fn every_key_reaches_its_place() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let function = manifest.function("orders-api");
    assert_eq!(function.component.as_ref().unwrap().as_str(), "shop/orders");
    assert_eq!(function.world, Some(World::Http));
    assert_eq!(function.isolation, Some(Isolation::Tenant));
    assert_eq!(function.response_mode, Some(ResponseMode::Streaming));
    assert_eq!(function.batch, Some(BatchMode::Record));
    assert_eq!(function.batch_concurrency.unwrap().get(), 4);
    assert_eq!(function.timeout.unwrap().duration(), Duration::from_secs(5));
    let arguments: Vec<&str> = function.args.iter().map(Argument::as_str).collect();
    assert_eq!(arguments, ["--format", "json"]);
    assert_eq!(function.base_path.as_ref().unwrap().as_str(), "/api");
    assert_eq!(function.strip_stage, Some(true));
    assert_eq!(function.pass_through_path.as_ref().unwrap().as_str(), "/events");
    assert_eq!(function.limits.memory.unwrap().bytes(), 64 << 20);
    assert_eq!(function.limits.stack.unwrap().bytes(), 512 << 10);
    assert_eq!(function.limits.table_entries.unwrap().get(), 10);
    assert_eq!(function.limits.random, None);
    let outbound: Vec<&str> = function.grants.outbound.iter().map(Outbound::as_str).collect();
    assert_eq!(
        outbound,
        [
            "https://api.stripe.com",
            "https://*.example.com:8443",
            "http://127.0.0.1:8080"
        ]
    );
    let aws = &function.grants.aws[0];
    assert_eq!(aws.service.as_str(), "s3");
    assert_eq!(aws.region.as_ref().unwrap().as_str(), "eu-central-1");
    assert_eq!(aws.bucket.as_ref().unwrap().as_str(), "my-site");
    assert_eq!(
        aws.endpoint.as_ref().unwrap().outbound().as_str(),
        "http://127.0.0.1:5000"
    );
    assert!(aws.covers("PUT", "/site/a.html"));
    assert!(!aws.covers("GET", "/site/a.html"));
    assert!(!aws.covers("PUT", "/other"));
    assert_eq!(function.grants.environment[0].as_str(), "AWS_ACCESS_KEY_ID");
    assert_eq!(function.grants.tmp, Some(grants::Tmp::Shared));
    assert_eq!(manifest.routes.iter().count(), 2);
}

#[test]
fn defaults_fill_in_what_a_function_leaves_out_tables_key_by_key_and_lists_as_a_whole() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let api = manifest.function("orders-api");
    let variables: Vec<(&str, &str)> = api.environment.iter().collect();
    assert_eq!(variables, [("COLOUR", "blue"), ("STAGE", "test")]);
    assert_eq!(api.limits.handles.unwrap().get(), 50);
    assert_eq!(api.grants.outbound.len(), 3);
    for handler in ["worker", "worker.cwasm", "worker.wasm", "not-in-the-file"] {
        let function = manifest.function(handler);
        assert_eq!(
            function.timeout.unwrap().duration(),
            Duration::from_secs(10),
            "{handler}"
        );
        assert_eq!(function.grants.outbound.len(), 1, "{handler}");
    }
}

#[test]
fn an_empty_file_says_nothing_and_a_byte_order_mark_is_no_harm() {
    for text in [
        "",
        "\u{feff}",
        "\n\r\n",
        "# nothing",
        "[functions]",
        "[defaults]",
        "routes = []",
    ] {
        assert_eq!(Manifest::parse(text).unwrap(), Manifest::default(), "{text:?}");
    }
    let marked = Manifest::parse("\u{feff}[functions.a]\r\ntimeout = '1s'\r\n").unwrap();
    assert!(marked.function("a").timeout.is_some());
    assert_complaint("\u{feff}[functions.a]\r\nx = 1", 2, &["functions.a.x"]);
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (text, line, key, nearest) in [
        ("[function.a]", 1, "function ", "`functions`"),
        ("[functions.a]\ntimeot = '1s'", 2, "functions.a.timeot ", "`timeout`"),
        (
            "[functions.a]\nbatch_concurrency = 1",
            2,
            "functions.a.batch_concurrency ",
            "`batch-concurrency`",
        ),
        (
            "[functions.a.limits]\nmemry = 1",
            2,
            "functions.a.limits.memry ",
            "`memory`",
        ),
        (
            "[functions.a.grants]\noutbund = []",
            2,
            "functions.a.grants.outbund ",
            "`outbound`",
        ),
        (
            "[defaults]\nisolatoin = 'event'",
            2,
            "defaults.isolatoin ",
            "`isolation`",
        ),
        (
            "[functions.a]\n[[routes]]\nfuncton = 'a'",
            3,
            "routes[0].functon ",
            "`function`",
        ),
        (
            "[functions.a]\ngrants.aws = [{ service = 's3', bukcet = 'abc' }]",
            2,
            "functions.a.grants.aws[0].bukcet ",
            "`bucket`",
        ),
    ] {
        assert_complaint(text, line, &[key, "is no key of this version; the nearest is", nearest]);
    }
}

#[test]
fn a_malformed_value_is_named_with_its_line_and_the_form_that_would_do() {
    assert_eq!(
        complaint("[functions.a]\n\ntimeout = 'soon'"),
        "orlop.toml, line 3: functions.a.timeout is 'soon'; it must be a duration such as \"5s\" or \"100ms\", at \
         least 1ms and at most 90m"
    );
    for (line, accepted) in [
        ("timeout = '0s'", "a duration"),
        ("timeout = '-1s'", "a duration"),
        ("timeout = '5401s'", "a duration"),
        ("timeout = 5", "a duration"),
        ("world = 'htp'", "`http`"),
        ("isolation = 'none'", "`tenant`"),
        ("response-mode = true", "a word in quotes"),
        ("batch = 'recod'", "`whole` or `record`"),
        ("batch-concurrency = 0", "a whole number"),
        ("batch-concurrency = -1", "a whole number"),
        ("batch-concurrency = '4'", "without quotes"),
        ("batch-concurrency = 1.5", "a whole number"),
        ("args = 'a'", "a list"),
        ("args = [1]", "text"),
        ("args = [\"a\\u0000b\"]", "without a NUL"),
        ("base-path = 'api'", "a path"),
        ("base-path = '/api/'", "a path"),
        ("base-path = '/a?b'", "a path"),
        ("strip-stage = 'yes'", "true or false"),
        ("component = '../other'", "a name"),
        ("component = '/etc/passwd'", "a name"),
        ("environment = 'A=1'", "a table"),
        ("environment = { A = 1 }", "text"),
        ("environment = { 'A=B' = '1' }", "without `=`"),
        ("environment = { '' = '1' }", "without `=`"),
        ("environment = { AWS_LAMBDA_RUNTIME_API = '1' }", "the platform's own"),
        ("limits.memory = '99999999999999G'", "a size"),
        ("limits.memory = 0", "a size"),
        ("limits.memory = -1", "a size"),
        (
            "limits.memory = 99999999999999999999999999",
            "99999999999999999999999999",
        ),
        ("limits = 5", "a table of limits"),
        ("grants = []", "a table of grants"),
        ("limits = ['64MiB']", "a table of limits"),
        ("grants.aws = [['s3']]", "a table such as"),
        ("grants.outbound = ['api.stripe.com']", "scheme://host[:port]"),
        ("grants.outbound = 'https://a'", "a list"),
        ("grants.aws = ['s3']", "a table such as"),
        ("grants.aws = [{ region = 'x' }]", "lacks the key `service`"),
        (
            "grants.aws = [{ service = 'sqs', bucket = 'abc' }]",
            "only the service \"s3\" has buckets",
        ),
        ("grants.environment = ['A=B']", "without `=`"),
        ("grants.tmp = 'public'", "`private` or `shared`"),
    ] {
        assert_complaint(&format!("[functions.a]\n{line}"), 2, &["functions.a.", accepted]);
    }
}

#[test]
fn a_value_of_the_defaults_is_complained_about_where_it_stands() {
    assert_complaint(
        "[functions.a]\n[defaults]\ntimeout = 'soon'",
        3,
        &["defaults.timeout is 'soon'"],
    );
    assert_complaint(
        "[defaults]\ncomponent = 'a'",
        2,
        &["defaults.component is 'a'", "[functions.NAME]"],
    );
    assert_complaint(
        "[defaults.grants]\naws = [{ service = 'sqs', bucket = 'abc' }]\n[functions.a]",
        2,
        &["defaults.grants.aws[0].bucket"],
    );
}

#[test]
fn names_lead_nowhere_but_below_the_task_root() {
    for name in ["orders", "orders.v2", "shop/orders", "a_b-C.1", "..a"] {
        assert!(Manifest::parse(&format!("[functions.'{name}']")).is_ok(), "{name}");
    }
    let long = "a".repeat(129);
    let odd = [
        "", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "a b", "a\\b", "а", "a.wasm", "a.cwasm", &long,
    ];
    for name in odd {
        assert_complaint(
            &format!("[functions.'{name}']"),
            1,
            &["functions.", "it must be a name"],
        );
    }
    assert_complaint("[functions.\"a\\u0000b\"]", 1, &["it must be a name"]);
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    for (text, line) in [
        ("[functions.a]\n[functions.a]", 2),
        ("[functions.a]\n[functions.\"a\"]", 2),
        ("[functions.a]\nargs = []\nargs = []", 3),
        ("[functions.a]\ntimeout = '", 2),
        ("\n\u{0}", 2),
        ("a\u{0}b = 1", 1),
        ("[functions.a]\nargs = ['\u{0}']", 2),
        ("[functions.a", 1),
        ("functions", 1),
        ("[functions]\na = 5", 2),
        ("[[functions]]", 1),
        ("functions = 'a'", 1),
        ("functions = []", 1),
        ("[functions]\na = []", 2),
        ("[functions.a]\n[x]\n", 2),
        ("defaults = []", 1),
        ("[functions.a]\n\nroutes = [['a']]", 3),
    ] {
        assert_complaint(text, line, &[]);
    }
    assert!(complaint(&format!("a = {}", "[".repeat(100_000))).contains("line 1"));
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_and_one_of_ten_thousand_functions_is_read() {
    assert!(complaint(&" ".repeat(100 << 20)).contains("larger than 4194304 bytes"));
    let mut text = "[defaults]\ntimeout = '1s'\n".to_owned();
    for index in 0..10_000 {
        text.push_str(&format!("[functions.f{index}]\nargs = ['a']\n"));
    }
    assert_eq!(Manifest::parse(&text).unwrap().functions.len(), 10_000);
}

#[test]
fn a_route_to_nowhere_is_an_error_that_names_the_nearest_function() {
    assert_complaint(
        "[functions.orders]\n[functions.users]\n[[routes]]\nfunction = 'order'",
        4,
        &["routes[0].function is 'order'", "the nearest is orders"],
    );
    assert_complaint(
        "[[routes]]\nfunction = 'order'",
        2,
        &["there is no [functions.order], nor any other"],
    );
    assert_complaint(
        "[functions.a]\n[[routes]]\nmethod = 'GET'",
        2,
        &["routes[0] lacks the key `function`"],
    );
    assert_complaint("[routes]\nfunction = 'a'", 1, &["routes", "double brackets"]);
}

#[test]
fn a_route_with_a_malformed_condition_is_an_error() {
    for (line, accepted) in [
        ("method = 'get'", "a method in capitals"),
        ("method = 3", "or a list of such"),
        ("method = ['GET', 'post']", "routes[0].method[1] is 'post'"),
        ("path = 'orders'", "a path such as"),
        ("path = '/files/*'", "without `*`"),
        ("path = '/{a+}/b'", "a path such as"),
        ("path = '/x{a}'", "a path such as"),
        ("path = '/{}'", "a path such as"),
        ("path = '/{a}/{a}'", "a path such as"),
        ("path = '/a?b=c'", "a path such as"),
        ("arn = 'orders'", "an ARN such as"),
        ("arn = 'arn:aws:sqs'", "an ARN such as"),
        ("source = ''", "\"http\", or"),
        ("source = 'aws sqs'", "\"http\", or"),
        ("handler = '..'", "a name"),
    ] {
        assert_complaint(
            &format!("[functions.a]\n[[routes]]\nfunction = 'a'\n{line}"),
            4,
            &[accepted],
        );
    }
}

#[test]
fn a_route_that_no_event_can_take_is_an_error() {
    for conditions in [
        "method = 'GET'\narn = 'arn:aws:sqs:*:*:a'",
        "path = '/'\nsource = 'aws:sqs'",
        "source = 'http'\narn = 'arn:aws:sqs:*:*:a'",
    ] {
        let text = format!("[functions.a]\n[[routes]]\nfunction = 'a'\n{conditions}");
        assert_complaint(&text, 2, &["routes[0] has conditions that never hold together"]);
    }
}

#[test]
fn the_file_of_a_task_root_is_read_and_need_not_be_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(FILE_NAME);
    assert_eq!(Manifest::load(root.path()).unwrap(), Manifest::default());
    std::fs::write(&path, "[functions.a]").unwrap();
    assert_eq!(Manifest::load(root.path()).unwrap().functions.len(), 1);
    std::fs::write(&path, b"# fine\n# \xff").unwrap();
    let complaint = Manifest::load(root.path()).unwrap_err().to_string();
    assert!(
        complaint.starts_with("orlop.toml, line 2: ") && complaint.contains("UTF-8"),
        "{complaint}"
    );
    std::fs::write(&path, format!("{}ü", " ".repeat(4 << 20))).unwrap();
    assert!(
        Manifest::load(root.path())
            .unwrap_err()
            .to_string()
            .contains("larger than")
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(
        Manifest::load(root.path())
            .unwrap_err()
            .to_string()
            .contains("not a file")
    );
}

proptest::proptest! {
    #[test]
    fn a_damaged_file_is_read_or_refused_in_one_line(
        place in 0..WHOLE.len(),
        length in 0_usize..20,
        patch in "\\PC{0,6}|[\\x00-\\x20\"'=.\\[\\]{}]{0,6}",
    ) {
        let start = WHOLE.floor_char_boundary(place);
        let end = WHOLE.floor_char_boundary((place + length).min(WHOLE.len()));
        let damaged = format!("{}{patch}{}", &WHOLE[..start], &WHOLE[end..]);
        if let Err(error) = Manifest::parse(&damaged) {
            let text = error.to_string();
            let has_line = error.line.is_some_and(|line| (1..=damaged.split('\n').count()).contains(&line));
            proptest::prop_assert!(has_line && text.len() < 2000 && !text.contains(char::is_control), "{:?}", text);
        }
    }
}
