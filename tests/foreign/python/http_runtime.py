"""A runtime that answers HTTP events as the request's header `x-todo` says: a JSON object with any of these keys, in this order.

sleep: seconds    record: file to write the event to    error: type to fail with    answer: JSON to answer with
raw: text to answer with, as it is    size: bytes of the body of an answer
stream: pieces to send, of the media type `type`    wait: file that has to be there before the second piece
break: error type to end the stream with
Without any of them the event itself is the body of a successful answer.
"""

import base64
import http.client
import json
import os
import time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/invocation/"


def post(path, body, headers={}):
    connection.request("POST", BASE + path, body, headers)
    connection.getresponse().read()


def stream(path, todo):
    connection = http.client.HTTPConnection(API)
    connection.putrequest("POST", BASE + path)
    connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", todo.get("type", "text/plain"))
    connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    connection.endheaders()
    for number, piece in enumerate(todo["stream"]):
        while number > 0 and "wait" in todo and not os.path.exists(todo["wait"]):
            time.sleep(0.005)
        data = piece.encode()
        connection.send(b"%x\r\n%b\r\n" % (len(data), data))
    connection.send(b"0\r\n")
    if "break" in todo:
        body = json.dumps({"errorType": todo["break"], "errorMessage": "it broke", "stackTrace": []}).encode()
        connection.send(b"Lambda-Runtime-Function-Error-Type: " + todo["break"].encode() + b"\r\n")
        connection.send(b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(body) + b"\r\n")
    connection.send(b"\r\n")
    connection.getresponse().read()


def header(event, name):
    for headers in (event.get("headers"), event.get("multiValueHeaders")):
        for key, value in (headers or {}).items():
            if key.lower() == name:
                return value[-1] if isinstance(value, list) else value
    return "{}"


def serve():
    connection.request("GET", BASE + "next")
    response = connection.getresponse()
    event = json.loads(response.read())
    request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
    todo = json.loads(header(event, "x-todo"))
    time.sleep(todo.get("sleep", 0))
    if "record" in todo:
        with open(todo["record"], "w") as file:
            json.dump({"event": event, "trace": response.headers["Lambda-Runtime-Trace-Id"], "id": request_id}, file)
    if "error" in todo:
        error = json.dumps({"errorType": todo["error"], "errorMessage": "as asked", "stackTrace": []})
        post(request_id + "/error", error, {"Lambda-Runtime-Function-Error-Type": todo["error"]})
    elif "stream" in todo:
        stream(request_id + "/response", todo)
    else:
        whole = {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
        if "size" in todo:
            whole["body"] = "x" * todo["size"]
        answer = json.dumps(todo.get("answer", whole))
        post(request_id + "/response", todo.get("raw", answer))


connection = http.client.HTTPConnection(API)
while True:
    serve()
