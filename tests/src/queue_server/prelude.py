import base64
import hashlib
import http.client
import json
import struct
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

address = sys.argv[1]
sqs = boto3.client(
    "sqs",
    endpoint_url=address,
    config=Config(retries={"total_max_attempts": 1}, read_timeout=40, max_pool_connections=50),
)


def create(name, **attributes):
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    return sqs.create_queue(QueueName=name, Attributes={key: str(value) for key, value in attributes.items()})["QueueUrl"]


def arn(name):
    return f"arn:aws:sqs:us-east-1:000000000000:{name}"


def redrive(name, count):
    return json.dumps({"deadLetterTargetArn": arn(name), "maxReceiveCount": str(count)})


def send(queue, body, **rest):
    return sqs.send_message(QueueUrl=queue, MessageBody=body, **rest)


def receive(queue, count=10, **rest):
    return sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=count, **rest).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def delete(queue, message):
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def show(queue, message, seconds=0):
    handle = message["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=seconds)


def counts(queue):
    names = ["", "NotVisible", "Delayed"]
    names = ["ApproximateNumberOfMessages" + name for name in names]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return tuple(int(attributes[name]) for name in names)


def same(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


def refused(code, action, **parameters):
    """The error that the call ends with, which has to be this one."""
    try:
        answer = getattr(sqs, action)(**parameters)
    except ClientError as error:
        same(error.response["Error"]["Code"], code)
        assert error.response["Error"]["Message"]
        return error
    raise AssertionError(f"{action} answers {answer}")


def post(action, body, method="POST", headers={}):
    """Status, headers and JSON of a request that no SDK would make."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    own = {"Content-Type": "application/x-amz-json-1.0"}
    if action is not None:
        own["X-Amz-Target"] = action
    connection.request(method, "/", body, {**own, **headers})
    response = connection.getresponse()
    return response.status, response.headers, json.loads(response.read())
