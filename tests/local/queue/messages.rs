//! Sending, receiving, deleting.

use std::time::{Duration, Instant};

use orlop_local::queue::{Outgoing, Phase};
use orlop_tests::QueueServer;

#[test]
fn the_aws_cli_sends_receives_and_deletes_a_message() {
    let server = QueueServer::start();
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let created = read(&server.aws(&["create-queue", "--queue-name", "orders"]));
    let url = format!("{}/000000000000/orders", server.url());
    assert_eq!(created["QueueUrl"], url);
    let sent = server.aws(&["send-message", "--queue-url", &url, "--message-body", "hello"]);
    let received = server.aws(&["receive-message", "--queue-url", &url, "--wait-time-seconds", "5"]);
    let message = &read(&received)["Messages"][0];
    assert_eq!(message["Body"], "hello");
    assert_eq!(message["MessageId"], read(&sent)["MessageId"]);
    let handle = message["ReceiptHandle"].as_str().unwrap();
    server.aws(&["delete-message", "--queue-url", &url, "--receipt-handle", handle]);
    let attributes = server.aws(&["get-queue-attributes", "--queue-url", &url, "--attribute-names", "All"]);
    let attributes = &read(&attributes)["Attributes"];
    assert_eq!(attributes["ApproximateNumberOfMessages"], "0");
    assert_eq!(attributes["ApproximateNumberOfMessagesNotVisible"], "0");
}

#[test]
fn a_message_is_received_once_and_is_gone_when_it_is_deleted() {
    QueueServer::start().python(
        r#"
queue = create("orders")
sent = send(queue, "hello")
[message] = receive(queue)
same(message["Body"], "hello")
same(message["MessageId"], sent["MessageId"])
same(message["MD5OfBody"], hashlib.md5(b"hello").hexdigest())
same(sent["MD5OfMessageBody"], message["MD5OfBody"])
assert "Attributes" not in message and "MessageAttributes" not in message and "SequenceNumber" not in sent
same(receive(queue), [])
same(counts(queue), (0, 1, 0))
delete(queue, message)
delete(queue, message)
same(counts(queue), (0, 0, 0))
"#,
    );
}

#[test]
fn bodies_and_attributes_arrive_as_they_were_sent_with_the_digests_that_sqs_makes() {
    QueueServer::start().python(
        r#"
def digest(attributes):
    text = b""
    def put(value):
        nonlocal text
        text += struct.pack(">I", len(value)) + value
    for name in sorted(attributes):
        attribute = attributes[name]
        put(name.encode())
        put(attribute["DataType"].encode())
        if "StringValue" in attribute:
            text += b"\x01"
            put(attribute["StringValue"].encode())
        else:
            text += b"\x02"
            put(attribute["BinaryValue"])
    return hashlib.md5(text).hexdigest()

queue = create("orders")
body = "tab\t line\r\n \u00e9 \u6f22 \U0001f600 \\ \" </xml> \ud7ff \ue000 \ufffd \x7f \x85"
attributes = {
    "Text": {"DataType": "String", "StringValue": "\u00e9\n\U0001f600"},
    "number.of-things": {"DataType": "Number.int", "StringValue": "-12.5e3"},
    "bytes_": {"DataType": "Binary.gif", "BinaryValue": bytes(range(256))},
}
trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
sent = send(queue, body, MessageAttributes=attributes, MessageSystemAttributes=trace)
same(sent["MD5OfMessageAttributes"], digest(attributes))
same(sent["MD5OfMessageSystemAttributes"], digest(trace))
[message] = receive(queue, MessageAttributeNames=["All"], MessageSystemAttributeNames=["AWSTraceHeader"])
same(message["Body"], body)
same(message["MD5OfBody"], hashlib.md5(body.encode()).hexdigest())
same(message["MessageAttributes"], attributes)
same(message["MD5OfMessageAttributes"], digest(attributes))
same(message["Attributes"], {"AWSTraceHeader": trace["AWSTraceHeader"]["StringValue"]})
"#,
    );
}

