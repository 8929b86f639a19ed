//! Where requests may go, and where not.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use http::{Method, Request};
use http_body_util::Empty;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::super::address::Target;
use super::super::aws::Facts;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn facts<'a>(target: &'a Target) -> Facts<'a> {
    Facts {
        target,
        method: "GET",
        path: "/",
        copies: false,
    }
}

fn target(uri: &str) -> Target {
    Target::of(&uri.parse().unwrap()).unwrap()
}

#[tokio::test]
async fn without_grants_every_request_is_refused() {
    let peer = Peer::new().await;
    let outbound = outbound("");
    for uri in [
        format!("http://{}/", peer.address),
        format!("http://localhost:{}/", peer.port()),
        "https://api.example.com/".to_owned(),
        "http://localhost:9001/2018-06-01/runtime/invocation/next".to_owned(),
    ] {
        let refusal = refusal(&outbound, &uri).await;
        assert!(matches!(refusal, Error::Denied { .. }), "{uri}: {refusal}");
    }
    // No line is suggested that would not help.
    for uri in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.170.2]/v2/credentials",
        "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
        "http://127.9.9.9:9001/2018-06-01/runtime/invocation/next",
    ] {
        let refusal = refusal(&outbound, uri).await;
        assert!(matches!(refusal, Error::AddressProhibited { .. }), "{uri}: {refusal}");
    }
    assert!(peer.was_spared());
}

#[tokio::test]
async fn a_refusal_names_the_line_that_would_allow_the_call() {
    let outbound = outbound("outbound = ['https://api.example.com']");
    for (uri, line) in [
        (
            "https://API.stripe.com.:443/v1",
            "outbound = [\"https://api.stripe.com\"]",
        ),
        (
            "https://api.example.com:8443/",
            "outbound = [\"https://api.example.com:8443\"]",
        ),
        ("http://api.example.com/", "outbound = [\"http://api.example.com\"]"),
        (
            "https://my-site.s3.eu-central-1.amazonaws.com/x",
            "aws = [{ service = \"s3\", region = \"eu-central-1\", bucket = \"my-site\" }]",
        ),
    ] {
        let refusal = refusal(&outbound, uri).await;
        assert_eq!(outbound.check(&get(uri)).unwrap_err().to_string(), refusal.to_string());
        let Error::Denied { grant, section, .. } = &refusal else {
            panic!("{uri}: {refusal}");
        };
        assert_eq!((grant.as_str(), section.as_str()), (line, "[functions.f.grants]"));
        // Pasted into the file, the line does what the message says.
        let widened = super::outbound(grant);
        assert!(widened.check(&get(uri)).is_ok(), "{uri}");
    }
}

#[tokio::test]
async fn the_line_for_a_function_in_a_folder_quotes_its_name() {
    let outbound = Outbound::new(
        "admin/orders",
        &toml::from_str("").unwrap(),
        &Arc::new(Platform::default()),
    );
    let refusal = refusal(&outbound, "http://a.example/").await.to_string();
    assert!(refusal.contains("`[functions.\"admin/orders\".grants]`"), "{refusal}");
}

#[test]
fn a_refusal_is_logged_once_for_each_target_and_not_without_end() {
    let log = Messages::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let outbound = outbound("");
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..3 {
            for port in 1..=1000 {
                let target = target(&format!("http://a.example:{port}/"));
                assert!(outbound.allow.permit(&facts(&target)).is_err());
            }
        }
    });
    let messages = log.0.lock().unwrap();
    assert!(messages[0].contains("function=f") && messages[0].contains("outbound = [\"http://a.example:1\"]"));
    assert_eq!(
        messages
            .iter()
            .filter(|message| message.contains("http://a.example:2 "))
            .count(),
        1
    );
    assert_eq!(messages.len(), 65);
    assert!(messages[64].contains("no more of them are logged"));
}

#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }

            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.push_str(&format!("{}={value} ", field.name()));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

