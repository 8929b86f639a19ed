"""The functions of the benchmark in Python, for AWS's runtime client."""


def hello(event, context):
    return {"message": f"Hello, {event.get('name', 'World')}!"}


def handle(event, context):
    """The same as the component `python-handler` of the tests."""
    return {"event": event, "requestId": context.aws_request_id}
