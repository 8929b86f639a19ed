//! What leaves a sandbox over HTTP: what a grant names, and nothing else.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use orlop_tests::caller::{BOTH, Caller, task_root};
use orlop_tests::http_server::{hang, respond};
use orlop_tests::{Component, FakeRuntimeApi, Host, HttpServer, Served, TaskRoot, bootstrap, guests};
use serde_json::json;

fn outbound(origins: &[&str]) -> String {
    format!("outbound = {}", json!(origins))
}

#[test]
fn a_granted_call_is_made_and_its_response_arrives() {
    let server = HttpServer::echo();
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&server.origin()]));
        let outcome = caller.fetch(&json!({
            "url": format!("{}/a%20b//c?d=e&f", server.origin()),
            "method": "POST",
            "headers": { "x-test": "one", "authorization": "the guest's own" },
            "body": "written by the guest",
        }));
        assert_eq!(outcome["status"], 201, "{outcome}");
        assert_eq!(outcome["headers"]["x-answer"], "yes");
        assert_eq!(outcome["body"], "POST /a%20b//c?d=e&f\nwritten by the guest");
        let request = server.requests().pop().unwrap();
        assert_eq!(request.header("x-test"), Some("one"));
        assert_eq!(request.header("authorization"), Some("the guest's own"));
        assert_eq!(request.header("host"), server.origin().strip_prefix("http://"));
    }
}

#[test]
fn a_large_body_survives_both_ways() {
    let server = HttpServer::echo();
    let body = "0123456789abcdef".repeat(1 << 16);
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&server.origin()]));
        let outcome = caller.fetch(&json!({ "url": server.origin() + "/", "method": "PUT", "body": body }));
        let returned = outcome["body"].as_str().unwrap_or_else(|| panic!("{outcome}"));
        assert!(
            returned.strip_prefix("PUT /\n") == Some(&body),
            "{} bytes",
            returned.len()
        );
    }
}

#[test]
fn a_response_reaches_the_guest_as_it_comes() {
    for guest in BOTH {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let server = HttpServer::start(move |_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none")?;
            let _ = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
            stream.write_all(b"two")
        });
        let caller = Caller::new(guest, &outbound(&[&server.origin()]));
        let id = caller.send(&json!({ "url": server.origin() }));
        caller
            .served
            .host
            .wait_for_log(|line| line.contains("received 3 bytes"));
        release.send(()).unwrap();
        assert_eq!(caller.outcome(&id)["body"], "onetwo");
    }
}

#[test]
fn a_response_that_breaks_off_is_an_error_and_the_next_event_succeeds() {
    let server = HttpServer::start(|request, stream| match request.target.as_str() {
        "/cut" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none"),
        "/none" => Ok(()),
        "/noise" => stream.write_all(b"this is no HTTP\r\n\r\n"),
        _ => respond(stream, 200, &[], b"whole"),
    });
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&server.origin()]));
        for (path, expected) in [
            ("/cut", "HttpResponseIncomplete"),
            ("/none", "HttpResponseIncomplete"),
            ("/noise", "HttpProtocolError"),
        ] {
            let error = caller.refusal(&(server.origin() + path));
            // Of a body's failure, the guest's library for 0.2 knows no more than what the host says of it.
            let is_said = error.contains("incomplete HTTP response") && path == "/cut";
            assert!(error == expected || is_said, "{path}: {error}");
        }
        assert_eq!(caller.get(&(server.origin() + "/"))["body"], "whole");
    }
}

#[test]
fn nobody_at_the_granted_place_is_an_error_with_a_name() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let origin = format!("http://127.0.0.1:{port}");
    let unknown = "http://nobody.invalid";
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&origin, unknown]));
        assert_eq!(caller.refusal(&origin), "ConnectionRefused");
        assert!(caller.refusal(unknown).starts_with("Dns"));
    }
}

#[test]
fn a_call_that_is_not_granted_is_an_error_with_a_name_and_one_line_in_the_log() {
    let (granted, other, third) = (HttpServer::echo(), HttpServer::echo(), HttpServer::echo());
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&granted.origin()]));
        for server in [&other, &other, &third, &other] {
            assert_eq!(caller.refusal(&(server.origin() + "/path")), "HttpRequestDenied");
        }
        assert_eq!(caller.get(&granted.origin())["status"], 201);
        let lines = caller.refusals(&third.origin());
        for server in [&other, &third] {
            let about = lines.iter().filter(|line| line.contains(&server.origin()));
            let about = about.collect::<Vec<_>>();
            assert_eq!(about.len(), 1, "{lines:?}");
            let line = format!("outbound = [\"{}\"]", server.origin());
            let section = format!("[functions.{}.grants]", guest.name());
            assert!(about[0].contains(&line) && about[0].contains(&section), "{about:?}");
        }
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
    assert!(other.requests().is_empty() && third.requests().is_empty());
}

