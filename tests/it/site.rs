//! The example `site` from end to end: an archive from a host that redirects, pages rendered below `/tmp`, and uploads that
//! the host signs and S3 checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orlop_tests::http_server::respond;
use orlop_tests::moto::Credentials;
use orlop_tests::{
    Answer, Emulator, Event, FakeRuntimeApi, HttpServer, Moto, Served, TaskRoot, bootstrap, examples, text, tools,
};
use serde_json::{Value, json};

/// The bucket that the example's `orlop.toml` names.
const BUCKET: &str = "orlop-example-site";
/// The files that the example's site has once it is rendered.
const KEYS: [&str; 6] = [
    "crew.html",
    "guide/index.html",
    "guide/knots.html",
    "guide/rules.txt",
    "index.html",
    "ship.png",
];

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/site")
        .join(path)
}

fn read(path: &str) -> Vec<u8> {
    fs::read(example(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// The example's site in one folder, as hosts of repositories pack it.
fn archive() -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.arg("--directory").arg(example(""));
    tar.args(["--create", "--gzip", "--transform", "s,^site,site-main,", "site"]);
    tools::run(tar, "it packs the example's site").stdout
}

/// The example where the world is a local one: two hosts of repositories, and S3.
struct World {
    served: Served,
    moto: Moto,
    credentials: Credentials,
    /// In the place of `https://github.com`: it redirects to the other.
    front: HttpServer,
    /// In the place of `https://codeload.github.com`.
    store: HttpServer,
}

/// What the example needs of the world, and what it is started with.
struct Surroundings {
    moto: Moto,
    credentials: Credentials,
    front: HttpServer,
    store: HttpServer,
    task_root: TaskRoot,
    variables: Vec<(String, String)>,
}

impl Surroundings {
    fn with_bucket(bucket: &str) -> Self {
        let moto = Moto::start(&[BUCKET, "another-bucket"]);
        let credentials = moto.credentials();
        moto.check_signatures();
        let packed = archive();
        let store = HttpServer::start(move |request, stream| match request.target.as_str() {
            "/site.tar.gz" => respond(stream, 200, &[("content-type", "application/gzip")], &packed),
            "/cut.tar.gz" => respond(stream, 200, &[], &packed[..packed.len() / 2]),
            "/page.html" => respond(stream, 200, &[], b"<html>no archive</html>"),
            _ => respond(stream, 404, &[], b"not here"),
        });
        let elsewhere = store.origin();
        let front = HttpServer::start(move |request, stream| {
            let location = format!("{elsewhere}{}", request.target);
            respond(stream, 302, &[("location", &location)], b"")
        });
        let manifest = manifest(&front, &store, &moto);
        let task_root = TaskRoot::new()
            .with_compiled(examples::SITE)
            .with_content("orlop.toml", manifest);
        let archive_url = front.origin() + "/site.tar.gz";
        let endpoint = moto.endpoint();
        let own = [
            ("ARCHIVE_URL", archive_url.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("BUCKET", bucket),
            ("S3_ENDPOINT", &endpoint),
        ];
        let secrets = credentials.variables();
        let variables = own.iter().chain(&secrets);
        let variables = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            moto,
            credentials,
            front,
            store,
            task_root,
            variables,
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with_bucket(BUCKET)
    }

    fn with_bucket(bucket: &str) -> Self {
        let Surroundings {
            moto,
            credentials,
            front,
            store,
            task_root,
            variables,
        } = Surroundings::with_bucket(bucket);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Self {
            served: Served::in_task_root(FakeRuntimeApi::start(), task_root, "site", &variables),
            moto,
            credentials,
            front,
            store,
        }
    }

    fn ask(&self, id: &str, event: impl Into<Vec<u8>>) -> Answer {
        self.served.ask(Event::new(id, event).due_in(Duration::from_secs(20)))
    }

    /// The keys in the bucket; signatures are not checked any more.
    fn keys(&self) -> Vec<String> {
        self.moto.trust_everybody();
        self.moto.keys(BUCKET)
    }
}

/// The example's own, with local places in it.
fn manifest(front: &HttpServer, store: &HttpServer, moto: &Moto) -> String {
    let mut manifest = String::from_utf8(read("orlop.toml")).unwrap();
    for (there, here) in [
        ("\"https://github.com\"", format!("\"{}\"", front.origin())),
        ("\"https://codeload.github.com\"", format!("\"{}\"", store.origin())),
        (
            "service = \"s3\"",
            format!("service = \"s3\", endpoint = \"{}\"", moto.endpoint()),
        ),
    ] {
        assert!(manifest.contains(there), "no {there} in {manifest}");
        manifest = manifest.replace(there, &here);
    }
    assert!(manifest.contains(&format!("bucket = \"{BUCKET}\"")), "{manifest}");
    manifest
}

/// An API Gateway request for this archive.
fn request_for(archive: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&read("event.json")).unwrap();
    event["body"] = json!({ "archive": archive }).to_string().into();
    event.to_string().into_bytes()
}

/// An SQS message for this archive.
fn message_for(archive: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&read("events/message.json")).unwrap();
    event["Records"][0]["body"] = json!({ "archive": archive }).to_string().into();
    event.to_string().into_bytes()
}

fn publishes(event: &str, expected: &str) {
    let world = World::new();
    let answer = world.ask("a", read(event));
    assert!(!answer.is_error, "{}", answer.text());
    let expected: Value = serde_json::from_slice(&read(expected)).unwrap();
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.json(), json!({ "statusCode": 200 }));

    assert_eq!(world.keys(), KEYS);
    let object = |key| world.moto.object(BUCKET, key).unwrap();
    let page = |key| {
        let (content_type, content) = object(key);
        assert_eq!(content_type, "text/html; charset=utf-8", "{key}");
        String::from_utf8(content).unwrap()
    };
    let index = page("index.html");
    for part in [
        "<!doctype html>",
        "<title>The log of the Orlop</title>",
        "<img src=\"ship.png\" alt=\"A ship\" />",
        "<a href=\"crew.html\">The crew</a>",
        "<a href=\"guide/index.html\">The guide</a>",
        "<a href=\"guide/knots.html#bowline\">Knots</a>",
        "<table>",
    ] {
        assert!(index.contains(part), "no {part} in {index}");
    }
    assert!(page("crew.html").contains("<h1>The crew &amp; the cat</h1>"));
    assert!(page("guide/index.html").contains("<a href=\"rules.txt\">"));
    assert!(page("guide/knots.html").contains("<a href=\"../crew.html\">"));
    assert_eq!(object("ship.png"), ("image/png".to_owned(), read("site/ship.png")));
    assert_eq!(object("guide/rules.txt").1, read("site/guide/rules.txt"));
}

