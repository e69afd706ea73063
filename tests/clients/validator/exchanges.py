"""Reads a recording back as requests and their responses, over HTTP/1.1 and HTTP/2."""

import base64
import json
from dataclasses import dataclass, field

import h11
import hpack
from hyperframe import frame as h2frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Exchange:
    method: str = ""
    target: str = ""
    request_headers: dict = field(default_factory=dict)
    request_body: bytes = b""
    request_complete: bool = False
    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    # Who ended the connection or the stream: "client", "server", or nobody yet.
    closed_by: str = None

    @property
    def path(self):
        return self.target.split("?", 1)[0]

    def __str__(self):
        return f"{self.method} {self.target[:120]} -> {self.status}"


class Malformed(Exception):
    """What a side sent is not HTTP."""


def read(recording):
    """All exchanges of a recording, in the order in which their connections ended."""
    with open(recording, encoding="ascii") as lines:
        for line in lines:
            connection = json.loads(line)
            client = base64.b64decode(connection["client"])
            server = base64.b64decode(connection["server"])
            parse = http2 if client.startswith(PREFACE) else http1
            for exchange in parse(client, server):
                exchange.closed_by = exchange.closed_by or connection["closed_by"]
                yield exchange


def lowered(headers):
    """Repeated headers are joined as HTTP allows."""
    joined = {}
    for name, value in headers:
        name, value = name.lower(), value
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def decoded(headers):
    return lowered((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def http1(client_bytes, server_bytes):
    """Two strict readers, each of which is told what the other has read."""
    at_server, at_client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
    # Nothing would be taken for the end.
    if client_bytes:
        at_server.receive_data(client_bytes)
    if server_bytes:
        at_client.receive_data(server_bytes)
    while True:
        exchange = Exchange()
        if not http1_request(at_server, at_client, exchange):
            return
        more = http1_response(at_server, at_client, exchange)
        yield exchange
        if not more:
            return
        at_server.start_next_cycle()
        at_client.start_next_cycle()


def http1_request(at_server, at_client, exchange):
    while True:
        event = at_server.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return bool(exchange.method)
        if isinstance(event, h11.ConnectionClosed):
            return False
        at_client.send(event)
        if isinstance(event, h11.Request):
            exchange.method = event.method.decode()
            exchange.target = event.target.decode("latin-1")
            exchange.request_headers = decoded(event.headers)
        elif isinstance(event, h11.Data):
            exchange.request_body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            exchange.request_complete = True
            return True


def http1_response(at_server, at_client, exchange):
    """Whether the connection can carry another request."""
    ended = False
    while True:
        try:
            event = at_client.next_event()
        except h11.RemoteProtocolError as error:
            if ended:
                return False
            raise Malformed(f"{exchange}: {error}") from error
        if event is h11.NEED_DATA:
            unanswered = exchange.status == 0 and not at_client.trailing_data[0]
            if ended or unanswered:
                return False
            ended = True
            at_client.receive_data(b"")
            continue
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return False
        if isinstance(event, h11.InformationalResponse):
            continue
        if exchange.request_complete:
            at_server.send(event)
        if isinstance(event, h11.Response):
            exchange.status = event.status_code
            exchange.headers = decoded(event.headers)
        elif isinstance(event, h11.Data):
            exchange.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            exchange.complete = True
            states = {at_client.our_state, at_client.their_state}
            return states == {h11.DONE} and exchange.request_complete


class Half:
    """One direction of one HTTP/2 stream."""

    def __init__(self):
        self.headers, self.data, self.ended, self.reset = {}, bytearray(), False, False


def http2(client_bytes, server_bytes):
    requests = http2_halves(client_bytes[len(PREFACE) :])
    responses = http2_halves(server_bytes)
    for stream_id, request in sorted(requests.items()):
        response = responses.get(stream_id, Half())
        closed_by = "client" if request.reset else "server" if response.reset else None
        yield Exchange(
            method=request.headers.get(":method", ""),
            target=request.headers.get(":path", ""),
            request_headers=request.headers,
            request_body=bytes(request.data),
            request_complete=request.ended,
            status=int(response.headers.get(":status", 0)),
            headers=response.headers,
            body=bytes(response.data),
            complete=response.ended,
            closed_by=closed_by,
        )


def http2_halves(data):
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 1 << 16
    halves, block, position = {}, b"", 0
    while position + 9 <= len(data):
        frame, length = h2frame.Frame.parse_frame_header(memoryview(data)[position : position + 9])
        body = data[position + 9 : position + 9 + length]
        if len(body) < length:
            break
        frame.parse_body(memoryview(body))
        position += 9 + length
        if frame.stream_id == 0:
            continue
        half = halves.setdefault(frame.stream_id, Half())
        if isinstance(frame, h2frame.HeadersFrame | h2frame.ContinuationFrame):
            block += frame.data
            if "END_HEADERS" in frame.flags:
                half.headers.update(lowered(decoder.decode(block)))
                block = b""
        elif isinstance(frame, h2frame.DataFrame):
            half.data += frame.data
        elif isinstance(frame, h2frame.RstStreamFrame):
            # "No error" after a whole answer only says that the rest of the request is not wanted.
            half.reset = not half.ended
        if "END_STREAM" in getattr(frame, "flags", ()):
            half.ended = True
    # Frames such as WINDOW_UPDATE may name streams that carry nothing.
    return {stream_id: half for stream_id, half in halves.items() if half.headers}