#[test]
fn without_an_orlop_toml_nothing_leaves_and_the_log_has_the_line_that_would_allow_it() {
    let server = HttpServer::echo();
    let served = Served::new(guests::FETCH);
    let wanted = json!({ "url": server.origin() }).to_string();
    let outcome = served.answer("a", wanted.clone());
    assert_eq!(outcome["error"], "ErrorCode::HttpRequestDenied");
    assert!(server.requests().is_empty());

    let line = served.host.wait_for_log(|line| line.contains("is not granted"));
    let quoted = line.split('`').skip(1).step_by(2).take(2).collect::<Vec<_>>();
    let [grant, section] = quoted.as_slice() else {
        panic!("no line and no section in {line}");
    };
    let manifest = format!("{section}\n{grant}\n");
    let task_root = TaskRoot::new()
        .with_compiled(guests::FETCH)
        .with_content("orlop.toml", manifest);
    let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, "fetch", &[]);
    assert_eq!(served.answer("b", wanted)["status"], 201);
}

#[test]
fn a_grant_for_http_opens_no_socket() {
    let server = HttpServer::echo();
    let guest = guests::NETWORK;
    let grants = outbound(&[&server.origin(), &format!("http://localhost:{}", server.port())]);
    let served = Served::in_task_root(FakeRuntimeApi::start(), task_root(guest, &grants), guest.name(), &[]);
    let address = format!("127.0.0.1:{}", server.port());
    let attempts = json!({ "tcp": address, "udp": address, "listen": "127.0.0.1:0", "lookup": "localhost" });
    let outcomes = served.answer("a", attempts.to_string());
    let outcomes = outcomes.as_object().unwrap();
    assert!(outcomes.values().all(|outcome| outcome != "ok"), "{outcomes:?}");
}

#[test]
fn each_function_of_an_image_has_its_own_grants() {
    let server = HttpServer::echo();
    let grants = outbound(&[&server.origin()]);
    let manifest = format!(
        "[functions.open]\ncomponent = \"fetch-03\"\n[functions.open.grants]\n{grants}\n\
         [functions.closed]\ncomponent = \"fetch-03\"\n\
         [[routes]]\npath = \"/open\"\nfunction = \"open\"\n\
         [[routes]]\npath = \"/closed\"\nfunction = \"closed\"\n"
    );
    let task_root = TaskRoot::new()
        .with_compiled(guests::FETCH_03)
        .with_content("orlop.toml", manifest);
    let lambda = FakeRuntimeApi::start();
    let host = Host::bootstrap(&lambda).task_root(&task_root).function(128).start();
    let caller = Caller::of(guests::FETCH_03, Served::of(lambda, host, task_root));
    for _ in 0..2 {
        let wanted = json!({ "url": server.origin() });
        assert_eq!(caller.fetch_at("/open", &wanted)["status"], 201);
        assert_eq!(
            caller.fetch_at("/closed", &wanted)["error"],
            "ErrorCode::HttpRequestDenied"
        );
    }
    let lines = caller.refusals(&server.origin());
    assert!(
        lines.len() == 1 && lines[0].contains("[functions.closed.grants]"),
        "{lines:?}"
    );
}

#[test]
fn a_kept_guest_has_the_time_of_each_event() {
    const FIRST: Duration = Duration::from_secs(2);
    let server = HttpServer::echo();
    for guest in BOTH {
        let variables = [("ORLOP_ISOLATION", "environment")];
        let grants = outbound(&[&server.origin()]);
        let caller = Caller::with(FakeRuntimeApi::start(), guest, &grants, &variables);
        let wanted = json!({ "url": server.origin() });
        let sent = Instant::now();
        assert!(!caller.served.ask(caller.event(&wanted).due_in(FIRST)).is_error);
        // Until the first event's deadline has passed, which must not be the second one's.
        std::thread::sleep(FIRST.saturating_sub(sent.elapsed()));
        assert_eq!(caller.fetch(&wanted)["status"], 201);
    }
}

#[test]
fn another_scheme_port_or_host_than_the_granted_one_is_refused() {
    let (granted, other) = (HttpServer::echo(), HttpServer::echo());
    let caller = Caller::new(guests::FETCH, &outbound(&[&granted.origin(), "https://*.example.com"]));
    for url in [
        granted.origin().replace("http:", "https:"),
        format!("http://127.0.0.1:{}", other.port()),
        format!("http://127.0.0.2:{}", granted.port()),
        format!("http://[::1]:{}", granted.port()),
        format!("http://localhost:{}", granted.port()),
        "https://example.com".to_owned(),
        "https://badexample.com".to_owned(),
        "https://example.com.evil.invalid".to_owned(),
        "http://a.example.com".to_owned(),
    ] {
        assert_eq!(caller.refusal(&url), "HttpRequestDenied", "{url}");
    }
    assert!(granted.requests().is_empty() && other.requests().is_empty());
}

