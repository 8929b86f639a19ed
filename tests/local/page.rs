//! The page in the browser: what a developer sees in Chromium, and what pages of other places may not do.

mod picture;
mod site;

use std::num::NonZeroU32;
use std::time::Duration;

use orlop_local::journal::What;
use orlop_local::page::QueueDoor as _;
use orlop_tests::Browser;
use serde_json::{Value, json};

use crate::support::{function, invoke};
use site::{Site, get, journal};

/// How long the server waits for what is under way; a test that takes so long has failed.
const GRACE: Duration = Duration::from_secs(60);

/// What the cells say, such as `["frozen"]`.
const CELLS: &str = "[...document.querySelectorAll('.cell')].map((cell) => cell.dataset.state)";

#[tokio::test(flavor = "multi_thread")]
async fn events_and_environments_appear_and_change_without_a_reload() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    browser.evaluate("window.isSamePage = true");
    assert_eq!(browser.evaluate("document.querySelectorAll('.cell').length"), 0);

    let slow = {
        let platform = site.platform.clone();
        tokio::spawn(async move { invoke(&platform, "one", json!({"sleep": 2, "raw": "1"})).await })
    };
    browser.wait_for(&format!("{CELLS}.join() === 'busy'"));
    let row = "document.querySelector('#rows tr').innerText";
    assert!(
        browser
            .wait_for(&format!("{row}.includes('cold') && {row}"))
            .as_str()
            .unwrap()
            .contains("running")
    );
    slow.await.unwrap().0.unwrap();
    browser.wait_for(&format!("{CELLS}.join() === 'frozen'"));
    browser.wait_for(&format!("/ok.* m?s.*cold, .* m?s/s.test({row})"));

    invoke(&site.platform, "one", json!({"raw": "2"})).await.0.unwrap();
    browser.wait_for("document.querySelectorAll('#rows tr').length === 2");
    browser.wait_for(&format!("{row}.includes('warm')"));

    site.platform.deploy(function("one"));
    browser.wait_for(&format!("{CELLS}.join() === 'gone'"));
    browser.wait_for("document.querySelector('#legend [data-state=gone] b').innerText === '1'");
    browser.wait_for(&format!("{CELLS}.length === 0"));
    assert_eq!(browser.evaluate("window.isSamePage"), true);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_sends_an_example_and_another_one_replays_it() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    browser.wait_for("document.querySelector('#payload').value.includes('hello')");
    browser.click("#send");
    browser.wait_for("document.querySelector('#rows').innerText.includes('example greet')");
    // What was sent is shown: its answer's HTTP status, its log with Lambda's lines around.
    browser.wait_for("document.querySelector('#details .status').innerText === 'ok, 201'");
    let log = browser.wait_for("document.querySelector('[data-part=log]').innerText");
    let log: Vec<&str> = log
        .as_str()
        .unwrap()
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(log, ["START", "hello", "END", "REPORT"]);

    browser.click("#replay");
    browser.wait_for("document.querySelector('#rows').innerText.includes('replay of example greet')");
    browser.wait_for("document.querySelector('#details b').innerText === 'replay of example greet'");
    let requests = browser.evaluate("[...document.querySelectorAll('#rows tr')].map((row) => row.dataset.request)");
    let requests = requests.as_array().unwrap();
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0], requests[1]);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_ones_own_are_sent_many_at_a_time_and_what_is_no_json_is_refused() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    let write = |browser: &mut Browser, text: &str| {
        browser.evaluate(&format!("document.querySelector('#payload').value = {}", json!(text)));
    };
    write(&mut browser, "{\"raw\":");
    browser.click("#send");
    browser.wait_for("document.querySelector('#event-result').innerText.startsWith('the event is not JSON')");
    write(&mut browser, r#"{"sleep": 0.3, "raw": "1"}"#);
    browser.evaluate("document.querySelector('#count').value = 5");
    browser.click("#send");
    browser.wait_for("document.querySelectorAll('#rows .status[data-status=success]').length === 5");
    assert_eq!(browser.evaluate(&format!("{CELLS}.length")), 5);
    // Chromium notes the refused request.
    assert_eq!(browser.complaints().len(), 1);
    assert!(browser.complaints()[0].contains("400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_says_stays_text() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    let attack = "<script>window.attack = 1</script><img src=x onerror='window.attack = 2'>";
    let event = json!({"print": attack, "raw": attack});
    site.platform.journal().record(What::Notice {
        text: attack.to_owned(),
    });
    site.platform.journal().record(What::BuildFailed {
        name: attack.to_owned(),
        message: attack.to_owned(),
    });
    let invocation = orlop_local::Invocation {
        payload: event.to_string().into(),
        source: attack.to_owned(),
        ..Default::default()
    };
    site.platform.invoke("one", invocation).await.unwrap();
    browser.click("#rows tr");
    for part in ["event", "answer", "log"] {
        let selector = format!("document.querySelector('[data-part={part}]').textContent");
        browser.wait_for(&format!("{selector}.includes('window.attack = 2')"));
    }
    browser.wait_for("document.querySelectorAll('.banner').length === 2");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('main img, .banner img, main script, .banner script').length"),
        0
    );
    assert_eq!(browser.evaluate("typeof window.attack"), "undefined");
    assert_eq!(browser.evaluate("document.title"), "a <b>&amp; \"project\" · Orlop");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_is_shown_until_it_is_mended() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    let record = |what| site.platform.journal().record(what);
    let name = || "orders".to_owned();
    record(What::Building { name: name() });
    browser.wait_for("document.querySelector('#builds [data-status=building]')?.innerText === 'building orders'");
    record(What::BuildFailed {
        name: name(),
        message: "error[E0308]: mismatched types".to_owned(),
    });
    browser.wait_for("document.querySelector('.banner pre').innerText === 'error[E0308]: mismatched types'");
    record(What::Building { name: name() });
    record(What::Built {
        name: name(),
        duration_ms: 1234.0,
    });
    browser.wait_for("document.querySelector('#builds').innerText === 'orders built in 1.23 s'");
    browser.wait_for("document.querySelector('.banner') === null");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_to_a_queue_and_counted() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    browser.click("#message-tab");
    for (queue, number) in [("orders", 2), ("letters.fifo", 3)] {
        // Chosen as soon as it is on offer.
        let choice = "document.querySelector('#queue')";
        browser.wait_for(&format!("({choice}.value = '{queue}') && {choice}.value === '{queue}'"));
        browser.evaluate(&format!("document.querySelector('#message-count').value = {number}"));
        browser.evaluate("document.querySelector('#body').value = 'ahoy'");
        browser.click("#send-message");
        browser.wait_for(&format!(
            "document.querySelector('#queues').innerText.includes('{queue} {number} waiting')"
        ));
    }
    let waiting: Vec<u64> = site.queues.queues().iter().map(|queue| queue.waiting).collect();
    assert_eq!(waiting.iter().sum::<u64>(), 5);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_event_is_fetched_when_it_is_looked_at() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    let text = format!("{}the end", "x".repeat(100_000));
    invoke(&site.platform, "one", json!({"raw": "1", "text": text}))
        .await
        .0
        .unwrap();
    browser.click("#rows tr");
    browser.wait_for("document.querySelector('[data-part=event]').textContent.length < 20_000");
    browser.click("#details .note button");
    browser.wait_for("document.querySelector('[data-part=event]').textContent.includes('the end')");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_events_are_kept_and_few_are_in_the_document() {
    let site = Site::start([function("one")]).await;
    let journal = site.platform.journal();
    for number in 1..=100 {
        journal.record(What::EnvironmentStarted {
            environment: number,
            function: "one".to_owned(),
            version: 1,
            pid: 1,
        });
    }
    for number in 0..3_000 {
        journal.record(What::InvocationStarted {
            request_id: number.to_string(),
            function: "one".to_owned(),
            environment: number % 100 + 1,
            source: "test".to_owned(),
            is_cold: number < 100,
            payload: orlop_local::journal::Text::new(&"{}".into()),
        });
    }
    let mut browser = site.open();
    browser.wait_for("document.querySelector('#figures dd').innerText === '3,000'");
    assert_eq!(browser.evaluate(&format!("{CELLS}.length")), 100);
    assert_eq!(browser.evaluate("document.querySelectorAll('#rows tr').length"), 150);
    assert_eq!(
        browser.evaluate("document.querySelector('#more').innerText"),
        "show older events (1,850)"
    );
    browser.click("#more");
    browser.wait_for("document.querySelectorAll('#rows tr').length === 300");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_page_itself_may_do_anything() {
    let site = Site::start([function("one")]).await;
    let event = json!({"function": "one", "payload": "{\"raw\":\"1\"}", "count": 1, "example": null});
    let port = site.server.address().port();
    let refused = [
        ("origin", "http://example.com"),
        ("origin", "null"),
        ("origin", &format!("http://127.0.0.1:{}", port.wrapping_add(1))),
        ("origin", ""),
        ("host", "example.com"),
        ("host", &format!("orlop.example.com:{port}")),
        ("sec-fetch-site", "cross-site"),
        ("x-orlop-token", ""),
        ("x-orlop-token", "00000000000000000000000000000000"),
    ];
    for path in ["/_page/invoke", "/_page/replay", "/_page/send"] {
        for header in refused {
            assert_eq!(site.post(path, &event, &[header]).0, 403, "{path} {header:?}");
        }
    }
    assert_eq!(
        site.post("/_page/invoke", &event, &[("content-type", "text/plain")]).0,
        415
    );
    for path in ["/", "/_page/journal", "/_page/text/1", "/_page/page.js"] {
        assert_eq!(
            get(site.server.address(), path, &[("host", "example.com")]).0,
            403,
            "{path}"
        );
    }
    assert!(site.platform.environments().is_empty());
    assert_eq!(site.post("/_page/invoke", &event, &[]).0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_in_words() {
    let site = Site::start([function("one")]).await;
    let denied = |path: &str, body: Value| {
        let (status, answer) = site.post(path, &body, &[]);
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        (status, body["message"].as_str().unwrap().to_owned())
    };
    let invoke = |function: &str, payload: &str, count: u32| {
        let body = json!({"function": function, "payload": payload, "count": count});
        denied("/_page/invoke", body)
    };
    assert_eq!(invoke("two", "{}", 1), (404, "Function not found: two".to_owned()));
    assert_eq!(invoke("one", "{", 1).0, 400);
    for count in [0, 101] {
        assert_eq!(
            invoke("one", "{}", count),
            (400, "from 1 to 100 can be sent at once".to_owned())
        );
    }
    let (status, message) = denied("/_page/replay", json!({"request_id": "unknown"}));
    assert_eq!((status, message.contains("no longer kept")), (404, true));
    let (status, message) = denied("/_page/send", json!({"queue": "unknown", "body": "ahoy", "count": 1}));
    assert_eq!((status, message.is_empty()), (400, false));
    assert_eq!(denied("/_page/invoke", json!({"function": 1})).0, 400);
    assert_eq!(get(site.server.address(), "/_page/invoke", &[]).0, 405);
    assert_eq!(get(site.server.address(), "/_page/../Cargo.toml", &[]).0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_the_browser_may_load() {
    let site = Site::start([function("one")]).await;
    for path in [
        "/",
        "/_page/page.js",
        "/_page/page.css",
        "/_page/icon.svg",
        "/_page/none",
    ] {
        let (_, answer) = get(site.server.address(), path, &[]);
        assert!(
            answer.contains("content-security-policy: default-src 'none'; script-src 'self';"),
            "{answer}"
        );
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        assert!(
            !answer.contains("unsafe-inline") && !answer.contains("access-control"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_gets_what_it_has_missed() {
    let site = Site::start([function("one")]).await;
    let all = journal(&site, None);
    let [reset, first, hello] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((reset.as_str(), hello.as_str()), ("reset", "hello"));
    assert!(first.ends_with("-1"));
    site.platform.deploy(function("two"));
    site.platform.deploy(function("three"));
    let run = first.trim_end_matches("-1");
    let (second, third) = (format!("{run}-2"), format!("{run}-3"));
    assert_eq!(journal(&site, Some(first)), [second.as_str(), &third, "hello"]);
    assert_eq!(journal(&site, Some(&third)), ["hello"]);
    // Of another process, or of no process at all.
    for id in ["other-1", &format!("{run}-9"), "1"] {
        assert_eq!(
            journal(&site, Some(id)),
            ["reset", first.as_str(), &second, &third, "hello"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_missed_too_much_starts_again() {
    let site = Site::start([function("one")]).await;
    let first = journal(&site, None)[1].clone();
    for number in 0..10_000 {
        site.platform.journal().record(What::Notice {
            text: number.to_string(),
        });
    }
    let again = journal(&site, Some(&first));
    assert_eq!(again[0], "reset");
    assert!(again[1].ends_with("-1810"), "{}", again[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_does_not_hold_up_the_end() {
    let site = Site::start([function("one")]).await;
    let mut browser = site.open();
    site.page.close();
    tokio::time::timeout(GRACE / 2, site.server.stop(GRACE)).await.unwrap();
    browser.wait_for("document.querySelector('#link').dataset.state === 'lost'");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_events_are_among_the_others() {
    let mut single = function("one");
    single.concurrency = NonZeroU32::MIN;
    let site = Site::start([single]).await;
    let mut browser = site.open();
    let body = json!({"function": "one", "payload": "{\"sleep\":0.5,\"raw\":\"1\"}", "count": 3});
    assert_eq!(site.post("/_page/invoke", &body, &[]).0, 202);
    browser.wait_for("document.querySelectorAll('#rows .status[data-status=throttled]').length === 2");
    browser.wait_for("document.querySelector('#figures .bad dd').innerText === '2'");
}
