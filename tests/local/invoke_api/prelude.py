import base64
import http.client
import json
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
# Without retries and without waiting for ever; and what is wrong is to be said by the server.
lambda_client = boto3.client(
    "lambda",
    endpoint_url=URL,
    config=Config(retries={"max_attempts": 0}, read_timeout=30, parameter_validation=False),
)


def invoke(event, name="orders", **options):
    """Invokes; the payload of the answer is read, and parsed if there is one."""
    answer = lambda_client.invoke(FunctionName=name, Payload=json.dumps(event), **options)
    payload = answer["Payload"].read()
    answer["Payload"] = json.loads(payload) if payload else None
    return answer


def stream(event, name="orders", **options):
    """Invokes with a stream; yields the pieces, and the last event as a dict."""
    answer = lambda_client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), **options)
    for part in answer["EventStream"]:
        yield part["PayloadChunk"]["Payload"] if "PayloadChunk" in part else part["InvokeComplete"]


def refused(call):
    """The refusal of a call: status, code, message, and the whole response."""
    try:
        answer = call()
    except ClientError as error:
        response = error.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"], response
    raise AssertionError(f"not refused: {answer}")


def raw(method, path, body=None, headers={}):
    """A request as it is."""
    connection = http.client.HTTPConnection(URL.removeprefix("http://"))
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response, response.read()


def throttled():
    """The refusal of a call, if there is no environment free."""
    try:
        invoke({})
    except ClientError as error:
        return error.response


def occupy(seconds):
    """Keeps the only environment busy for so long; returns when it is, with the thread that does it."""

    def insist():
        while True:
            try:
                return invoke({"sleep": seconds})
            except ClientError:
                pass

    thread = threading.Thread(target=insist)
    thread.start()
    while not throttled():
        # So that the other one gets in.
        time.sleep(0.05)
    return thread
