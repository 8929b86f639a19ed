//! Queues as such.

use orlop_tests::QueueServer;

#[test]
fn a_queue_is_made_found_listed_and_deleted() {
    QueueServer::start().python(
        r#"
urls = [create(name) for name in ["a-1", "a-2", "b_1", "c.fifo"]]
same(urls[0], address + "/000000000000/a-1")
same(sqs.get_queue_url(QueueName="a-1")["QueueUrl"], urls[0])
same(sqs.list_queues()["QueueUrls"], urls)
same(sqs.list_queues(QueueNamePrefix="a-")["QueueUrls"], urls[:2])
same(sqs.list_queues(QueueNamePrefix="x").get("QueueUrls", []), [])
page = sqs.list_queues(MaxResults=3)
same(page["QueueUrls"], urls[:3])
page = sqs.list_queues(MaxResults=3, NextToken=page["NextToken"])
same(page["QueueUrls"], urls[3:])
assert "NextToken" not in page
pages = sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1})
same([url for page in pages for url in page["QueueUrls"]], urls)
send(urls[0], "x")
sqs.delete_queue(QueueUrl=urls[0])
error = refused("AWS.SimpleQueueService.NonExistentQueue", "get_queue_url", QueueName="a-1")
assert isinstance(error, sqs.exceptions.QueueDoesNotExist)
same(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
same(receive(create("a-1")), [])
"#,
    );
}

#[test]
fn making_a_queue_again_is_fine_only_with_the_same_attributes() {
    QueueServer::start().python(
        r#"
url = create("orders", VisibilityTimeout=7)
same(create("orders", VisibilityTimeout=7), url)
same(create("orders"), url)
error = refused("QueueAlreadyExists", "create_queue", QueueName="orders", Attributes={"VisibilityTimeout": "8"})
assert isinstance(error, sqs.exceptions.QueueNameExists)
"#,
    );
}

#[test]
fn attributes_have_the_defaults_and_the_limits_of_sqs() {
    QueueServer::start().python(
        r#"
queue = create("orders")
attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
created = int(attributes.pop("CreatedTimestamp"))
assert abs(created - time.time()) < 60 and created <= int(attributes.pop("LastModifiedTimestamp"))
same(attributes, {
    "ApproximateNumberOfMessages": "0",
    "ApproximateNumberOfMessagesDelayed": "0",
    "ApproximateNumberOfMessagesNotVisible": "0",
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "QueueArn": arn("orders"),
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
})
assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue)
same(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"], {"QueueArn": arn("orders")})
limits = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1048576),
    "MessageRetentionPeriod": (60, 1209600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43200),
}
for name, (least, most) in limits.items():
    for good in [least, most]:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: str(good)})
        same(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"], {name: str(good)})
    for bad in [least - 1, most + 1, "", "x", "1.5"]:
        refused("InvalidAttributeValue", "set_queue_attributes", QueueUrl=queue, Attributes={name: str(bad)})
for name in ["Nonsense", "QueueArn", "ContentBasedDeduplication"]:
    refused("InvalidAttributeName", "set_queue_attributes", QueueUrl=queue, Attributes={name: "true"})
refused("InvalidAttributeName", "get_queue_attributes", QueueUrl=queue, AttributeNames=["Nonsense"])
fifo = create("orders.fifo")
attributes = sqs.get_queue_attributes(QueueUrl=fifo, AttributeNames=["All"])["Attributes"]
same([attributes[name] for name in ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"]],
     ["true", "false", "queue", "perQueue"])
refused("InvalidAttributeValue", "set_queue_attributes", QueueUrl=fifo, Attributes={"FifoThroughputLimit": "perMessageGroupId"})
"#,
    );
}

#[test]
fn a_purged_queue_is_empty() {
    QueueServer::start().python(
        r#"
for name, rest in [("orders", {}), ("orders.fifo", {"MessageGroupId": "g", "MessageDeduplicationId": "1"})]:
    queue = create(name)
    send(queue, "x", **rest)
    receive(queue)
    rest and rest.update(MessageDeduplicationId="2")
    send(queue, "y", **rest)
    sqs.purge_queue(QueueUrl=queue)
    same(counts(queue), (0, 0, 0))
    rest and rest.update(MessageDeduplicationId="3")
    send(queue, "z", **rest)
    same(bodies(receive(queue)), ["z"])
"#,
    );
}

#[test]
fn tags_are_kept() {
    QueueServer::start().python(
        r#"
queue = sqs.create_queue(QueueName="orders", tags={"a": "1"})["QueueUrl"]
sqs.tag_queue(QueueUrl=queue, Tags={"a": "2", "b": "3", "c": ""})
sqs.untag_queue(QueueUrl=queue, TagKeys=["b", "missing"])
same(sqs.list_queue_tags(QueueUrl=queue)["Tags"], {"a": "2", "c": ""})
sqs.untag_queue(QueueUrl=queue, TagKeys=["a", "c"])
assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)
"#,
    );
}

#[test]
fn a_queue_is_known_by_the_last_part_of_its_url() {
    QueueServer::start().python(
        r#"
create("orders")
for url in [address + "/000000000000/orders", "https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "orders"]:
    send(url, "x")
same(counts("orders"), (3, 0, 0))
status, headers, answer = post("AmazonSQS.GetQueueUrl", '{"QueueName":"orders"}', headers={"Host": "queues.test:81"})
same(answer["QueueUrl"], "http://queues.test:81/000000000000/orders")
"#,
    );
}

#[test]
fn somebody_who_waits_at_a_queue_hears_that_it_is_deleted() {
    QueueServer::start().python(
        r#"
queue = create("orders")
killer = threading.Timer(0.5, lambda: sqs.delete_queue(QueueUrl=queue))
killer.start()
begin = time.monotonic()
refused("AWS.SimpleQueueService.NonExistentQueue", "receive_message", QueueUrl=queue, WaitTimeSeconds=20)
assert time.monotonic() - begin < 10
killer.join()
"#,
    );
}