#[test]
fn a_request_publishes_the_site_behind_a_redirect_to_a_bucket_that_checks_signatures() {
    publishes("event.json", "expected.json");
}

#[test]
fn a_message_publishes_the_site_too() {
    publishes("events/message.json", "events/message.expected.json");
}

#[test]
fn publishing_again_replaces_what_is_there() {
    let world = World::new();
    for id in ["first", "second"] {
        assert_eq!(world.ask(id, read("event.json")).json(), json!({ "statusCode": 200 }));
    }
    assert_eq!(world.store.requests().len(), 2);
    assert_eq!(world.keys(), KEYS);
}

#[test]
fn credentials_go_neither_to_the_archives_hosts_nor_into_the_log() {
    let world = World::new();
    world.ask("a", read("event.json"));
    let requests = [world.front.requests(), world.store.requests()].concat();
    assert_eq!(requests.len(), 2);
    let log = world.served.host.log().join("\n");
    for (name, value) in world.credentials.variables() {
        assert!(!log.contains(value), "{name} is in the log: {log}");
        for request in &requests {
            let is_told = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(value);
            assert!(request.header("authorization").is_none(), "{request:?}");
            assert!(!request.headers.iter().any(|(_, bytes)| is_told(bytes)), "{request:?}");
        }
    }
}

