//! What is refused before the first message is taken.

use std::time::Duration;

use orlop_tests::queue_server::QueueServer;

use super::desk::{Desk, queue};

#[test]
fn a_queue_that_gives_messages_away_before_the_function_can_be_done_is_refused_with_advice() {
    let server = QueueServer::start();
    let url = queue(&server.url(), "orders", 19, 2, "");
    let desk = Desk::new(|_| ());
    let change = |settings: &mut orlop_local::event_source_mapping::Settings| settings.window = Duration::from_secs(5);
    let error = desk.try_start(&url, change).unwrap_err();
    let expected = "the visibility timeout of the queue `orders`, 19 s, is shorter than the timeout of the function \
                    `worker`, 20 s";
    assert_eq!(error.to_string(), expected);
    let advice = format!("aws sqs set-queue-attributes --queue-url {url} --attributes VisibilityTimeout=125");
    assert!(error.help().contains(&advice), "{}", error.help());
}

#[test]
fn a_queue_that_is_not_there_or_does_not_answer_is_refused() {
    let server = QueueServer::start();
    let desk = Desk::new(|_| ());
    let missing = format!("{}/000000000000/nothing", server.url());
    let error = desk.try_start(&missing, |_| ()).unwrap_err();
    assert_eq!(error.to_string(), format!("the queue {missing} does not exist"));

    let silent = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{silent}/000000000000/orders");
    let error = desk.try_start(&url, |_| ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the queue {url}: ")), "{error}");
    assert!(error.contains("Connection refused"), "{error}");

    let error = desk.try_start("orders", |_| ()).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot use the queue orders: it does not begin with http:// or https:// and a host"
    );
}

#[test]
fn settings_that_a_fifo_queue_or_the_platform_cannot_serve_are_refused() {
    let server = QueueServer::start();
    let url = queue(&server.url(), "orders.fifo", 60, 2, "");
    let desk = Desk::new(|_| ());
    let error = desk
        .try_start(&url, |settings| settings.window = Duration::from_secs(1))
        .unwrap_err();
    assert!(error.to_string().contains("`orders.fifo` is a FIFO queue"), "{error}");
    let error = desk
        .try_start(&url, |settings| settings.function = "nobody".to_owned())
        .unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
}
