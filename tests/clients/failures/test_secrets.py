"""What clients send stays out of logs and metrics, and is never fetched or opened."""

import json
import socket
import threading
import unittest
from urllib.parse import quote

from .server import MODEL_ID, Server, request

CANARY = "canary-7f3a9c51d2"


def canary(number):
    """Each place has its own, so that a failure says which one leaked."""
    return f"{CANARY}-{number:03}"


def bodies():
    """Requests with a canary in every place that holds a client's text, most of them invalid in some
    way: errors are where text escapes."""
    number = iter(range(1_000))

    def mark():
        return canary(next(number))

    text = {"role": "user", "content": [{"text": mark()}]}
    limits = {"inferenceConfig": {"maxTokens": 4}}
    schema = {"type": "object", "properties": {"a": {"enum": [mark()]}}, "required": ["a"]}
    tool = {"name": "t", "description": mark(), "inputSchema": {"json": schema}}
    converse = [
        {"messages": [text], **limits},
        {"messages": [text], "system": [{"text": mark()}], **limits},
        {"messages": [text], "inferenceConfig": {"stopSequences": [mark()], "maxTokens": 2}},
        {"messages": [text], "requestMetadata": {"note": mark()}, **limits},
        {"messages": [text], "toolConfig": {"tools": [{"toolSpec": tool}]}, **limits},
        {
            "messages": [text],
            "toolConfig": {"tools": [{"toolSpec": tool}], "toolChoice": {"any": {}}},
            "inferenceConfig": {"maxTokens": 60},
        },
        {
            "messages": [text],
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "n"}},
                }
            },
            "inferenceConfig": {"maxTokens": 60},
        },
        {
            "messages": [text],
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"schema": mark(), "name": mark()}},
                }
            },
        },
        {"messages": [{"role": mark(), "content": [{"text": mark()}]}]},
        {"messages": [{"role": "user", "content": [{"unknown": mark()}]}]},
        {"messages": [{"role": "user", "content": [{"document": {"name": mark()}}]}]},
        {"messages": [text], "additionalModelRequestFields": {"top_k": mark()}},
        {"messages": [text], "promptVariables": {"a": {"text": mark()}}},
        {"messages": mark()},
        {"messages": [text, {"role": "user", "content": [{"text": mark() * 2_000}]}]},
    ]
    for body in converse:
        for operation in ("converse", "converse-stream"):
            yield f"/model/{MODEL_ID}/{operation}", json.dumps(body)
    for operation in ("invoke", "invoke-with-response-stream"):
        for body in (
            {"prompt": mark(), "max_tokens": 2},
            {"prompt": mark(), "max_tokens": mark()},
            {"messages": [{"role": "user", "content": mark()}], "max_tokens": 2},
            {"prompt": mark(), "stop": [mark()], "max_tokens": 2},
        ):
            yield f"/model/{MODEL_ID}/{operation}", json.dumps(body)
    yield f"/model/{MODEL_ID}/count-tokens", json.dumps({"input": {"converse": converse[0]}})
    yield (
        "/guardrail/abcdefghij/version/1/apply",
        json.dumps({"source": "INPUT", "content": [{"text": {"text": mark()}}]}),
    )
    yield "/guardrail-checks/invoke", json.dumps({"messages": [text], "checks": {}})
    for prefix in ("/v1", "/openai/v1"):
        chat = {"model": MODEL_ID, "messages": [{"role": "user", "content": mark()}]}
        yield f"{prefix}/chat/completions", json.dumps({**chat, "max_tokens": 2})
        yield f"{prefix}/chat/completions", json.dumps({**chat, "max_tokens": 2, "stream": True})
        yield f"{prefix}/chat/completions", json.dumps({**chat, "temperature": mark()})
        yield f"{prefix}/completions", json.dumps({"model": MODEL_ID, "prompt": mark()[:9]})
        yield f"{prefix}/responses", json.dumps({"model": MODEL_ID, "input": mark(), "x": mark()})
    for operation in ("converse", "invoke", "count-tokens"):
        yield f"/model/{MODEL_ID}/{operation}", '{"messages": [{"text": "' + mark()


class Canaries(unittest.TestCase):
    def test_no_text_of_a_client_is_logged_or_counted(self):
        # This program at its most talkative; its libraries at debug, as an operator might ask.
        with Server("--max-model-len", "512", log="debug,outcrop=trace") as server:
            statuses = []
            for path, body in bodies():
                headers = {"Content-Type": "application/json", "X-Note": f"{CANARY}-header"}
                headers["X-Amzn-Bedrock-Request-Metadata"] = json.dumps({"note": CANARY})
                statuses.append(server.post(path, body, headers)[0])
            self.assertGreater(statuses.count(200), 5)
            self.assertGreater(statuses.count(400), 10)
            self.assertNotIn(500, statuses)
            metrics, log = server.get("/metrics"), server.log()
            self.assertGreater(len(log), 1_000, "the log says something")
            for name, text in (("metrics", metrics), ("log", log)):
                found = [line[:300] for line in text.splitlines() if CANARY in line]
                self.assertEqual(found, [], name)