#[test]
fn a_place_has_one_name_in_whatever_spelling_and_disguises_are_refused() {
    let server = HttpServer::echo();
    let port = server.port();
    let granted = format!("http://127.0.0.1:{port}");
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&granted]));
        for spelling in ["127.0.0.1.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"] {
            let url = format!("http://{spelling}:{port}/");
            assert_eq!(caller.get(&url)["status"], 201, "{url}");
        }
        for disguise in [
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "127.0.0.0x1",
            "user@127.0.0.1",
            "user:password@127.0.0.1",
        ] {
            let error = caller.refusal(&format!("http://{disguise}:{port}/"));
            assert_eq!(error, "HttpRequestUriInvalid", "{disguise}");
        }
        let stranger = Caller::new(guest, "");
        for spelling in ["127.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "localhost.", "[::1]"] {
            let error = stranger.refusal(&format!("http://{spelling}:{port}/"));
            assert_eq!(error, "HttpRequestDenied", "{spelling}");
        }
    }
    assert_eq!(server.requests().len(), 2 * 3);
}

#[test]
fn localhost_is_this_machine_for_a_grant_that_names_it() {
    let server = HttpServer::echo();
    let origin = format!("http://localhost:{}", server.port());
    let caller = Caller::new(guests::FETCH, &outbound(&[&origin]));
    assert_eq!(caller.get(&origin)["status"], 201);
    assert_eq!(caller.refusal(&server.origin()), "HttpRequestDenied");
}

/// The runtime with an `/etc/hosts` of its own: in a user namespace, in which a file hides the machine's.
fn with_hosts(guest: Component, grants: &str, hosts: &str) -> Caller {
    let lambda = FakeRuntimeApi::start();
    let task_root = task_root(guest, grants).with_content("hosts", hosts);
    let host = Host::binary(Path::new("/usr/bin/unshare"))
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount --bind \"$LAMBDA_TASK_ROOT/hosts\" /etc/hosts && exec \"$0\" \"$@\"")
        .arg(bootstrap())
        .arg(guest.name())
        .start();
    Caller::of(guest, Served::of(lambda, host, task_root))
}

#[test]
fn a_granted_name_that_leads_to_this_machine_or_to_the_platform_is_refused() {
    let server = HttpServer::echo();
    let port = server.port();
    let hosts = "127.0.0.1 plain.test mixed.test\n\
                 127.9.9.9 far.test\n\
                 ::1 six.test\n\
                 ::ffff:127.0.0.1 mapped.test\n\
                 0.0.0.0 unspecified.test\n\
                 10.1.2.3 mixed.test\n\
                 169.254.169.254 metadata.test\n\
                 169.254.1.1 neighbour.test\n";
    let names = hosts.lines().flat_map(|line| line.split(' ').skip(1));
    let names = names.collect::<std::collections::BTreeSet<_>>();
    let origins = names
        .iter()
        .map(|name| format!("http://{name}:{port}"))
        .collect::<Vec<_>>();
    let mut granted = origins.iter().map(String::as_str).collect::<Vec<_>>();
    // Naming the address opens the address and not the names that lead there.
    let address = server.origin();
    granted.push(&address);
    let caller = with_hosts(guests::FETCH, &outbound(&granted), hosts);
    for origin in &origins {
        assert_eq!(caller.refusal(origin), "DestinationIpProhibited", "{origin}");
    }
    assert!(server.requests().is_empty());
    assert_eq!(caller.get(&address)["status"], 201);
    let last = origins.last().unwrap();
    assert_eq!(caller.refusals(last).len(), origins.len());
}

