//! The container images: what they hold, and that they run where Lambda runs them.
//!
//! The first run builds everything in them, which takes minutes; `ORLOP_TEST_IMAGE=skip` leaves these tests out.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use orlop_tests::image::{self, Builder, Image};
use orlop_tests::{Event, FakeRuntimeApi, Process, compile, examples, guests};
use serde_json::{Value, json};

/// How large the image of a small function may be.
const MAX_IMAGE_BYTES: u64 = 7_000_000;

/// How long a container may take to end once it has to, with the time that podman takes to notice.
const END: Duration = Duration::from_secs(5);

/// One image for all tests that want it at the same time; the last of them removes it.
static HELLO: Mutex<Weak<Image>> = Mutex::new(Weak::new());
static FULL: Mutex<Weak<Image>> = Mutex::new(Weak::new());
static LEAN: Mutex<Weak<Image>> = Mutex::new(Weak::new());
static SMALL: Mutex<Weak<Image>> = Mutex::new(Weak::new());

// Statement 8.
#[test]
fn the_image_of_a_function_is_small_and_answers_as_any_user_on_a_read_only_root() {
    if image::is_skipped() {
        return;
    }
    let image = hello();
    let size = image.bytes();
    assert!(size < MAX_IMAGE_BYTES, "the image has {size} bytes");

    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let greeting = answer(&lambda, "one", json!({ "name": "Orlop" }));
    assert_eq!(greeting, json!({ "message": "Hello, Orlop!" }));
    assert!(
        ready_line(&container).contains("origin=mapped"),
        "{:?}",
        container.log()
    );
    let has_tmp = !container.log().iter().any(|line| line.contains("guests get no /tmp"));
    assert!(has_tmp, "{:?}", container.log());
}

// Statement 79.
#[test]
fn a_container_ends_well_when_docker_stop_or_control_c_asks_it_to() {
    if image::is_skipped() {
        return;
    }
    let image = hello();
    for signal in ["TERM", "INT"] {
        let lambda = FakeRuntimeApi::start();
        let container = image.start(&lambda);
        lambda.wait_for_next();
        container.kill(signal);
        assert_eq!(container.wait_for_exit(END).code(), Some(0), "after {signal}");
    }
}

#[test]
fn a_component_copied_onto_the_full_image_answers_and_the_log_says_what_it_cost() {
    if image::is_skipped() {
        return;
    }
    let image = full().extended("COPY logic.wasm /var/task/", &examples::HELLO);
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let greeting = answer(&lambda, "one", json!({ "name": "Orlop" }));
    assert_eq!(greeting, json!({ "message": "Hello, Orlop!" }));
    assert!(
        ready_line(&container).contains("origin=compiled"),
        "{:?}",
        container.log()
    );
    assert_eq!(compilations(&container), 1, "{:?}", container.log());
}

#[test]
fn one_more_line_in_the_dockerfile_spares_every_cold_start_the_compiler() {
    if image::is_skipped() {
        return;
    }
    let lines = "COPY logic.wasm /var/task/\nRUN [\"orlop\", \"compile\", \"logic.wasm\"]";
    let image = full().extended(lines, &examples::HELLO);
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let greeting = answer(&lambda, "one", json!({ "name": "Orlop" }));
    assert_eq!(greeting, json!({ "message": "Hello, Orlop!" }));
    assert!(
        ready_line(&container).contains("origin=mapped"),
        "{:?}",
        container.log()
    );
    assert_eq!(compilations(&container), 0, "{:?}", container.log());
}

#[test]
fn the_small_image_refuses_a_component_that_needs_more_than_it_has_and_names_another_base() {
    if image::is_skipped() {
        return;
    }
    let lines = "COPY logic.wasm /var/task/logic.cwasm";
    let image = small().extended(lines, &compile(guests::FILES_03));
    assert_is_refused(&image, "asynchronous component model");
}

#[test]
fn the_small_image_refuses_a_function_that_is_granted_requests_and_names_another_base() {
    if image::is_skipped() {
        return;
    }
    assert_is_refused(&full().example("site", &small()), "is granted requests");
}

