"""A server of a test's own, and plain HTTP to it."""

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request

from botocore.eventstream import EventStreamBuffer

MODEL_ID = "us.deepseek.r1-v1:0"


class Server:
    """`outcrop serve` on a free port. Ends with the `with` block; its log is kept for the test."""

    def __init__(self, *arguments, log="info"):
        self.arguments, self.log_filter = arguments, log

    def __enter__(self):
        self.log_file = tempfile.NamedTemporaryFile("r", suffix=".log")
        with open(self.log_file.name, "w") as log:
            self.process = self.start(log)
        line = self.process.stdout.readline()
        if "Serving" not in line:
            raise RuntimeError(f"the server did not start: {self.log()}")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def start(self, log):
        return subprocess.Popen(
            [
                os.environ["OUTCROP"],
                "--log",
                self.log_filter,
                "serve",
                *("--model", os.environ["OUTCROP_TEST_MODEL"], "--listen", "127.0.0.1:0"),
                *self.arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log_file.close()

    def log(self):
        with open(self.log_file.name, errors="replace") as file:
            return file.read()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds):
        return self.process.wait(seconds)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def request(self, method, path, body, headers=None):
        """The status, the headers in lower case, and the body, of one request on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = body if isinstance(body, bytes | str) else json.dumps(body)
            data = data.encode() if isinstance(data, str) else data
            headers = headers or {"Content-Type": "application/json"}
            try:
                connection.request(method, path, data, headers)
            except BrokenPipeError:
                # The answer did not wait for the end of the body.
                pass
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()
        finally:
            connection.close()

    def converse(self, body, operation="converse", **options):
        return self.post(f"/model/{MODEL_ID.replace(':', '%3A')}/{operation}", body, **options)

    def is_well(self):
        status, _, _ = self.converse(request("Hi", maxTokens=2))
        return status == 200


def request(text, **inference):
    messages = [{"role": "user", "content": [{"text": text}]}]
    return {"messages": messages, "inferenceConfig": {"temperature": 0.0, **inference}}


def error_of(answer):
    """The name and message of an error as Bedrock shapes it."""
    _, headers, body = answer
    return headers.get("x-amzn-errortype"), json.loads(body)["message"]


def events(body):
    """Kinds and payloads of a stream, which has to end with a whole frame."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    read = [(frame.headers, json.loads(frame.payload)) for frame in buffer]
    kinds = [headers.get(":event-type") or headers[":exception-type"] for headers, _ in read]
    return kinds, [payload for _, payload in read]


class Stopwatch:
    def __enter__(self):
        self.started = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.started