#[test]
fn the_platforms_own_services_are_refused_even_when_they_are_granted() {
    let (metadata, credentials) = (HttpServer::echo(), HttpServer::echo());
    for guest in BOTH {
        let lambda = FakeRuntimeApi::start();
        let runtime_api = lambda.port();
        let own = [
            format!("http://127.0.0.1:{runtime_api}"),
            format!("http://localhost:{runtime_api}"),
            format!("http://[::1]:{runtime_api}"),
            format!("http://127.3.2.1:{runtime_api}"),
            format!("http://0.0.0.0:{runtime_api}"),
            metadata.origin(),
            credentials.origin(),
            format!("http://localhost:{}", credentials.port()),
            "http://169.254.169.254".to_owned(),
            "http://169.254.170.2".to_owned(),
            "http://[fd00:ec2::254]".to_owned(),
        ];
        let grants = outbound(&own.iter().map(String::as_str).collect::<Vec<_>>());
        let metadata_address = format!("127.0.0.1:{}", metadata.port());
        let credentials_uri = format!("http://localhost:{}/credentials", credentials.port());
        let variables = [
            ("AWS_LAMBDA_METADATA_API", metadata_address.as_str()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials_uri),
        ];
        let caller = Caller::with(lambda, guest, &grants, &variables);
        for origin in &own {
            let path = "/2018-06-01/runtime/invocation/next";
            assert_eq!(
                caller.refusal(&format!("{origin}{path}")),
                "DestinationIpProhibited",
                "{origin}"
            );
        }
        for spelling in ["[::ffff:127.0.0.1]", "127.0.0.1."] {
            let url = format!("http://{spelling}:{runtime_api}/");
            assert_eq!(caller.refusal(&url), "DestinationIpProhibited", "{url}");
        }
        let lines = caller.refusals("fd00:ec2::254");
        assert!(
            lines.iter().all(|line| !line.contains("put `")),
            "no grant opens these: {lines:?}"
        );
    }
    assert!(metadata.requests().is_empty() && credentials.requests().is_empty());
}

#[test]
fn a_redirect_is_the_guests_to_follow_and_checked_like_any_call() {
    let elsewhere = HttpServer::echo();
    let location = elsewhere.origin() + "/secret";
    let server = HttpServer::start({
        let location = location.clone();
        move |_, stream| respond(stream, 302, &[("location", &location)], b"")
    });
    for guest in BOTH {
        let caller = Caller::new(guest, &outbound(&[&server.origin()]));
        let outcome = caller.get(&server.origin());
        assert_eq!(outcome["status"], 302, "{outcome}");
        assert_eq!(outcome["headers"]["location"], json!(location));
        assert_eq!(caller.refusal(&location), "HttpRequestDenied");
    }
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_server_that_hangs_is_given_up_before_lambda_gives_up_and_the_pid_stays() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let server = HttpServer::start(|request, stream| match request.target.as_str() {
        "/never" => hang(stream),
        "/half" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none")?;
            hang(stream)
        }
        _ => respond(stream, 200, &[], b"quick"),
    });
    for guest in BOTH {
        let lambda = FakeRuntimeApi::start();
        // Room for a busy machine between our deadline and Lambda's.
        let margin = [("ORLOP_DEADLINE_MARGIN", "1500ms")];
        let caller = Caller::with(lambda, guest, &outbound(&[&server.origin()]), &margin);
        let pid = caller.host().pid();
        assert_eq!(caller.get(&server.origin())["body"], "quick");
        for path in ["/never", "/half"] {
            let event = caller.event(&json!({ "url": server.origin() + path })).due_in(TIMEOUT);
            let sent = Instant::now();
            let answer = caller.served.ask(event);
            let after = sent.elapsed();
            assert!(
                after < TIMEOUT,
                "{path}: answered after {after:?}, when Lambda had given up"
            );
            assert!(
                after > TIMEOUT / 4,
                "{path}: answered after {after:?}, long before the deadline"
            );
            let is_overrun = answer.error_type_header.as_deref() == Some("Runtime.DeadlineExceeded");
            let is_told = ["HttpResponseTimeout", "HTTP response timeout"].map(|text| answer.text().contains(text));
            assert!(is_overrun || is_told.contains(&true), "{path}: {}", answer.text());
        }
        assert_eq!(caller.get(&server.origin())["body"], "quick");
        assert_eq!(caller.host().pid(), pid);
        assert!(!caller.host().has_exited());
    }
}

#[test]
fn a_guest_may_make_granted_calls_while_it_prepares_itself() {
    let server = HttpServer::echo();
    let guest = guests::FETCH_IN_INIT;
    let fetched = |grants: &str| {
        let variables = [("URL", server.origin() + "/settings")];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let served = Served::in_task_root(
            FakeRuntimeApi::start(),
            task_root(guest, grants),
            guest.name(),
            &variables,
        );
        served.answer("a", "{}")
    };
    assert_eq!(fetched(&outbound(&[&server.origin()])), "GET /settings\n");
    let refused = fetched("");
    assert!(refused.as_str().unwrap().contains("HttpRequestDenied"), "{refused}");
}

#[test]
fn a_guests_own_patience_ends_a_call_and_the_event_goes_on() {
    let server = HttpServer::start(|_, stream| hang(stream));
    let caller = Caller::new(guests::FETCH, &outbound(&[&server.origin()]));
    let outcome = caller.fetch(&json!({ "url": server.origin(), "first_byte_timeout_ms": 100 }));
    assert_eq!(outcome["error"], "ErrorCode::ConnectionReadTimeout");
}
