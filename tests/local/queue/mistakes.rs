//! What clients do wrong, and what they are told.

use orlop_tests::QueueServer;

#[test]
fn requests_that_are_none_are_refused() {
    QueueServer::start().python(
        r#"
def expect(status, shape, action, body, **rest):
    actual, headers, answer = post(action, body, **rest)
    same((actual, answer["__type"].split('#')[1]), (status, shape))
    assert answer["message"]
    assert headers["x-amzn-query-error"].endswith(";Sender"), headers["x-amzn-query-error"]
    same(headers["Content-Type"], "application/x-amz-json-1.0")
    assert headers["x-amzn-RequestId"]
expect(404, "UnknownOperationException", "AmazonSQS.Nonsense", "{}")
expect(404, "UnknownOperationException", "DynamoDB_20120810.GetItem", "{}")
expect(404, "UnknownOperationException", None, "Action=ListQueues&Version=2012-11-05")
expect(404, "UnknownOperationException", "AmazonSQS.ListQueues", None, method="GET")
for body in ["", "nonsense", "[]x", "{", '"text"', "null", '{"QueueUrl": 1}', b"\xff\xfe", '{"QueueUrl": "q", "MessageBody": "\\ud800"}']:
    expect(400, "SerializationException", "AmazonSQS.SendMessage", body)
expect(400, "SerializationException", "AmazonSQS.SendMessage", "[" * 100000)
expect(400, "MissingRequiredParameterException", "AmazonSQS.SendMessage", "{}")
expect(400, "MissingRequiredParameterException", "AmazonSQS.CreateQueue", "{}")
expect(400, "InvalidAddress", "AmazonSQS.PurgeQueue", '{"QueueUrl": "http://host/"}')
expect(413, "RequestEntityTooLargeException", "AmazonSQS.ListQueues", b" " * (8 << 20) + b"{}")
"#,
    );
}

#[test]
fn no_action_works_on_a_queue_that_is_not_there() {
    QueueServer::start().python(
        r#"
url = address + "/000000000000/missing"
entry = {"Id": "1", "ReceiptHandle": "x"}
calls = {
    "delete_queue": {}, "purge_queue": {}, "get_queue_attributes": {}, "set_queue_attributes": {"Attributes": {}},
    "send_message": {"MessageBody": "x"}, "send_message_batch": {"Entries": [{"Id": "1", "MessageBody": "x"}]},
    "receive_message": {}, "delete_message": {"ReceiptHandle": "x"}, "delete_message_batch": {"Entries": [entry]},
    "change_message_visibility": {"ReceiptHandle": "x", "VisibilityTimeout": 1},
    "change_message_visibility_batch": {"Entries": [{**entry, "VisibilityTimeout": 1}]},
    "list_dead_letter_source_queues": {}, "tag_queue": {"Tags": {}}, "untag_queue": {"TagKeys": []}, "list_queue_tags": {},
}
for action, rest in calls.items():
    refused("AWS.SimpleQueueService.NonExistentQueue", action, QueueUrl=url, **rest)
"#,
    );
}

#[test]
fn names_that_sqs_does_not_take_are_refused() {
    QueueServer::start().python(
        r#"
def attempt(name, code="InvalidParameterValue", **attributes):
    refused(code, "create_queue", QueueName=name, Attributes=attributes)
for name in ["", "a b", "a/b", "a.b", "\u00e9", "x" * 81, ".fifo", "x" * 76 + ".fifo", "orders.fifo"]:
    attempt(name)
attempt("orders", FifoQueue="true")
attempt("orders", "InvalidAttributeValue", FifoQueue="false")
attempt("orders", "InvalidAttributeName", Nonsense="1")
create("x" * 80)
create("x" * 75 + ".fifo")
"#,
    );
}

#[test]
fn messages_that_sqs_does_not_take_are_refused() {
    QueueServer::start().python(
        r#"
queue = create("orders")
def attempt(code, **message):
    refused(code, "send_message", QueueUrl=queue, **{"MessageBody": "x", **message})
attempt("MissingParameter", MessageBody="")
for character in ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"]:
    attempt("InvalidMessageContents", MessageBody=f"a{character}b")
for delay in [-1, 901]:
    attempt("InvalidParameterValue", DelaySeconds=delay)
attempt("InvalidParameterValue", MessageDeduplicationId="x")
def attributes(name="a", count=1, **value):
    return {name + str(number or ""): {"DataType": "String", "StringValue": "v", **value} for number in range(count)}
for bad in [attributes(count=11), attributes("AWS.x"), attributes("amazon.x"), attributes(".x"), attributes("x..y"),
            attributes("a b"), attributes("x" * 257), attributes(StringValue=""), attributes(DataType="Text"),
            attributes(DataType="Number"), attributes(BinaryValue=b"x"), attributes(DataType="Binary"),
            attributes(DataType="Number", StringValue="nan")]:
    attempt("InvalidParameterValue", MessageAttributes=bad)
attempt("InvalidMessageContents", MessageAttributes=attributes(StringValue="\x01"))
attempt("InvalidParameterValue", MessageSystemAttributes=attributes("AWSTraceHeader", DataType="Number", StringValue="1"))
send(queue, "x", MessageAttributes=attributes(count=10))
same(counts(queue), (1, 0, 0))
"#,
    );
}