#[test]
fn only_the_attributes_that_are_asked_for_are_received() {
    QueueServer::start().python(
        r#"
queue = create("orders", VisibilityTimeout=0)
names = ["shop.name", "shop.town", "shopping", "other"]
before = int(time.time() * 1000)
send(queue, "x", MessageAttributes={name: {"DataType": "String", "StringValue": "v"} for name in names})
def own(*wanted):
    [message] = receive(queue, MessageAttributeNames=list(wanted))
    assert ("MD5OfMessageAttributes" in message) == ("MessageAttributes" in message)
    return sorted(message.get("MessageAttributes", {}))
same(own(), [])
same(own("missing"), [])
same(own("other", "shopping"), ["other", "shopping"])
same(own("shop.*"), ["shop.name", "shop.town"])
same(own("All"), sorted(names))
same(own(".*"), sorted(names))
[message] = receive(queue, AttributeNames=["SentTimestamp", "ApproximateReceiveCount"])
same(sorted(message["Attributes"]), ["ApproximateReceiveCount", "SentTimestamp"])
same(message["Attributes"]["ApproximateReceiveCount"], "7")
assert before <= int(message["Attributes"]["SentTimestamp"]) <= time.time() * 1000
[message] = receive(queue, MessageSystemAttributeNames=["All"])
same(
    sorted(message["Attributes"]),
    ["ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount", "SenderId", "SentTimestamp"],
)
refused("InvalidAttributeName", "receive_message", QueueUrl=queue, AttributeNames=["Nonsense"])
"#,
    );
}

