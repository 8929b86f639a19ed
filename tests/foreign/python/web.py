"""The site in Python, with the event loop that comes with componentize-py."""

import asyncio
import json

from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Other,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(respond(request, response_out))


async def respond(request, response_out):
    status, headers, body = await answer(request)
    response = OutgoingResponse(Fields.from_list(headers))
    response.set_status_code(status)
    sink = Sink(response.body())
    ResponseOutparam.set(response_out, Ok(response))
    await sink.send(body)
    sink.close()


async def answer(request: IncomingRequest):
    target = request.path_with_query() or "/"
    path = target.partition("?")[0]
    if path.startswith("/status/"):
        return int(path.removeprefix("/status/")), [], b""
    match path:
        case "/":
            return 200, [("content-type", b"text/plain")], b"Hello from Python\n"
        case "/echo":
            types = [("content-type", value) for value in request.headers().get("content-type")]
            return 200, types, await read(request)
        case "/request":
            return 200, [("content-type", b"application/json")], describe(request, target)
        case "/cookies":
            cookies = [b"a=1; Path=/", b"b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"]
            return 200, [("set-cookie", cookie) for cookie in cookies], b"cookies\n"
        case "/bytes":
            return 200, [("content-type", b"application/octet-stream")], bytes(range(256))
        case "/fail":
            raise RuntimeError("asked to")
        case _:
            return 404, [], b"no such page\n"


async def read(request):
    stream = Stream(request.consume())
    pieces = []
    while (piece := await stream.next()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def describe(request, target):
    method = request.method()
    name = method.value if isinstance(method, Method_Other) else type(method).__name__.removeprefix("Method_").upper()
    entries = [(header, value.decode("latin-1")) for header, value in request.headers().entries()]
    headers = sorted((entry for entry in entries if entry[0].startswith("x-test-")), key=lambda entry: entry[0])
    return json.dumps({"method": name, "path": target, "headers": headers}).encode()
