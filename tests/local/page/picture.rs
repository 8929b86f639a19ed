//! The picture of the page in the documentation, made of real environments:
//! `cargo test -p orlop-tests --test local -- --ignored picture`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_local::journal::What;
use orlop_local::page;
use orlop_local::queue::{self, Queues};
use orlop_local::{Function, Invocation, Platform};
use orlop_tests::browser::Look;
use orlop_tests::{Browser, Component, TaskRoot, bootstrap, examples};
use tokio::task::JoinSet;

use super::site::{Site, example};
use crate::support::function;

/// What a picture in the documentation may weigh.
const MOST_BYTES: usize = 300 << 10;

/// The example of that name, as Lambda would run it.
fn deployed(name: &str, component: Component) -> (Function, TaskRoot) {
    let root = TaskRoot::new().with_compiled(component);
    let variables = [
        ("LAMBDA_TASK_ROOT", root.path().to_str().unwrap()),
        ("_HANDLER", component.name()),
    ];
    let function = Function {
        program: bootstrap().to_owned(),
        arguments: Vec::new(),
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..function(name)
    };
    (function, root)
}

fn event(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    std::fs::read_to_string(path).unwrap()
}

/// Sends an event `count` times at once, and waits for the reports.
async fn send(platform: &Platform, function: &str, source: &str, payload: String, count: usize) {
    let mut reports = JoinSet::new();
    for _ in 0..count {
        let (platform, function) = (platform.clone(), function.to_owned());
        let invocation = Invocation {
            payload: payload.clone().into(),
            source: source.to_owned(),
            ..Invocation::default()
        };
        reports.spawn(async move {
            let answer = platform.invoke(&function, invocation).await.unwrap();
            // The body is a stream where the function streams.
            let _ = answer.body.collect().await;
            answer.report.await.unwrap();
        });
    }
    reports.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/images/dev.png"]
async fn picture() {
    let (orders, _orders) = deployed("orders", examples::API_GATEWAY);
    let (packer, _packer) = deployed("packer", examples::SQS);
    let (ticker, _ticker) = deployed("ticker", examples::STREAM);
    let queues = Queues::new(queue::Settings::default());
    queues.create("crates", &[]).await.unwrap();
    queues.create("crates-failed", &[]).await.unwrap();
    let settings = page::Settings {
        title: "harbour".to_owned(),
        front_url: Some("http://127.0.0.1:3000".to_owned()),
        aws_url: "http://127.0.0.1:9000".to_owned(),
        examples: vec![example("create", "orders", event("api-gateway/events/create.json"))],
        queues: Arc::new(queues.clone()),
    };
    let site = Site::with(settings, queues, [orders, packer, ticker]).await;
    let platform = &site.platform;
    platform.journal().record(What::Built {
        name: "harbour".to_owned(),
        duration_ms: 2_310.0,
    });
    let mut browser = Browser::open(
        &site.url(),
        Look {
            width: 1360,
            height: 960,
            is_dark: false,
        },
    );
    browser.wait_for("document.querySelector('#link').dataset.state === 'live'");
    tell_the_story(platform).await;

    // While the last events still run.
    let (last, busy) = (platform.clone(), 14);
    let last = tokio::spawn(async move { send(&last, "ticker", "GET /?count=3", ticks("900ms"), busy).await });
    browser.wait_for(&format!(
        "document.querySelectorAll('.cell[data-state=busy]').length === {busy}"
    ));
    browser.evaluate(
        "[...document.querySelectorAll('#rows tr')].find((row) => row.innerText.includes('POST /orders')).click()",
    );
    browser.wait_for("document.querySelector('#details b').innerText === 'POST /orders'");
    // The timeline takes some frames to come to where it should be; the growing bars show that they were drawn.
    browser.evaluate("new Promise((resolve) => setTimeout(resolve, 700))");
    let picture = browser.picture();
    last.await.unwrap();
    assert!(picture.len() < MOST_BYTES, "{} bytes", picture.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/dev.png");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, picture).unwrap();
}

/// What a developer may have done in the last two seconds.
async fn tell_the_story(platform: &Platform) {
    let api = |name: &str| event(&format!("api-gateway/events/{name}.json"));
    for _ in 0..4 {
        send(platform, "orders", "GET /orders", api("list"), 1).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    tokio::join!(
        send(platform, "orders", "GET /orders/1002", api("order"), 12),
        send(platform, "ticker", "GET /?count=3", ticks("150ms"), 36),
        send(platform, "packer", "queue crates", event("sqs/event.json"), 5),
    );
    send(platform, "ticker", "GET /?count=3", ticks("60ms"), 20).await;
    send(platform, "orders", "POST /orders", "{}".to_owned(), 1).await;
    tokio::join!(
        send(platform, "ticker", "GET /?count=3", ticks("90ms"), 28),
        send(platform, "packer", "queue crates", event("sqs/event.json"), 3),
    );
    send(platform, "orders", "POST /orders", api("create"), 1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
}

fn ticks(interval: &str) -> String {
    event("stream/event.json").replace("interval=20ms", &format!("interval={interval}"))
}