#[test]
fn a_batch_with_a_bad_entry_does_the_others() {
    QueueServer::start().python(
        r#"
queue = create("orders")
entries = [{"Id": str(number), "MessageBody": f"body {number}"} for number in range(10)]
entries[3]["MessageBody"] = "not allowed: \x00"
entries[5]["DelaySeconds"] = 901
entries[7]["MessageAttributes"] = {"AWS.mine": {"DataType": "String", "StringValue": "v"}}
answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
same([one["Id"] for one in answer["Successful"]], ["0", "1", "2", "4", "6", "8", "9"])
same(
    [(one["Id"], one["Code"], one["SenderFault"]) for one in answer["Failed"]],
    [("3", "InvalidMessageContents", True), ("5", "InvalidParameterValue", True), ("7", "InvalidParameterValue", True)],
)
for one in answer["Successful"]:
    same(one["MD5OfMessageBody"], hashlib.md5(f"body {one['Id']}".encode()).hexdigest())
messages = receive(queue)
same(bodies(messages), [f"body {number}" for number in [0, 1, 2, 4, 6, 8, 9]])

entries = [{"Id": "a", "ReceiptHandle": messages[0]["ReceiptHandle"], "VisibilityTimeout": 0},
           {"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0},
           {"Id": "c", "ReceiptHandle": messages[1]["ReceiptHandle"], "VisibilityTimeout": 43201}]
answer = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
same([one["Id"] for one in answer["Successful"]], ["a"])
same([(one["Id"], one["Code"]) for one in answer["Failed"]],
     [("b", "ReceiptHandleIsInvalid"), ("c", "InvalidParameterValue")])
same(counts(queue), (1, 6, 0))

entries = [{"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]} for message in messages]
entries.append({"Id": "bad", "ReceiptHandle": "nonsense"})
answer = sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
same([one["Id"] for one in answer["Successful"]], [message["MessageId"] for message in messages])
same([(one["Id"], one["Code"], one["SenderFault"]) for one in answer["Failed"]], [("bad", "ReceiptHandleIsInvalid", True)])
same(counts(queue), (0, 0, 0))
"#,
    );
}

#[test]
fn a_long_poll_returns_when_a_message_comes() {
    QueueServer::start().python(
        r#"
queue = create("orders", ReceiveMessageWaitTimeSeconds=20)
def send_later():
    time.sleep(0.5)
    send(queue, "at last")
sender = threading.Thread(target=send_later)
begin = time.monotonic()
sender.start()
same(bodies(receive(queue, WaitTimeSeconds=20)), ["at last"])
took = time.monotonic() - begin
assert 0.4 < took < 5, took
sender.join()
begin = time.monotonic()
same(receive(queue, WaitTimeSeconds=1), [])
same(receive(queue, WaitTimeSeconds=0), [])
assert 0.9 < time.monotonic() - begin < 5
sender = threading.Thread(target=send_later)
sender.start()
same(bodies(receive(queue)), ["at last"])
sender.join()
"#,
    );
}

#[test]
fn a_long_poll_returns_when_a_message_is_given_back_or_its_delay_or_visibility_timeout_is_over() {
    QueueServer::start().python(
        r#"
queue = create("orders")
begin = time.monotonic()
send(queue, "x", DelaySeconds=1)
same(receive(queue), [])
same(counts(queue), (0, 0, 1))
[first] = receive(queue, WaitTimeSeconds=20, VisibilityTimeout=1)
assert 0.9 < time.monotonic() - begin < 5
[second] = receive(queue, WaitTimeSeconds=20)
assert 1.9 < time.monotonic() - begin < 8
same(second["MessageId"], first["MessageId"])
assert second["ReceiptHandle"] != first["ReceiptHandle"]
giver = threading.Timer(0.5, lambda: show(queue, second))
giver.start()
begin = time.monotonic()
[third] = receive(queue, WaitTimeSeconds=20)
assert time.monotonic() - begin < 5
giver.join()
"#,
    );
}

#[test]
fn a_receipt_handle_deletes_only_until_the_message_is_received_again() {
    QueueServer::start().python(
        r#"
queue = create("orders", VisibilityTimeout=1)
send(queue, "x")
[first] = receive(queue)
[second] = receive(queue, WaitTimeSeconds=20, VisibilityTimeout=30)
delete(queue, first)
same(counts(queue), (0, 1, 0))
refused("InvalidParameterValue", "change_message_visibility",
        QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
show(queue, second)
same(counts(queue), (1, 0, 0))
refused("AWS.SimpleQueueService.MessageNotInflight", "change_message_visibility",
        QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=10)
# Visible again, but received by nobody else.
delete(queue, second)
same(counts(queue), (0, 0, 0))
refused("InvalidParameterValue", "change_message_visibility",
        QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=10)
other = create("other")
send(other, "x")
[message] = receive(other)
refused("ReceiptHandleIsInvalid", "delete_message", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
"#,
    );
}

#[test]
fn a_visibility_timeout_can_be_prolonged_up_to_twelve_hours() {
    QueueServer::start().python(
        r#"
queue = create("orders", VisibilityTimeout=1)
send(queue, "x")
[message] = receive(queue)
show(queue, message, 20)
same(receive(queue, WaitTimeSeconds=2), [])
refused("InvalidParameterValue", "change_message_visibility",
        QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=43200)
show(queue, message, 43000)
"#,
    );
}

#[test]
fn twenty_pollers_share_a_thousand_messages_without_any_of_them_twice() {
    QueueServer::start().python(
        r#"
queue = create("orders")
def fill(start):
    for ten in range(start, 1000, 40):
        entries = [{"Id": str(one), "MessageBody": str(one)} for one in range(ten, ten + 10)]
        assert "Failed" not in sqs.send_message_batch(QueueUrl=queue, Entries=entries)
seen, lock = [], threading.Lock()
def drain():
    while True:
        messages = receive(queue, WaitTimeSeconds=2)
        if not messages:
            return
        with lock:
            seen.extend(bodies(messages))
        entries = [{"Id": str(index), "ReceiptHandle": one["ReceiptHandle"]} for index, one in enumerate(messages)]
        answer = sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        same(len(answer["Successful"]), len(messages))
threads = [threading.Thread(target=drain) for _ in range(20)]
threads += [threading.Thread(target=fill, args=(start,)) for start in range(0, 40, 10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
same(sorted(map(int, seen)), list(range(1000)))
same(counts(queue), (0, 0, 0))
"#,
    );
}

#[test]
fn code_in_the_same_process_makes_fills_and_looks_into_queues() {
    let server = QueueServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let queues = server.queues.clone();
    runtime.block_on(async {
        let arn = queues.create("orders", &[("VisibilityTimeout", "7")]).await.unwrap();
        assert_eq!(arn, "arn:aws:sqs:us-east-1:000000000000:orders");
        queues.send("orders", Outgoing::new("one")).await.unwrap();
        queues.send("orders", Outgoing::new("two").delayed(900)).await.unwrap();
        queues.send("orders", Outgoing::new("three")).await.unwrap();
    });
    server.python(
        r#"
queue = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
same(bodies(receive(queue, 1)), ["one"])
"#,
    );
    let [orders] = &queues.list()[..] else { panic!() };
    assert_eq!(
        (orders.counts.visible, orders.counts.in_flight, orders.counts.delayed),
        (1, 1, 1)
    );
    let peeked = queues.peek("orders", 10).unwrap();
    let seen: Vec<_> = peeked
        .iter()
        .map(|message| (message.body.as_str(), message.phase, message.receives))
        .collect();
    let expected = [
        ("one", Phase::InFlight, 1),
        ("two", Phase::Delayed, 0),
        ("three", Phase::Visible, 0),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_client_that_stops_waiting_takes_no_message_with_it() {
    let server = QueueServer::start();
    let script = r#"
queue = create("orders")
def give_up():
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    body = json.dumps({"QueueUrl": queue, "WaitTimeSeconds": 20})
    connection.request("POST", "/", body, {"X-Amz-Target": "AmazonSQS.ReceiveMessage"})
    time.sleep(0.2)
    connection.close()
for _ in range(5):
    give_up()
send(queue, "x")
same(bodies(receive(queue, WaitTimeSeconds=20)), ["x"])
"#;
    let begin = Instant::now();
    server.python(script);
    assert!(begin.elapsed() < Duration::from_secs(20));
}
