"""Whether an exchange is one that botocore's service models of Bedrock allow."""

import json
import re
from urllib.parse import unquote

import botocore.session
from botocore.eventstream import EventStreamBuffer, ParserError

from . import shapes
from .shapes import Findings

# Errors that AWS answers at its edge for every service, which no service model lists, with the
# status of each.
EDGE_ERRORS = {
    "AccessDeniedException": {403},
    "ExpiredTokenException": {403},
    "IncompleteSignatureException": {400, 403},
    "InvalidSignatureException": {403},
    "MissingAuthenticationTokenException": {403},
    "RequestExpired": {400},
    "RequestTimeoutException": {408},
    "SerializationException": {400},
    "ThrottlingException": {429},
    "UnknownOperationException": {404},
    "UnrecognizedClientException": {403},
    "ServiceUnavailableException": {503},
}


class Model:
    """The operations of Bedrock's control plane and runtime by method and path."""

    def __init__(self):
        session = botocore.session.get_session()
        self.routes = []
        for service in ("bedrock-runtime", "bedrock"):
            model = session.get_service_model(service)
            for name in model.operation_names:
                operation = model.operation_model(name)
                path = operation.http["requestUri"].split("?", 1)[0]
                self.routes.append((operation.http["method"], route(path), operation))
        # "/guardrails/{id}" and a longer path without a parameter may both match: exact ones first.
        self.routes.sort(key=lambda entry: entry[1].pattern.count("[^/]"))

    def operation(self, method, path):
        for candidate, pattern, operation in self.routes:
            if candidate == method and pattern.fullmatch(path):
                return operation
        return None


def route(template):
    parts = re.split(r"\{[^}]+\}", template.rstrip("/"))
    return re.compile("[^/]+".join(re.escape(part) for part in parts) + "/?")


def check(model, exchange):
    """The operation's name, or None for a path that Bedrock has not, and what is wrong."""
    findings = Findings()
    if not re.fullmatch(r"[0-9a-f-]{36}", exchange.headers.get("x-amzn-requestid", "")):
        findings.add("x-amzn-RequestId", "every answer has one, a UUID")
    operation = model.operation(exchange.method, exchange.path)
    if exchange.status >= 400:
        check_error(operation, exchange, findings)
    elif operation is None:
        findings.add("status", f"{exchange.status} for an operation that does not exist")
    elif exchange.status != operation.http.get("responseCode", 200):
        findings.add("status", f"{operation.name} answers {operation.http['responseCode']}")
    elif operation.has_event_stream_output:
        check_stream(operation, exchange, findings)
    else:
        check_output(operation, exchange, findings)
    return operation and operation.name, findings.found


def check_error(operation, exchange, findings):
    code = exchange.headers.get("x-amzn-errortype", "").split(":", 1)[0]
    if exchange.headers.get("content-type") != "application/json":
        findings.add("content-type", f"of an error is {exchange.headers.get('content-type')!r}")
        return
    body = parsed(exchange.body, "error", findings)
    modelled = {shape.name: shape for shape in operation.error_shapes} if operation else {}
    if code in modelled:
        shape = modelled[code]
        status = shape.metadata["error"]["httpStatusCode"]
        if exchange.status != status:
            findings.add("status", f"{code} has {status}")
        shapes.check(shape, body, code, findings)
    elif exchange.status in EDGE_ERRORS.get(code, ()):
        if not isinstance(body, dict) or set(body) != {"message"}:
            findings.add(code, f"has a message and nothing else, not {body!r:.80}")
    else:
        name = operation.name if operation else "an unknown operation"
        findings.add("x-amzn-ErrorType", f"{name} has no error {code!r} with {exchange.status}")
    if not isinstance(body, dict) or not str(body.get("message") or "").strip():
        findings.add("message", "of an error says something")


def check_output(operation, exchange, findings):
    shape = operation.output_shape
    content_type = exchange.headers.get("content-type", "")
    if shape is None:
        return
    inside = dict(shape.members)
    for name, member in shape.members.items():
        if member.serialization.get("location") in ("header", "headers", "statusCode"):
            del inside[name]
            check_header(shape, name, member, exchange, findings)
    payload = shape.serialization.get("payload")
    if payload:
        if content_type == "application/json":
            parsed(exchange.body, payload, findings)
        return
    if not inside and not exchange.body:
        return
    if content_type != "application/json":
        findings.add("content-type", f"of an answer is {content_type!r}")
    body = parsed(exchange.body, operation.name, findings)
    shapes.check_structure(shape, body, operation.name, findings, inside)


