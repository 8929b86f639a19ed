"""A runtime that handles batches of SQS messages, and writes to the file in RECORD what it does, a JSON object a line.

The first word of a message's body says what happens:

poison: it is reported as failed    flaky: so it is, the first time    raise: the event fails
crash: the process ends             wait FILE: it is handled once the file is there    anything else: it is handled

In a FIFO queue, what is behind a failed message of its group is reported, too, without being handled.
ANSWER, if it is set, is the answer in any case.
"""

import http.client
import json
import os
import time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/invocation/"


def post(path, body):
    connection.request("POST", BASE + path, body)
    connection.getresponse().read()


def write(**line):
    with open(os.environ["RECORD"], "ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def handle(record):
    """Whether it succeeds."""
    what, _, rest = record["body"].partition(" ")
    if what == "raise":
        raise ValueError(rest)
    if what == "crash":
        os._exit(3)
    if what == "wait":
        while not os.path.exists(rest):
            time.sleep(0.005)
    is_first = record["attributes"]["ApproximateReceiveCount"] == "1"
    return what != "poison" and not (what == "flaky" and is_first)


def batch(records, event):
    failures, stalled = [], set()
    for record in records:
        group = record["attributes"].get("MessageGroupId") if record["eventSourceARN"].endswith(".fifo") else None
        if group in stalled:
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        line = {"event": event, "id": record["messageId"], "body": record["body"][:100], "group": group}
        write(phase="begin", **line)
        succeeds = handle(record)
        write(phase="done" if succeeds else "failed", **line)
        if not succeeds:
            failures.append({"itemIdentifier": record["messageId"]})
            stalled.update([group] if group else [])
    return {"batchItemFailures": failures}


def serve():
    connection.request("GET", BASE + "next")
    response = connection.getresponse()
    event = response.read()
    request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
    records = json.loads(event)["Records"]
    first = records[0] if len(event) < 10_000 else None
    write(phase="event", event=request_id, bytes=len(event), count=len(records), first=first)
    try:
        answer = json.dumps(batch(records, request_id))
    except ValueError as error:
        return post(request_id + "/error", json.dumps({"errorType": "ValueError", "errorMessage": str(error)}))
    post(request_id + "/response", os.environ.get("ANSWER", answer))


connection = http.client.HTTPConnection(API)
while True:
    serve()
