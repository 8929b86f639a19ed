"""What h11, an independent parser, reads in the bytes that a server gets.

Each line of stdin is the bytes of one connection in base64. Each line of stdout is a JSON object: the `requests` that are
complete, as lists of method, target and body in base64, and the `end`: `refused`, `open` for a connection that goes on, or
`closed` for one whose client wanted that.
"""

import base64
import json
import sys

import h11


def encode(data):
    return base64.b64encode(data).decode()


def read(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    seen = []
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return seen, "open"
            if isinstance(event, h11.Request):
                request, body = event, b""
            if isinstance(event, h11.Data):
                body += event.data
            if isinstance(event, h11.EndOfMessage):
                seen.append([request.method.decode(), request.target.decode(), encode(body)])
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return seen, "closed"
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return seen, "refused"


for line in sys.stdin:
    requests, end = read(base64.b64decode(line))
    print(json.dumps({"requests": requests, "end": end}))