def check_header(shape, name, member, exchange, findings):
    if member.serialization["location"] != "header":
        return
    header = shapes.wire_name(member, name)
    if header.lower() in exchange.headers:
        value = exchange.headers[header.lower()]
        if member.type_name == "string":
            shapes.check(member, value, header, findings)
    elif name in shape.required_members:
        findings.add(header, f"{shape.name} requires this header")


def parsed(body, where, findings):
    try:
        return json.loads(body, object_pairs_hook=unrepeated)
    except ValueError as error:
        findings.add(where, f"is not JSON: {error}: {body[:80]!r}")
        return None


def unrepeated(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError(f"a key is repeated: {[key for key, _ in pairs]}")
    return dict(pairs)


def check_stream(operation, exchange, findings):
    if exchange.headers.get("content-type") != "application/vnd.amazon.eventstream":
        findings.add("content-type", f"of a stream is {exchange.headers.get('content-type')!r}")
    stream = operation.get_event_stream_output()
    for name, member in operation.output_shape.members.items():
        check_header(operation.output_shape, name, member, exchange, findings) if (
            "location" in member.serialization
        ) else None
    buffer = EventStreamBuffer()
    buffer.add_data(exchange.body)
    events, failed = [], False
    try:
        for frame in buffer:
            if failed:
                findings.add("stream", "goes on after an exception")
            failed = check_frame(stream, frame.headers, frame.payload, events, findings)
    except ParserError as error:
        findings.add("stream", f"has a broken frame: {error}")
        return
    whole = exchange.complete and not failed
    if operation.name == "ConverseStream":
        check_order(events, whole, findings)


def check_frame(stream, headers, payload, events, findings):
    """Whether the frame is an exception."""
    failed = headers.get(":message-type") == "exception"
    name = headers.get(":exception-type" if failed else ":event-type")
    member = stream.members.get(name)
    where = f"event {name}"
    if headers.get(":message-type") not in ("event", "exception") or member is None:
        findings.add(where, f"{stream.name} has none with the headers {headers}")
        return failed
    if failed != bool(member.metadata.get("exception")):
        findings.add(where, f"is marked as {headers[':message-type']}")
    if headers.get(":content-type") != "application/json":
        findings.add(where, f"has content of type {headers.get(':content-type')!r}")
    body = parsed(payload, where, findings)
    shapes.check(member, body, where, findings)
    if not failed:
        events.append((name, body))
    return failed


# Which event may follow which; content blocks are looked at more closely below.
FOLLOWS = {
    None: {"messageStart"},
    "messageStart": {"contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"},
    "contentBlockStart": {"contentBlockDelta", "contentBlockStop"},
    "contentBlockDelta": {"contentBlockDelta", "contentBlockStop"},
    "contentBlockStop": {
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
    },
    "messageStop": {"metadata"},
    "metadata": set(),
}


def check_order(events, whole, findings):
    """ConverseStream's events in the order that its guide gives: one block after another, each with
    one kind of content, and the fragments of a tool's input together one JSON object."""
    last, index, block = None, -1, None
    for number, (name, body) in enumerate(events):
        where = f"event {number} {name}"
        if name not in FOLLOWS[last]:
            findings.add(where, f"follows {last}")
        if name.startswith("contentBlock") and isinstance(body, dict):
            at = body.get("contentBlockIndex")
            opens = last in ("messageStart", "contentBlockStop")
            if opens:
                index, block = index + 1, {"kinds": set(), "input": ""}
            if at != index:
                findings.add(where, f"has the index {at!r} within block {index}")
            check_block_event(name, body, block, where, findings)
        last = name
    if whole and last != "metadata":
        findings.add("stream", f"ends with {last}")


def check_block_event(name, body, block, where, findings):
    if block is None:
        return
    if name == "contentBlockStart":
        block["kinds"].update(body.get("start", {}))
    elif name == "contentBlockDelta":
        delta = body.get("delta", {})
        block["kinds"].update(delta)
        block["input"] += delta.get("toolUse", {}).get("input", "")
    elif "toolUse" in block["kinds"]:
        value = parsed(block["input"] or "{}", f"{where}: input", findings)
        if not isinstance(value, dict):
            findings.add(where, f"a tool's input is an object, not {value!r:.80}")
    if len(block["kinds"]) > 1:
        findings.add(where, f"a block has one kind of content, not {sorted(block['kinds'])}")


def label(exchange):
    return f"{exchange.method} {unquote(exchange.target)[:100]} -> {exchange.status}"
