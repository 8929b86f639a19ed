"""A runtime that does what its event says: a JSON object with any of the keys below, in this order.

print: text to write    sleep: seconds    record: text to add to the file $RECORD    exit: code to end with    kill: signal
error: type to fail with    raw: text to answer with, as it is    size: bytes of a text to answer with    stream: pieces to send    break: error type to end a stream with
Without any of them the answer is the event, its context and the environment's process id.

INIT says what Init does: `fail`, `exit`, `sleep`, `sleep-once` (the first time only; the file $RECORD tells).
"""

import base64
import http.client
import json
import os
import sys
import threading
import time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime"


def call(connection, method, path, body=None, headers={}):
    connection.request(method, BASE + path, body, headers)
    response = connection.getresponse()
    return response, response.read()


def initialise(connection):
    what = os.environ.get("INIT", "")
    if what == "fail":
        body = json.dumps({"errorType": "Runtime.NoLuck", "errorMessage": "no luck in Init", "stackTrace": []})
        call(connection, "POST", "/init/error", body, {"Lambda-Runtime-Function-Error-Type": "Runtime.NoLuck"})
        sys.exit(3)
    if what == "exit":
        sys.exit(3)
    if what == "sleep" or what == "sleep-once" and not os.path.exists(os.environ["RECORD"]):
        record("Init")
        time.sleep(60)


def record(text):
    with open(os.environ["RECORD"], "a") as file:
        file.write(text + "\n")


def stream(path, event, headers):
    connection = http.client.HTTPConnection(API)
    connection.putrequest("POST", BASE + path)
    connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", event.get("type", "text/plain"))
    connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    for header in headers.items():
        connection.putheader(*header)
    connection.endheaders()
    for piece in event["stream"]:
        data = piece.encode()
        connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        time.sleep(event.get("pause", 0))
    connection.send(b"0\r\n")
    if "break" in event:
        body = json.dumps({"errorType": event["break"], "errorMessage": "it broke", "stackTrace": []}).encode()
        connection.send(b"Lambda-Runtime-Function-Error-Type: " + event["break"].encode() + b"\r\n")
        connection.send(b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(body) + b"\r\n")
    connection.send(b"\r\n")
    connection.getresponse().read()


def serve(connection):
    response, body = call(connection, "GET", "/invocation/next")
    if response.status != 200:
        sys.exit(4)
    request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
    path = "/invocation/" + request_id
    echo = {"Lambda-Runtime-Invocation-Id": response.headers["Lambda-Runtime-Invocation-Id"]}
    event = json.loads(body)
    todo = event if isinstance(event, dict) else {}
    if "print" in todo:
        print(todo["print"], flush=True)
    time.sleep(todo.get("sleep", 0))
    if "record" in todo:
        record(todo["record"])
    if "exit" in todo:
        os._exit(todo["exit"])
    if "kill" in todo:
        os.kill(os.getpid(), todo["kill"])
    if "error" in todo:
        error = json.dumps({"errorType": todo["error"], "errorMessage": "as asked", "stackTrace": []})
        call(connection, "POST", path + "/error", error, {"Lambda-Runtime-Function-Error-Type": todo["error"], **echo})
    elif "stream" in todo:
        stream(path + "/response", todo, echo)
    elif "raw" in todo:
        call(connection, "POST", path + "/response", todo["raw"], echo)
    elif "size" in todo:
        call(connection, "POST", path + "/response", '"' + "x" * (todo["size"] - 2) + '"', echo)
    else:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = {"event": event, "headers": headers, "pid": os.getpid(), "environment": dict(os.environ)}
        call(connection, "POST", path + "/response", json.dumps(answer), echo)


def work():
    connection = http.client.HTTPConnection(API)
    while True:
        serve(connection)


initialise(http.client.HTTPConnection(API))
# On Managed Instances, so many events at a time.
for _ in range(int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1")) - 1):
    threading.Thread(target=work, daemon=True).start()
work()
