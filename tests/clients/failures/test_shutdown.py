"""SIGTERM under load: nothing is cut without a word, and a second signal is obeyed at once."""

import http.client
import json
import os
import signal
import threading
import time
import unittest
import urllib.error

from .server import MODEL_ID, Server, Stopwatch, error_of, events, request

NUM_STREAMS = 6
NUM_RESTARTS = int(os.environ.get("OUTCROP_RESTARTS", "5"))


class Streams:
    """Requests in flight, each on a connection and thread of its own."""

    def __init__(self, server, max_tokens):
        self.server, self.max_tokens = server, max_tokens
        self.bodies, self.begun = [], threading.Semaphore(0)
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(NUM_STREAMS)]
        for thread in self.threads:
            thread.start()
        for _ in self.threads:
            self.begun.acquire(timeout=60)

    def run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        path = f"/model/{MODEL_ID}/converse-stream"
        connection.request(
            "POST", path, json.dumps(request(f"Story {number}.", maxTokens=self.max_tokens))
        )
        response = connection.getresponse()
        first = response.read(16)
        self.begun.release()
        try:
            self.bodies.append(first + response.read())
        except (http.client.IncompleteRead, ConnectionError) as error:
            self.bodies.append(error)
        connection.close()

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.bodies


class Shutdown(unittest.TestCase):
    def assert_ended(self, bodies, *endings):
        self.assertEqual(len(bodies), NUM_STREAMS)
        for body in bodies:
            self.assertIsInstance(body, bytes, body)
            self.assertIn(events(body)[0][-1], endings)

    def test_requests_in_flight_are_answered(self):
        slowest = 0
        for _ in range(NUM_RESTARTS):
            with Server("--drain-timeout", "100") as server:
                streams = Streams(server, 24)
                with Stopwatch() as readiness:
                    server.terminate()
                    while self.ready(server):
                        time.sleep(0.005)
                refused = server.converse(request("Hi"))
                self.assertEqual(refused[0], 503)
                self.assertEqual(error_of(refused)[0], "ServiceUnavailableException")
                self.assert_ended(streams.join(), "metadata")
                self.assertEqual(server.ended(30), 0, server.log())
                slowest = max(slowest, readiness.seconds)
                self.assertLess(readiness.seconds, 1)
        print(
            f"\nshutdown: {NUM_RESTARTS} restarts under {NUM_STREAMS} streams, none cut; not ready at most"
            f" {slowest * 1000:.0f} ms after SIGTERM"
        )

    def ready(self, server):
        try:
            server.get("/ready")
            return True
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 503)
            return False

    def test_what_takes_too_long_ends_with_an_exception_in_its_stream(self):
        with Server("--drain-timeout", "1") as server:
            streams = Streams(server, 1800)
            server.terminate()
            self.assert_ended(streams.join(), "serviceUnavailableException", "metadata")
            self.assertEqual(server.ended(30), 0, server.log())

    def test_a_second_signal_ends_the_program_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            with Server() as server:
                streams = Streams(server, 1800)
                server.terminate()
                # Two signals of one kind that arrive together are one to the kernel.
                time.sleep(0.2)
                with Stopwatch() as watch:
                    server.process.send_signal(second)
                    self.assertNotEqual(server.ended(10), 0)
                self.assertLess(watch.seconds, 2)
                streams.join()


if __name__ == "__main__":
    unittest.main()