#[test]
fn a_guest_that_takes_all_the_memory_it_can_get_does_not_cost_the_container() {
    if image::is_skipped() {
        return;
    }
    let lines = "COPY logic.wasm /var/task/\nRUN [\"orlop\", \"compile\", \"logic.wasm\"]";
    let image = full().extended(lines, &guests::ALLOCATE);
    let lambda = FakeRuntimeApi::start();
    let _container = image.start(&lambda);
    let taken = answer(&lambda, "all", json!({ "bytes": 1 << 30 }));
    assert!(
        taken
            .as_u64()
            .is_some_and(|bytes| (32 << 20..128 << 20).contains(&bytes)),
        "{taken}"
    );
    assert_eq!(answer(&lambda, "after", json!({ "bytes": 1 << 20 })), 1 << 20);
}

#[test]
fn the_image_of_orders_serves_every_route_of_its_three_components() {
    if image::is_skipped() {
        return;
    }
    let image = full().example("orders", &lean());
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    for name in ["api-create", "api-read", "report"] {
        let event = example(&format!("orders/events/{name}.json"));
        let expected = example(&format!("orders/events/{name}.expected.json"));
        assert_eq!(answer(&lambda, name, event), expected, "{name}");
    }
    // The payment service of the example does not exist.
    let queue = example("orders/events/queue.json");
    let messages = queue["Records"].as_array().into_iter().flatten();
    let failures: Vec<Value> = messages
        .map(|message| json!({ "itemIdentifier": message["messageId"] }))
        .collect();
    assert!(!failures.is_empty(), "{queue}");
    assert_eq!(
        answer(&lambda, "queue", queue),
        json!({ "batchItemFailures": failures })
    );
    assert_eq!(compilations(&container), 0, "{:?}", container.log());
}

#[test]
fn the_image_of_site_refuses_what_names_no_archive() {
    if image::is_skipped() {
        return;
    }
    let image = full().example("site", &lean());
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let refusal = answer(&lambda, "one", example("site/events/bad-body.json"));
    assert_eq!(refusal, example("site/events/bad-body.expected.json"));
    assert!(
        ready_line(&container).contains("origin=mapped"),
        "{:?}",
        container.log()
    );
}

#[test]
fn the_image_of_a_new_project_answers() {
    if image::is_skipped() {
        return;
    }
    let image = full().new_project("command", &lean());
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let count = answer(&lambda, "one", json!("haul away"));
    assert_eq!(count["total"], 2, "{count}");
    assert_eq!(compilations(&container), 0, "{:?}", container.log());
}

fn hello() -> Arc<Image> {
    shared(&HELLO, None)
}

fn full() -> Arc<Image> {
    shared(&FULL, Some("full"))
}

fn lean() -> Arc<Image> {
    shared(&LEAN, Some("lean"))
}

fn small() -> Arc<Image> {
    shared(&SMALL, Some("small"))
}

fn shared(image: &Mutex<Weak<Image>>, target: Option<&str>) -> Arc<Image> {
    let mut image = image.lock().unwrap_or_else(PoisonError::into_inner);
    image.upgrade().unwrap_or_else(|| {
        let built = Arc::new(Builder::new(env!("CARGO_TARGET_TMPDIR")).project(target));
        *image = Arc::downgrade(&built);
        built
    })
}

/// A file of an example.
fn example(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn answer(lambda: &FakeRuntimeApi, id: &str, payload: Value) -> Value {
    lambda.send(Event::new(id, payload.to_string()));
    let answer = lambda.wait_for_answer(id);
    assert!(!answer.is_error, "{}", answer.text());
    answer.json()
}

/// The line with which the runtime ends its Init.
fn ready_line(container: &Process) -> String {
    container.wait_for_log(|line| line.contains("\tINFO\tready "))
}

/// The line with which the runtime says why it ends.
fn fatal_line(container: &Process) -> String {
    container.wait_for_log(|line| line.contains("\tFATAL\t"))
}

#[track_caller]
fn assert_is_refused(image: &Image, reason: &str) {
    let lambda = FakeRuntimeApi::start();
    let container = image.start(&lambda);
    let fatal = fatal_line(&container);
    assert!(fatal.contains(reason) && fatal.contains("`orlop-lean`"), "{fatal}");
    assert_eq!(container.wait_for_exit(END).code(), Some(1));
}

/// How often the log warns of a compilation at Init.
fn compilations(container: &Process) -> usize {
    container
        .log()
        .iter()
        .filter(|line| line.contains("\tWARN\tcompiled the component at Init"))
        .count()
}
