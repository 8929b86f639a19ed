"""A handler of Orlop in Python: answers with what it got, or fails as the event says."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import FunctionError


class Handler(exports.Handler):
    def handle(self, event, context):
        data = json.loads(event)
        if "fail" in data:
            raise Err(FunctionError("Refused", data["fail"], ["in Python"]))
        return json.dumps({"event": data, "requestId": context.request_id}).encode()
