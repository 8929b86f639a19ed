//! Messages that were received too often, and their way back.

use orlop_tests::QueueServer;

#[test]
fn a_message_goes_to_the_dead_letter_queue_after_the_last_receive_that_is_allowed() {
    QueueServer::start().python(
        r#"
dead = create("dead")
queue = create("orders", VisibilityTimeout=0, RedrivePolicy=redrive("dead", 2))
sent = send(queue, "poison", MessageAttributes={"a": {"DataType": "String", "StringValue": "v"}})
time.sleep(0.01)
for count in ["1", "2"]:
    [message] = receive(queue, MessageSystemAttributeNames=["All"])
    same(message["Attributes"]["ApproximateReceiveCount"], count)
    assert "DeadLetterQueueSourceArn" not in message["Attributes"]
send(queue, "fine")
same(bodies(receive(queue)), ["fine"])
same(counts(queue), (1, 0, 0))
[buried] = receive(dead, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"])
same(buried["MessageId"], sent["MessageId"])
same(buried["Body"], "poison")
same(buried["MessageAttributes"]["a"]["StringValue"], "v")
same(buried["Attributes"]["DeadLetterQueueSourceArn"], arn("orders"))
same(buried["Attributes"]["SentTimestamp"], message["Attributes"]["SentTimestamp"])
same(buried["Attributes"]["ApproximateReceiveCount"], "3")
same(sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"], [queue])
"#,
    );
}

#[test]
fn somebody_who_waits_at_the_dead_letter_queue_gets_the_message_at_once() {
    QueueServer::start().python(
        r#"
dead = create("dead")
queue = create("orders", VisibilityTimeout=1, RedrivePolicy=redrive("dead", 1))
send(queue, "poison")
same(bodies(receive(queue)), ["poison"])
poller = threading.Thread(target=lambda: receive(queue, WaitTimeSeconds=3))
poller.start()
begin = time.monotonic()
same(bodies(receive(dead, WaitTimeSeconds=20)), ["poison"])
assert time.monotonic() - begin < 10
poller.join()
"#,
    );
}

#[test]
fn a_dead_message_no_longer_holds_up_its_group() {
    QueueServer::start().python(
        r#"
dead = create("dead.fifo")
queue = create("orders.fifo", ContentBasedDeduplication="true", VisibilityTimeout=0, RedrivePolicy=redrive("dead.fifo", 1))
for body in ["poison", "next"]:
    send(queue, body, MessageGroupId="g")
same(bodies(receive(queue, 1)), ["poison"])
same(bodies(receive(queue)), ["next"])
[buried] = receive(dead, MessageSystemAttributeNames=["All"])
same(buried["Body"], "poison")
same(buried["Attributes"]["MessageGroupId"], "g")
"#,
    );
}

#[test]
fn without_its_dead_letter_queue_a_queue_keeps_its_messages() {
    QueueServer::start().python(
        r#"
dead = create("dead")
queue = create("orders", VisibilityTimeout=0, RedrivePolicy=redrive("dead", 1))
send(queue, "x")
sqs.delete_queue(QueueUrl=dead)
for _ in range(3):
    same(bodies(receive(queue)), ["x"])
"#,
    );
}

#[test]
fn a_redrive_policy_has_to_make_sense() {
    QueueServer::start().python(
        r#"
def attempt(name, policy):
    attributes = {"RedrivePolicy": policy}
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    refused("InvalidParameterValue", "create_queue", QueueName=name, Attributes=attributes)
create("dead")
attempt("orders", redrive("missing", 1))
attempt("orders", redrive("dead", 0))
attempt("orders", redrive("dead", 1001))
attempt("orders", "nonsense")
attempt("orders", "{}")
attempt("orders.fifo", redrive("dead", 1))
dead = create("choosy", RedriveAllowPolicy=json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn("friend")]}))
attempt("orders", redrive("choosy", 1))
friend = create("friend", RedrivePolicy=redrive("choosy", 3))
policy = sqs.get_queue_attributes(QueueUrl=friend, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
same(json.loads(policy), {"deadLetterTargetArn": arn("choosy"), "maxReceiveCount": 3})
sqs.set_queue_attributes(QueueUrl=friend, Attributes={"RedrivePolicy": ""})
assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=friend, AttributeNames=["RedrivePolicy"])
sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": '{"redrivePermission": "denyAll"}'})
refused("InvalidParameterValue", "set_queue_attributes",
        QueueUrl=friend, Attributes={"RedrivePolicy": redrive("choosy", 3)})
"#,
    );
}

#[test]
fn dead_messages_are_moved_back_as_new_ones() {
    QueueServer::start().python(
        r#"
dead = create("dead")
queue = create("orders", VisibilityTimeout=0, RedrivePolicy=redrive("dead", 1))
ids = [send(queue, str(number))["MessageId"] for number in range(12)]
while receive(queue):
    pass
same(counts(dead), (12, 0, 0))
sqs.start_message_move_task(SourceArn=arn("dead"))
same((counts(queue), counts(dead)), ((12, 0, 0), (0, 0, 0)))
[task] = sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"]
same(task["Status"], "COMPLETED")
same((task["ApproximateNumberOfMessagesMoved"], task["ApproximateNumberOfMessagesToMove"]), (12, 12))
assert "TaskHandle" not in task
[message] = receive(queue, 1, MessageSystemAttributeNames=["All"])
assert message["MessageId"] not in ids
same(message["Attributes"]["ApproximateReceiveCount"], "1")

send(dead, "sent here")
sqs.start_message_move_task(SourceArn=arn("dead"))
[task] = sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"]
same((task["Status"], task["FailureReason"]), ("FAILED", "CouldNotDetermineMessageSource"))
other = create("other")
sqs.start_message_move_task(SourceArn=arn("dead"), DestinationArn=arn("other"))
same(bodies(receive(other)), ["sent here"])
"#,
    );
}

#[test]
fn a_move_can_be_slow_and_be_cancelled() {
    QueueServer::start().python(
        r#"
dead = create("dead")
queue = create("orders", RedrivePolicy=redrive("dead", 1))
for number in range(5):
    send(dead, str(number))
slow = dict(SourceArn=arn("dead"), DestinationArn=arn("orders"), MaxNumberOfMessagesPerSecond=1)
handle = sqs.start_message_move_task(**slow)["TaskHandle"]
refused("AWS.SimpleQueueService.UnsupportedOperation", "start_message_move_task", **slow)
same(bodies(receive(queue, WaitTimeSeconds=20)), ["0"])
[task] = sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"]
same((task["Status"], task["TaskHandle"], task["MaxNumberOfMessagesPerSecond"]), ("RUNNING", handle, 1))
moved = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
same(counts(dead), (5 - moved, 0, 0))
same(sqs.list_message_move_tasks(SourceArn=arn("dead"), MaxResults=10)["Results"][0]["Status"], "CANCELLED")
refused("ResourceNotFoundException", "cancel_message_move_task", TaskHandle=handle)
refused("ResourceNotFoundException", "start_message_move_task", SourceArn=arn("missing"))
refused("InvalidParameterValue", "start_message_move_task", SourceArn=arn("orders"))
"#,
    );
}
