"""The validator finds what is wrong: one mistake at a time in answers that are right without it."""

import base64
import copy
import json
import os
import struct
import tempfile
import unittest
import zlib

from . import bedrock, openai_types
from .__main__ import check_all

MODEL = bedrock.Model()
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    "metrics": {"latencyMs": 4},
}
STREAM = [
    ("messageStart", {"role": "assistant"}),
    (
        "contentBlockStart",
        {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "t"}}},
    ),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"a"'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": ": 1}"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "tool_use"}),
    (
        "metadata",
        {
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
            "metrics": {"latencyMs": 4},
        },
    ),
]
CHUNK = {
    "id": "a",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
}


def frame(headers, payload):
    packed = b""
    for name, value in headers.items():
        packed += struct.pack(">B", len(name)) + name.encode()
        packed += struct.pack(">BH", 7, len(value)) + value.encode()
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(packed) + len(data) + 16, len(packed))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + data
    return whole + struct.pack(">I", zlib.crc32(whole))


def frames(events):
    return b"".join(
        frame(
            {":message-type": "event", ":event-type": name, ":content-type": "application/json"},
            payload,
        )
        for name, payload in events
    )


def answer(body, status=200, content_type="application/json", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {
        "content-type": content_type,
        "content-length": len(data),
        "x-amzn-requestid": "00000000-0000-0000-0000-000000000000",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in names.items() if value is not None)
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data


def found(path, *server, method="POST", closed_by="client"):
    """What the validator says of a connection with these answers."""
    request = f"{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    parts = {"client": request * len(server), "server": b"".join(server)}
    line = {side: base64.b64encode(data).decode() for side, data in parts.items()}
    with tempfile.TemporaryDirectory() as directory:
        recording = os.path.join(directory, "recording")
        with open(recording, "w") as file:
            file.write(json.dumps({**line, "closed_by": closed_by}))
        counts, wrong = check_all([recording])
    return sum(counts.values()), [finding for _, findings in wrong for finding in findings]


class Answers(unittest.TestCase):
    def assert_wrong(self, part, path, *server, **options):
        _, findings = found(path, *server, **options)
        self.assertTrue(any(part in finding for finding in findings), (part, findings))

    def test_what_is_right_passes(self):
        right = answer(CONVERSE)
        self.assertEqual(found("/model/m/converse", right, right, right), (3, []))
        error = answer({"message": "no"}, 404, x_amzn_errortype="ResourceNotFoundException")
        self.assertEqual(found("/model/m/converse", error), (1, []))
        stream = answer(frames(STREAM), content_type="application/vnd.amazon.eventstream")
        self.assertEqual(found("/model/m/converse-stream", stream), (1, []))

    def test_members(self):
        def changed(change):
            body = copy.deepcopy(CONVERSE)
            change(body)
            return answer(body)

        for part, change in (
            ("no such member", lambda it: it.update(extra=1)),
            ("requires it", lambda it: it.pop("usage")),
            ("requires it", lambda it: it["usage"].pop("totalTokens")),
            ("has no value", lambda it: it.update(stopReason="stop")),
            ("is an integer", lambda it: it["usage"].update(inputTokens="1")),
            ("is an integer", lambda it: it["usage"].update(inputTokens=True)),
            ("not within", lambda it: it["usage"].update(inputTokens=-1)),
            ("is a list", lambda it: it["output"]["message"].update(content={})),
            ("is a union", lambda it: it["output"]["message"]["content"][0].update(image={})),
            ("is an object", lambda it: it.update(output=None)),
        ):
            with self.subTest(part):
                self.assert_wrong(part, "/model/m/converse", changed(change))

    def test_heads(self):
        path = "/model/m/converse"
        self.assert_wrong("UUID", path, answer(CONVERSE, x_amzn_requestid="1"))
        self.assert_wrong("of an answer", path, answer(CONVERSE, content_type="text/plain"))
        self.assert_wrong("not JSON", path, answer(b'{"a": 1, "a": 2}'))
        self.assert_wrong("answers 200", path, answer(CONVERSE, 202))
        self.assert_wrong("does not exist", "/model/m/nothing", answer(CONVERSE))
        self.assert_wrong("there is none", path, b"", closed_by="server")
        self.assertEqual(found(path, b"", closed_by="client"), (0, []))
        cut = answer(CONVERSE)[:-4]
        self.assert_wrong("cut by server", path, cut, closed_by="server")

    def test_errors(self):
        def error(code, status, body=None):
            return answer(body or {"message": "no"}, status, x_amzn_errortype=code)

        for part, wrong in (
            ("has 429", error("ThrottlingException", 503)),
            ("has no error", error("NonsenseException", 400)),
            ("has no error", error("ServiceQuotaExceededException", 400)),
            ("no such member", error("ValidationException", 400, {"message": "a", "code": 1})),
            ("says something", error("ValidationException", 400, {"message": ""})),
            ("of an error is", answer(b"<html>", 404, content_type="text/html")),
        ):
            with self.subTest(part):
                self.assert_wrong(part, "/model/m/converse", wrong)

    def test_streams(self):
        def changed(change):
            events = copy.deepcopy(STREAM)
            change(events)
            return answer(frames(events), content_type="application/vnd.amazon.eventstream")

        def insert(index, name, payload):
            return lambda events: events.insert(index, (name, payload))

        delta = {"contentBlockIndex": 0, "delta": {"text": "a"}}
        for part, change in (
            ("ends with messageStop", lambda it: it.pop()),
            ("follows None", lambda it: it.pop(0)),
            ("has the index", lambda it: it[2][1].update(contentBlockIndex=1)),
            ("one kind of content", insert(3, "contentBlockDelta", delta)),
            ("not JSON", lambda it: it.pop(3)),
            ("follows messageStop", insert(6, "contentBlockDelta", delta)),
            ("no such member", lambda it: it[0][1].update(extra=1)),
            ("has none with", insert(1, "nonsense", {})),
        ):
            with self.subTest(part):
                self.assert_wrong(part, "/model/m/converse-stream", changed(change))
        broken = bytearray(frames(STREAM))
        broken[len(broken) // 2] ^= 1
        stream = answer(bytes(broken), content_type="application/vnd.amazon.eventstream")
        self.assert_wrong("broken frame", "/model/m/converse-stream", stream)

    def test_openai(self):
        path = "/v1/chat/completions"

        def stream(*chunks, end="data: [DONE]\n\n"):
            text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end
            return answer(text.encode(), content_type="text/event-stream")

        self.assertEqual(found(path, stream(CHUNK, CHUNK)), (1, []))
        self.assert_wrong("does not end with", path, stream(CHUNK, end=""))
        self.assert_wrong("event 0", path, stream({**CHUNK, "choices": None}))
        self.assert_wrong("chat/completions", path, answer(CONVERSE))
        self.assert_wrong("has no member", path, answer({"message": "no"}, 400))
        self.assertTrue(openai_types.serves("/openai/v1/models"))


if __name__ == "__main__":
    unittest.main()