#[tokio::test]
async fn an_address_or_localhost_on_the_list_is_reached_in_every_spelling() {
    let peer = Peer::new().await;
    let port = peer.port();
    for (grant, uris) in [
        (
            format!("http://127.0.0.1:{port}"),
            vec![
                format!("http://127.0.0.1:{port}/"),
                format!("http://127.0.0.1.:{port}/"),
                format!("http://[::ffff:127.0.0.1]:{port}/"),
            ],
        ),
        (
            format!("http://localhost:{port}"),
            vec![
                format!("http://localhost:{port}/"),
                format!("http://LOCALHOST.:{port}/"),
            ],
        ),
    ] {
        let outbound = outbound(&format!("outbound = ['{grant}']"));
        for uri in uris {
            let (body, _) = tokio::join!(fetch(&outbound, &uri), peer.answer(OK));
            assert_eq!(body.unwrap(), "ok", "{uri}");
        }
    }
}

#[tokio::test]
async fn a_grant_for_one_place_opens_no_other() {
    let peer = Peer::new().await;
    let port = peer.port();
    let outbound = outbound(&format!(
        "outbound = ['http://127.0.0.1:{port}', 'http://*.example.com']"
    ));
    for uri in [
        format!("http://127.0.0.1:{}/", port.wrapping_add(1).max(1)),
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://example.com/".to_owned(),
        "http://example.com.evil.example/".to_owned(),
        "http://notexample.com/".to_owned(),
        "http://a.example.com:8080/".to_owned(),
    ] {
        let refusal = refusal(&outbound, &uri).await;
        assert!(matches!(refusal, Error::Denied { .. }), "{uri}: {refusal}");
    }
    assert!(peer.was_spared());
}

#[tokio::test]
async fn a_granted_name_that_leads_to_this_machine_or_to_the_platform_is_refused() {
    let peer = Peer::new().await;
    let port = peer.port();
    let grants = format!(
        "outbound = ['http://rebound.example:{port}', 'http://*.rebound.example:{port}', 'http://127.0.0.1:{port}']"
    );
    for address in [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "0.0.0.0",
        "::",
        "169.254.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let answers: &[&str] = &[address];
        let outbound = outbound_with(
            &grants,
            &[],
            &[("rebound.example", answers), ("a.rebound.example", answers)],
        );
        for name in ["rebound.example", "a.rebound.example", "REBOUND.example."] {
            let refusal = refusal(&outbound, &format!("http://{name}:{port}/")).await;
            assert!(
                matches!(refusal, Error::AddressProhibited { .. }),
                "{name} → {address}: {refusal}"
            );
        }
    }
    assert!(peer.was_spared());
}

#[tokio::test]
async fn one_forbidden_address_among_several_is_enough() {
    let outbound = outbound_with(
        "outbound = ['http://mixed.example']",
        &[],
        &[("mixed.example", &["192.0.2.1", "127.0.0.1"])],
    );
    let refusal = refusal(&outbound, "http://mixed.example/").await;
    assert!(matches!(refusal, Error::AddressProhibited { .. }), "{refusal}");
}

#[tokio::test]
async fn the_platforms_own_services_are_closed_even_to_a_grant_that_names_them() {
    let peer = Peer::new().await;
    let port = peer.port();
    let at = |host: &str| format!("{host}:{port}");
    let spellings = [
        at("127.0.0.1"),
        at("127.0.0.2"),
        at("localhost"),
        at("0.0.0.0"),
        at("[::1]"),
        at("api.internal"),
    ];
    for runtime_api in [at("127.0.0.1"), at("localhost"), at("api.internal"), at("0.0.0.0")] {
        for spelling in &spellings {
            let outbound = outbound_with(
                &format!("outbound = ['http://{spelling}']"),
                &[("AWS_LAMBDA_RUNTIME_API", &runtime_api)],
                &[("api.internal", &["192.0.2.1", "127.0.0.1"])],
            );
            let refusal = refusal(
                &outbound,
                &format!("http://{spelling}/2018-06-01/runtime/invocation/next"),
            )
            .await;
            assert!(
                matches!(refusal, Error::AddressProhibited { .. }),
                "{spelling}: {refusal}"
            );
        }
    }
    for metadata in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::254]",
        "[fd00:ec2::23]",
    ] {
        let outbound = outbound(&format!("outbound = ['http://{metadata}:8080']"));
        let refusal = refusal(&outbound, &format!("http://{metadata}:8080/")).await;
        assert!(
            matches!(refusal, Error::AddressProhibited { .. }),
            "{metadata}: {refusal}"
        );
    }
    assert!(peer.was_spared());
}

