//! Any request to the queues, in both of SQS's protocols: an answer, and one that names no other queue's messages.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use orlop_local::queue::{Queues, Settings};

const ACTIONS: [&str; 8] = [
    "CreateQueue",
    "SendMessage",
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "ListQueues",
];

fuzz_target!(|requests: Vec<(u8, bool, &[u8])>| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    runtime.block_on(async {
        let queues = Queues::new(Settings::default());
        queues.create("orders", &[]).await.expect("a queue");
        for (action, is_json, body) in requests {
            let action = ACTIONS[usize::from(action) % ACTIONS.len()];
            let builder = http::Request::post("http://localhost/000000000000/orders");
            let request = match is_json {
                true => builder
                    .header("x-amz-target", format!("AmazonSQS.{action}"))
                    .header("content-type", "application/x-amz-json-1.0")
                    .body(Bytes::copy_from_slice(body)),
                false => builder
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body([format!("Action={action}&").as_bytes(), body].concat().into()),
            };
            let request = request.expect("a request of fixed parts");
            // A long poll may wait; what it waits for does not come.
            let answer = tokio::time::timeout(std::time::Duration::from_millis(20), queues.answer(request)).await;
            if let Ok(answer) = answer {
                assert!(answer.status().as_u16() < 500, "{answer:?}");
            }
        }
    });
});
