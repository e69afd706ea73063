"""More work than there is room for, and more connections than requests."""

import json
import os
import resource
import socket
import statistics
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from .server import Server, Stopwatch, error_of, request

NUM_SEQS, NUM_QUEUED = 2, 4
OVERLOAD = 20 * (NUM_SEQS + NUM_QUEUED)
REFUSAL_SECONDS_MAX = 2.0
GROWTH_BYTES_MAX = 64 << 20
SLOW = int(os.environ.get("OUTCROP_SLOW_CONNECTIONS", "400"))


class Overload(unittest.TestCase):
    def test_twenty_times_the_capacity(self):
        limits = ("--max-num-seqs", str(NUM_SEQS), "--max-queued-requests", str(NUM_QUEUED))
        with Server(*limits) as server:
            alone = self.seconds_of_one(server)
            resident = server.resident_bytes()
            barrier = threading.Barrier(OVERLOAD)

            def ask(number):
                barrier.wait()
                with Stopwatch() as watch:
                    answer = server.converse(request(f"Story {number}", maxTokens=24))
                return answer, watch.seconds

            with ThreadPoolExecutor(OVERLOAD) as pool:
                answers = list(pool.map(ask, range(OVERLOAD)))
            admitted = [seconds for (status, _, _), seconds in answers if status == 200]
            refused = [(answer, seconds) for answer, seconds in answers if answer[0] != 200]
            for answer, _ in refused:
                self.assertEqual(answer[0], 429)
                self.assertEqual(error_of(answer)[0], "ThrottlingException")
                self.assertGreaterEqual(int(answer[1]["retry-after"]), 1)
            self.assertGreaterEqual(len(admitted), NUM_SEQS + NUM_QUEUED)
            self.assertGreaterEqual(len(refused), OVERLOAD // 2)
            slowest = max(seconds for _, seconds in refused)
            middle = statistics.median(seconds for _, seconds in refused)
            print(
                f"\noverload: {len(admitted)} of {OVERLOAD} admitted, refusals within"
                f" {middle * 1000:.0f} ms (median), {slowest * 1000:.0f} ms (slowest)"
            )
            self.assertLess(slowest, REFUSAL_SECONDS_MAX)
            self.assertLess(server.resident_bytes() - resident, GROWTH_BYTES_MAX)
            self.assertLess(self.seconds_of_one(server), 10 * alone + 1)

    def seconds_of_one(self, server):
        with Stopwatch() as watch:
            self.assertTrue(server.is_well())
        return watch.seconds


class Connections(unittest.TestCase):
    def test_half_open_heads_and_slow_bodies_cost_others_nothing(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with Server() as server:
            before = self.latency(server)
            held = []
            for number in range(SLOW):
                connection = socket.create_connection(("127.0.0.1", server.port))
                head = b"POST /model/us.deepseek.r1-v1%3A0/converse HTTP/1.1\r\nHost: a\r\n"
                if number % 2 == 0:
                    head += b"Content-Length: 1000\r\n\r\n{"
                connection.sendall(head)
                held.append(connection)
            beside = self.latency(server)
            for connection in held:
                connection.close()
            print(f"\nslow clients: {before * 1000:.0f} ms alone, {beside * 1000:.0f} ms beside {SLOW}")
            self.assertLess(beside, 3 * before + 0.2)

    def latency(self, server):
        seconds = []
        for _ in range(8):
            with Stopwatch() as watch:
                self.assertTrue(server.is_well())
            seconds.append(watch.seconds)
        return statistics.median(seconds)

    def test_heads_and_bodies_beyond_their_limits(self):
        with Server() as server:
            status = self.raw(server, b"X-Large: " + b"a" * 200_000 + b"\r\n")
            self.assertIn(status, (0, 400, 431))
            status = self.raw(server, b"".join(b"X-%d: a\r\n" % i for i in range(5_000)))
            self.assertIn(status, (0, 400, 431))
            answer = server.converse(b" " * (26 << 20))
            self.assertIn(answer[0], (400, 413))
            self.assertTrue(error_of(answer)[1])
            self.assertTrue(server.is_well())

    def raw(self, server, headers):
        """The status of the answer, 0 where the connection is closed without one."""
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            try:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
                line = connection.recv(64)
            except ConnectionError:
                return 0
            return int(line.split()[1]) if line else 0

    def test_a_body_in_three_million_chunks_is_a_body(self):
        # One byte a chunk: the framing costs six times the body, and must not cost the stack.
        text = "a" * 500_000
        body = json.dumps(request(text)).encode()
        with Server() as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(
                    b"POST /model/us.deepseek.r1-v1%3A0/converse HTTP/1.1\r\nHost: a\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
                connection.sendall(chunks + b"0\r\n\r\n")
                answer = connection.recv(4096)
            self.assertIn(b" 400 ", answer.split(b"\r\n", 1)[0])
            self.assertIn(b"too long", answer)
            self.assertTrue(server.is_well())


class Disconnects(unittest.TestCase):
    def test_clients_that_leave_free_what_they_held(self):
        with Server("--max-num-seqs", "4") as server:
            body = json.dumps(request("Tell a long story.", maxTokens=1500)).encode()
            for number in range(24):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
                operation = b"converse-stream" if number % 2 else b"converse"
                connection.sendall(
                    b"POST /model/us.deepseek.r1-v1%%3A0/%s HTTP/1.1\r\nHost: a\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (operation, len(body), body)
                )
                if number % 2:
                    connection.recv(64)
                connection.close()
            with Stopwatch() as watch:
                while not self.is_idle(server):
                    time.sleep(0.02)
                    self.assertLess(time.monotonic() - watch.started, 10)
            print(f"\ndisconnects: idle {watch.seconds * 1000:.0f} ms after the last of 24 left")

    def is_idle(self, server):
        lines = server.get("/metrics").splitlines()
        values = [
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting"))
        ]
        self.assertTrue(values, "there is a metric of running requests")
        return not any(values)


if __name__ == "__main__":
    unittest.main()
