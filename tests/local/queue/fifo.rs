//! FIFO queues.

use orlop_tests::QueueServer;

#[test]
fn messages_of_a_group_are_received_in_the_order_in_which_they_were_sent() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo")
sent = [send(queue, str(number), MessageGroupId="g", MessageDeduplicationId=str(number)) for number in range(25)]
numbers = [one["SequenceNumber"] for one in sent]
assert all(len(number) == 20 and number.isdigit() for number in numbers)
same(sorted(numbers), numbers)
seen = []
while messages := receive(queue, MessageSystemAttributeNames=["All"]):
    same(len(messages), min(10, 25 - len(seen)))
    for message in messages:
        attributes = message["Attributes"]
        same(attributes["SequenceNumber"], numbers[len(seen)])
        same((attributes["MessageGroupId"], attributes["MessageDeduplicationId"]), ("g", str(len(seen))))
        seen.append(message["Body"])
        delete(queue, message)
same(seen, [str(number) for number in range(25)])
"#,
    );
}

#[test]
fn a_group_waits_while_one_of_its_messages_is_in_flight_and_the_others_go_on() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo", ContentBasedDeduplication="true")
for body in ["a1", "a2", "b1", "a3", "b2"]:
    send(queue, body, MessageGroupId=body[0])
[first] = receive(queue, 1)
same(first["Body"], "a1")
others = receive(queue)
same(bodies(others), ["b1", "b2"])
same(receive(queue), [])
same(counts(queue), (2, 3, 0))
waiter = threading.Timer(0.5, lambda: delete(queue, first))
begin = time.monotonic()
waiter.start()
same(bodies(receive(queue, WaitTimeSeconds=20)), ["a2", "a3"])
assert time.monotonic() - begin < 5
waiter.join()
# A message that is given back comes again before those behind it, which wait until all are back.
show(queue, others[0])
same(receive(queue), [])
show(queue, others[1])
same(bodies(receive(queue)), ["b1", "b2"])
"#,
    );
}

#[test]
fn a_group_goes_on_from_its_first_message_when_the_visibility_timeout_is_over() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo", ContentBasedDeduplication="true", VisibilityTimeout=1)
for body in ["1", "2", "3"]:
    send(queue, body, MessageGroupId="g")
first = receive(queue, 2)
same(bodies(first), ["1", "2"])
again = receive(queue, WaitTimeSeconds=20, VisibilityTimeout=30)
same(bodies(again), ["1", "2", "3"])
refused("InvalidParameterValue", "delete_message", QueueUrl=queue, ReceiptHandle=first[0]["ReceiptHandle"])
delete(queue, again[0])
delete(queue, again[0])
show(queue, again[1])
refused("InvalidParameterValue", "delete_message", QueueUrl=queue, ReceiptHandle=again[1]["ReceiptHandle"])
same(counts(queue), (1, 1, 0))
"#,
    );
}

#[test]
fn a_message_that_is_sent_twice_arrives_once() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo")
first = send(queue, "x", MessageGroupId="g", MessageDeduplicationId="1")
again = send(queue, "y", MessageGroupId="h", MessageDeduplicationId="1")
same((again["MessageId"], again["SequenceNumber"]), (first["MessageId"], first["SequenceNumber"]))
[message] = receive(queue)
same(message["Body"], "x")
delete(queue, message)
# It counts although the message is gone.
send(queue, "x", MessageGroupId="g", MessageDeduplicationId="1")
same(receive(queue), [])
refused("InvalidParameterValue", "send_message", QueueUrl=queue, MessageBody="x", MessageGroupId="g")

by_content = create("content.fifo", ContentBasedDeduplication="true")
first = send(by_content, "x", MessageGroupId="g")
same(send(by_content, "x", MessageGroupId="g")["MessageId"], first["MessageId"])
assert send(by_content, "x", MessageGroupId="g", MessageDeduplicationId="own")["MessageId"] != first["MessageId"]
[message, _] = receive(by_content, MessageSystemAttributeNames=["MessageDeduplicationId"])
same(message["Attributes"]["MessageDeduplicationId"], hashlib.sha256(b"x").hexdigest())

by_group = create("group.fifo", DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")
for group in ["g", "h", "g"]:
    send(by_group, "x", MessageGroupId=group, MessageDeduplicationId="1")
same(counts(by_group), (2, 0, 0))
"#,
    );
}

#[test]
fn a_receive_whose_answer_was_lost_can_be_repeated() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo", ContentBasedDeduplication="true")
for body in ["1", "2", "3"]:
    send(queue, body, MessageGroupId="g")
first = receive(queue, 2, ReceiveRequestAttemptId="one")
again = receive(queue, 2, ReceiveRequestAttemptId="one")
same(bodies(again), ["1", "2"])
same([one["ReceiptHandle"] for one in again], [one["ReceiptHandle"] for one in first])
same(receive(queue, ReceiveRequestAttemptId="two"), [])
delete(queue, first[0])
same(receive(queue, ReceiveRequestAttemptId="one"), [])
"#,
    );
}

#[test]
fn the_delay_of_a_fifo_queue_is_the_queues() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo", ContentBasedDeduplication="true", DelaySeconds=1)
refused("InvalidParameterValue", "send_message", QueueUrl=queue, MessageBody="x", MessageGroupId="g", DelaySeconds=1)
refused("MissingParameter", "send_message", QueueUrl=queue, MessageBody="x")
send(queue, "1", MessageGroupId="g")
same(counts(queue), (0, 0, 1))
same(receive(queue), [])
same(bodies(receive(queue, WaitTimeSeconds=20)), ["1"])
"#,
    );
}

#[test]
fn a_batch_keeps_the_order_of_its_entries() {
    QueueServer::start().python(
        r#"
queue = create("orders.fifo", ContentBasedDeduplication="true")
entries = [{"Id": str(number), "MessageBody": str(number), "MessageGroupId": "g"} for number in range(10)]
del entries[4]["MessageGroupId"]
answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
same([(one["Id"], one["Code"]) for one in answer["Failed"]], [("4", "MissingParameter")])
numbers = [one["SequenceNumber"] for one in answer["Successful"]]
same(sorted(numbers), numbers)
same(bodies(receive(queue)), ["0", "1", "2", "3", "5", "6", "7", "8", "9"])
"#,
    );
}