#[test]
fn private_networks_are_open_to_the_names_on_the_list() {
    let outbound = outbound("outbound = ['https://database.internal']");
    let target = target("https://database.internal");
    let permit = outbound.allow.permit(&facts(&target)).unwrap();
    for address in ["10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd12:3456::1"] {
        assert_eq!(permit.objection(address.parse().unwrap()), None, "{address}");
    }
}

#[test]
fn an_address_of_this_machine_that_does_not_look_like_one_is_noticed_once_connected() {
    let outbound = outbound("outbound = ['http://name.example:80', 'http://192.0.2.7:80', 'http://192.0.2.7:9001']");
    let check = |uri: &str, own: &str| {
        let target = target(uri);
        let permit = outbound.allow.permit(&facts(&target)).unwrap();
        let peer: IpAddr = "192.0.2.7".parse().unwrap();
        outbound
            .connector
            .check_ends(&target, &permit, own.parse().unwrap(), peer)
            .is_ok()
    };
    assert!(check("http://name.example/", "192.0.2.8"));
    assert!(!check("http://name.example/", "192.0.2.7"));
    assert!(check("http://192.0.2.7/", "192.0.2.7"));
    // The Runtime API may listen on every address of the machine.
    assert!(!check("http://192.0.2.7:9001/", "192.0.2.7"));
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let peer = Peer::new().await;
    let port = peer.port();
    let outbound = outbound(&format!("outbound = ['http://localhost:{port}']"));
    let target = target(&format!("http://localhost:{port}/"));
    let permit = outbound.allow.permit(&facts(&target)).unwrap();
    let addresses = ["127.0.0.2", "127.0.0.1"].map(|address| address.parse().unwrap());
    let stream = outbound
        .connector
        .connect_to_first(&target, &permit, &addresses)
        .await
        .unwrap();
    assert_eq!(stream.peer_addr().unwrap(), peer.address);
    let refused = outbound
        .connector
        .connect_to_first(&target, &permit, &addresses[..1])
        .await;
    assert!(matches!(refused, Err(Error::ConnectionRefused { .. })));
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_of_name_resolution() {
    let outbound = outbound("outbound = ['http://nowhere.example']");
    let refusal = refusal(&outbound, "http://nowhere.example/").await;
    assert!(
        matches!(&refusal, Error::Dns { name, .. } if name == "nowhere.example"),
        "{refusal}"
    );
}

#[tokio::test]
async fn disguised_targets_are_invalid_whatever_is_granted() {
    let outbound = outbound("outbound = ['http://127.0.0.1:8080', 'http://granted.example']");
    for uri in [
        "http://2130706433:8080/",
        "http://0x7f000001:8080/",
        "http://0177.0.0.1:8080/",
        "http://127.1:8080/",
        "http://granted.example@127.0.0.1:8080/",
        "http://user:password@granted.example/",
        "ftp://granted.example/",
        "/only/a/path",
    ] {
        let refusal = refusal(&outbound, uri).await;
        assert!(matches!(refusal, Error::InvalidUri(_)), "{uri}: {refusal}");
    }
    let tunnel = Request::builder()
        .method(Method::CONNECT)
        .uri("http://granted.example/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert!(matches!(send(&outbound, tunnel).await, Err(Error::InvalidMethod(_))));
}