class Fetching(unittest.TestCase):
    """There is no field that makes the server open a connection: nothing is fetched at all."""

    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self.count, daemon=True).start()
        self.addCleanup(self.listener.close)

    def count(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def urls(self):
        at = f":{self.port}/a"
        hosts = [
            *("127.0.0.1", "localhost", "LOCALHOST.", "127.0.0.1.", "[::1]", "[::]", "0.0.0.0", "0", "127.1"),
            *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.nip.io"),
            *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "①②⑦.⓪.⓪.①", "127。0。0。1"),
            *("localhost%00.example.com", "localhost%2eexample.com", "%6c%6f%63alhost", "user:pass@127.0.0.1"),
        ]
        yield from (f"http://{host}{at}" for host in hosts)
        yield f"http://example.com@127.0.0.1{at}"
        yield f"http://127.0.0.1{at}\\@example.com"
        yield f"http://127.0.0.1{at}#@example.com"
        yield f"http:\\\\127.0.0.1{at}"
        yield f"http:127.0.0.1{at}"
        yield f"//127.0.0.1{at}"
        yield f" \thttp://127.0.0.1{at}"
        schemes = ("HTTP", "https", "ftp", "gopher", "dict", "ldap", "s3", "data:text/plain;x=http", "jar:http")
        yield from (f"{scheme}://127.0.0.1{at}" for scheme in schemes)
        yield from ("file:///etc/passwd", "file://localhost/etc/passwd", "/etc/passwd")
        yield "http://169.254.169.254/latest/meta-data/"
        yield "http://[fd00:ec2::254]/latest/meta-data/"

    def test_no_url_is_fetched(self):
        urls = list(self.urls())
        self.assertGreaterEqual(len(urls), 40)
        with Server("--max-model-len", "512") as server:
            for url in urls:
                for path, body in self.requests(url):
                    status, _, answer = server.post(path, body)
                    self.assertLess(status, 500, (path, url))
                    self.assertNotIn(b"root:x:", answer)
            self.assertTrue(server.is_well())
        self.assertEqual(self.connections, 0)

    def requests(self, url):
        s3 = {"s3Location": {"uri": url, "bucketOwner": "123456789012"}}
        blocks = [
            {"image": {"format": "png", "source": s3}},
            {"document": {"format": "txt", "name": "a", "source": s3}},
            {"video": {"format": "mp4", "source": s3}},
            {"text": url},
        ]
        for block in blocks:
            message = {"role": "user", "content": [block]}
            body = {"messages": [message], "inferenceConfig": {"maxTokens": 1}}
            yield f"/model/{MODEL_ID}/converse", body
        schema = json.dumps({"$ref": url})
        structure = {"jsonSchema": {"schema": schema, "name": "n"}}
        text_format = {"textFormat": {"type": "json_schema", "structure": structure}}
        yield (
            f"/model/{MODEL_ID}/converse",
            {**request("Hi", maxTokens=1), "outputConfig": text_format},
        )
        part = {"type": "image_url", "image_url": {"url": url}}
        chat = {"model": MODEL_ID, "messages": [{"role": "user", "content": [part]}]}
        yield "/v1/chat/completions", chat
        yield f"/model/{quote(url, safe='')}/converse", request("Hi", maxTokens=1)


class Paths(unittest.TestCase):
    NAMES = [
        "..",
        "../../etc/passwd",
        "..\\..\\windows",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "a\0b",
        "\r\nX-Injected: 1",
        "~root",
        "C:\\boot.ini",
        "arn:aws:bedrock:us-east-1:1:imported-model/../../../etc/passwd",
        "arn:aws:bedrock:us-east-1::foundation-model/" + "../" * 40,
        "hf://../../x",
        "\u2025/\uff0e\uff0e/\u2215etc",
        "a" * 3_000,
        ".",
        " ",
    ]
    ROUTES = [
        ("POST", "/model/{}/converse"),
        ("POST", "/model/{}/invoke"),
        ("POST", "/model/{}/count-tokens"),
        ("POST", "/guardrail/{}/version/1/apply"),
        ("POST", "/guardrail/abc/version/{}/apply"),
        ("GET", "/foundation-models/{}"),
        ("GET", "/inference-profiles/{}"),
        ("GET", "/v1/models/{}"),
    ]

    def test_names_never_become_paths(self):
        with Server() as server:
            for method, route in self.ROUTES:
                for name in self.NAMES:
                    status, headers, body = self.ask(server, method, route, quote(name, safe=""))
                    where = (route, name[:60])
                    self.assertIn(status, range(400, 500), where)
                    self.assertNotIn("x-injected", headers)
                    self.assertNotIn(b"root:", body)
                    self.assertEqual(headers["content-type"], "application/json", where)
            # As they are, too: dots in a path are a name like any other.
            for path in ("/../../etc/passwd", "/model/../../../etc/passwd", "//etc/passwd"):
                status, headers, _ = server.post(path, "{}")
                self.assertIn(status, range(400, 500), path)
                self.assertEqual(headers["content-type"], "application/json", path)
            self.assertTrue(server.is_well())

    def ask(self, server, method, route, name):
        body = request("Hi", maxTokens=1) if method == "POST" else ""
        path = route.format(name)
        return server.request(method, path, body)


if __name__ == "__main__":
    unittest.main()