#[test]
fn a_body_that_names_nothing_is_the_clients_mistake() {
    let world = World::new();
    let expected: Value = serde_json::from_slice(&read("events/bad-body.expected.json")).unwrap();
    assert_eq!(world.ask("a", read("events/bad-body.json")).json(), expected);
    assert!(world.front.requests().is_empty());
}

#[test]
fn an_archive_that_cannot_be_had_or_used_publishes_nothing_and_the_next_event_succeeds() {
    let world = World::new();
    let stranger = HttpServer::echo();
    let missing = format!("{} answered 404", world.store.origin() + "/missing.tar.gz");
    for (index, (archive, reason)) in [
        (stranger.origin() + "/site.tar.gz", "HttpRequestDenied"),
        (world.front.origin() + "/missing.tar.gz", missing.as_str()),
        (world.front.origin() + "/page.html", "cannot use"),
        (world.front.origin() + "/cut.tar.gz", "cannot use"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = world.ask(&format!("request-{index}"), request_for(&archive));
        assert!(!answer.is_error, "{archive}: {}", answer.text());
        assert_eq!(answer.json()["statusCode"], 502, "{archive}: {}", answer.text());
        assert!(
            text(&answer.json(), "body").contains(reason),
            "{archive}: {}",
            answer.text()
        );
        // A message comes back to its queue.
        let answer = world.ask(&format!("message-{index}"), message_for(&archive));
        assert_eq!(answer.error_type_header.as_deref(), Some("Function.InvalidArchive"));
        assert!(
            text(&answer.json(), "errorMessage").contains(reason),
            "{archive}: {}",
            answer.text()
        );
    }
    assert!(stranger.requests().is_empty());
    let advice = format!("outbound = [\"{}\"]", stranger.origin());
    world
        .served
        .host
        .wait_for_log(|line| line.contains(&advice) && line.contains("[functions.site.grants]"));
    assert_eq!(
        world.ask("next", read("event.json")).json(),
        json!({ "statusCode": 200 })
    );
    assert_eq!(world.keys(), KEYS);
}

#[test]
fn another_bucket_than_the_granted_one_stays_empty() {
    let world = World::with_bucket("another-bucket");
    let answer = world.ask("a", read("event.json"));
    assert_eq!(answer.json()["statusCode"], 502, "{}", answer.text());
    assert!(
        text(&answer.json(), "body").contains("HttpRequestDenied"),
        "{}",
        answer.text()
    );
    world
        .served
        .host
        .wait_for_log(|line| line.contains("aws = [{ service = \"s3\"") && line.contains("[functions.site.grants]"));
    world.moto.trust_everybody();
    assert_eq!(world.moto.keys("another-bucket"), [] as [&str; 0]);
}

#[test]
fn the_template_is_one_that_cloudformation_takes() {
    let mut cfn_lint = tools::cfn_lint();
    cfn_lint.arg(example("template.yaml"));
    tools::run(cfn_lint, "a template without complaints");
}

#[test]
fn the_site_is_published_under_the_emulator_too() {
    let surroundings = Surroundings::with_bucket(BUCKET);
    let emulator = Emulator::of(bootstrap())
        .arg("site")
        .env("LAMBDA_TASK_ROOT", surroundings.task_root.path())
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "20");
    let emulator = surroundings
        .variables
        .iter()
        .fold(emulator, |emulator, (name, value)| emulator.env(name, value))
        .start();
    let archive = surroundings.front.origin() + "/site.tar.gz";
    let (status, body) = emulator.invoke(request_for(&archive));
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["statusCode"]), (200, &json!(200)), "{answer}");
    surroundings.moto.trust_everybody();
    assert_eq!(surroundings.moto.keys(BUCKET), KEYS);
}
