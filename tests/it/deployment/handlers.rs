//! What a handler's name stands for, and what is served without one.

use super::*;

#[test]
fn a_handler_that_is_a_function_takes_every_event_whatever_the_routes_say() {
    let manifest = named_functions(&["one", "two"]) + "[[routes]]\npath = '/2'\nfunction = 'two'\n";
    for handler in ["one", "one.wasm", "one.cwasm"] {
        let deployed = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), Some(handler), &[]);
        assert_eq!(deployed.loaded(), [""; 0], "the other is not loaded");
        assert_eq!(deployed.who_takes("http", &http_event("GET", "/2")), "one");
        assert_eq!(deployed.who_takes("other", &json!({})), "one");
    }
    // Where the platform gives the name by a variable.
    let deployed = Deployed::with(
        task_root(&[guests::ENVIRONMENT], &manifest),
        None,
        &[("_HANDLER", "two")],
    );
    assert_eq!(deployed.who_takes("other", &json!({})), "two");
}

#[test]
fn a_handler_that_routes_name_has_these_routes_and_those_for_all_handlers() {
    let manifest = named_functions(&["one", "two", "three"])
        + "[[routes]]\nhandler = 'web'\npath = '/x'\nfunction = 'one'\n\
           [[routes]]\nhandler = 'worker'\nfunction = 'two'\n\
           [[routes]]\nsource = 'aws.events'\nfunction = 'three'\n";
    let web = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), Some("web"), &[]);
    assert_eq!(web.loaded(), ["one", "three"]);
    assert_eq!(web.who_takes("x", &http_event("GET", "/x")), "one");
    assert_eq!(web.who_takes("clock", &scheduled_event()), "three");
    let report = web.failure("queue", queue_event("q").to_string());
    assert_eq!(text(&report, "errorType"), "Runtime.RouteNotFound");

    let worker = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), Some("worker"), &[]);
    assert_eq!(worker.who_takes("x", &http_event("GET", "/x")), "two");
    assert_eq!(worker.who_takes("clock", &scheduled_event()), "two");

    // Without a handler there are the routes for all handlers.
    let nobody = Deployed::new(task_root(&[guests::ENVIRONMENT], &manifest));
    assert_eq!(nobody.who_takes("clock", &scheduled_event()), "three");
    assert_eq!(
        nobody.answer("x", http_event("GET", "/x").to_string())["statusCode"],
        404
    );
}

#[test]
fn a_handler_that_is_a_component_only_has_the_defaults() {
    let manifest = "[defaults]\nenvironment = { WHO = 'defaults' }\n".to_owned()
        + &named_functions(&["one"])
        + "[[routes]]\nfunction = 'one'\n";
    let deployed = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), Some("environment"), &[]);
    assert_eq!(deployed.who_takes("a", &json!({})), "defaults");
}

#[test]
fn a_handler_that_is_nothing_fails_init_with_what_there_is() {
    let manifest = named_functions(&["one"]) + "[[routes]]\nfunction = 'one'\n";
    let deployed = Deployed::with(task_root(&[guests::ENVIRONMENT], &manifest), Some("tow"), &[]);
    let report = deployed.init_error();
    assert_eq!(text(&report, "errorType"), "Runtime.ComponentNotFound");
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("`tow`") && message.contains("environment"),
        "{message}"
    );
}

#[test]
fn without_a_handler_and_routes_the_only_function_or_the_only_component_serves() {
    let one = Deployed::new(task_root(
        &[guests::ENVIRONMENT, guests::ECHO],
        &named_functions(&["one"]),
    ));
    assert_eq!(one.who_takes("a", &http_event("GET", "/")), "one");

    let defaults = "[defaults]\nenvironment = { WHO = 'defaults' }\n";
    let only = Deployed::new(task_root(&[guests::ENVIRONMENT], defaults));
    assert_eq!(only.who_takes("a", &json!({})), "defaults");

    let many = Deployed::new(task_root(&[guests::ENVIRONMENT], &named_functions(&["one", "two"])));
    let report = many.init_error();
    assert_eq!(text(&report, "errorType"), "Runtime.HandlerNotFound");
    let message = text(&report, "errorMessage");
    assert!(
        message.contains("one, two") && message.contains("[[routes]]"),
        "{message}"
    );
}