#[test]
fn a_message_has_at_most_a_mebibyte_and_so_has_a_batch() {
    QueueServer::start().python(
        r#"
queue = create("orders")
limit = 1 << 20
def entries(*sizes):
    return [{"Id": str(index), "MessageBody": "x" * size} for index, size in enumerate(sizes)]
send(queue, "x" * limit)
send(queue, "\u00e9" * (limit // 2))
error = refused("InvalidParameterValue", "send_message", QueueUrl=queue, MessageBody="x" * (limit + 1))
error = refused("InvalidParameterValue", "send_message", QueueUrl=queue, MessageBody="\u00e9" * (limit // 2 + 1))
attribute = {"a": {"DataType": "Binary", "BinaryValue": b"x" * 10}}
send(queue, "x" * (limit - 17), MessageAttributes=attribute)
refused("InvalidParameterValue", "send_message", QueueUrl=queue, MessageBody="x" * (limit - 16), MessageAttributes=attribute)
sqs.send_message_batch(QueueUrl=queue, Entries=entries(*[limit // 8] * 8))
refused("AWS.SimpleQueueService.BatchRequestTooLong", "send_message_batch", QueueUrl=queue, Entries=entries(limit, 1))
same(counts(queue), (11, 0, 0))
same([len(body) for body in bodies(receive(queue, 2))], [limit, limit // 2])
small = create("small", MaximumMessageSize=1024)
answer = sqs.send_message_batch(QueueUrl=small, Entries=entries(1024, 1025))
same([one["Id"] for one in answer["Successful"]], ["0"])
same([(one["Id"], one["Code"]) for one in answer["Failed"]], [("1", "InvalidParameterValue")])
"#,
    );
}

#[test]
fn batches_that_sqs_does_not_take_are_refused() {
    QueueServer::start().python(
        r#"
queue = create("orders")
def attempt(code, *ids):
    prefix = "AWS.SimpleQueueService."
    entries = [{"Id": id, "MessageBody": "x"} for id in ids]
    refused(prefix + code, "send_message_batch", QueueUrl=queue, Entries=entries)
    entries = [{"Id": id, "ReceiptHandle": "x"} for id in ids]
    refused(prefix + code, "delete_message_batch", QueueUrl=queue, Entries=entries)
    entries = [{**entry, "VisibilityTimeout": 1} for entry in entries]
    refused(prefix + code, "change_message_visibility_batch", QueueUrl=queue, Entries=entries)
attempt("EmptyBatchRequest")
attempt("TooManyEntriesInBatchRequest", *map(str, range(11)))
attempt("BatchEntryIdsNotDistinct", "a", "b", "a")
for id in ["", "a b", "\u00e9", "x" * 81]:
    attempt("InvalidBatchEntryId", id)
same(counts(queue), (0, 0, 0))
"#,
    );
}

#[test]
fn receives_that_sqs_does_not_take_are_refused() {
    QueueServer::start().python(
        r#"
queue = create("orders")
for name, bad in [("MaxNumberOfMessages", [0, 11, -1]), ("WaitTimeSeconds", [-1, 21]), ("VisibilityTimeout", [-1, 43201])]:
    for value in bad:
        refused("InvalidParameterValue", "receive_message", QueueUrl=queue, **{name: value})
refused("InvalidParameterValue", "receive_message", QueueUrl=queue, ReceiveRequestAttemptId="x")
for handle in ["nonsense", base64.b64encode(b"orders 1").decode(), base64.b64encode(b"other 1 1").decode()]:
    refused("ReceiptHandleIsInvalid", "delete_message", QueueUrl=queue, ReceiptHandle=handle)
    refused("ReceiptHandleIsInvalid", "change_message_visibility", QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=1)
refused("AWS.SimpleQueueService.UnsupportedOperation", "add_permission",
        QueueUrl=queue, Label="x", AWSAccountIds=["000000000000"], Actions=["SendMessage"])
"#,
    );
}
