"""Schemas, expressions and grammars that are small to send and large to compile or to follow."""

import http.client
import json
import statistics
import threading
import time
import unittest
from collections import Counter

from .server import MODEL_ID, Server, Stopwatch, request

SECONDS_MAX = 8
NUM_KINDS, NUM_HOSTILE_MIN = 10, 100


def nested(depth, end=None):
    schema = end or {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def deep():
    for depth in (15, 16, 31, 64, 100, 127, 200):
        yield nested(depth)
    yield json.dumps(nested(20)).replace('"string"', "[" * 5_000 + "]" * 5_000)
    items = {"type": "null"}
    for _ in range(28):
        items = {"type": "array", "items": items}
    yield items


def wide():
    values = [f"value {number}" for number in range(3_000)]
    for count, choices in ((100, 2), (500, 50), (3_000, 2), (3_000, 50)):
        yield {"type": "object", "properties": {name: {"enum": values[:choices]} for name in values[:count]}}
    yield {"enum": values}
    yield {"enum": ["a" * number for number in range(1, 300)]}
    yield {"const": "a" * 300_000}
    yield {"type": "object", "properties": {"a" * 60_000: {}}, "required": ["a" * 60_000]}


def alternatives():
    branch = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(12)}}
    for keyword in ("oneOf", "anyOf", "allOf"):
        for count in (3, 12, 60):
            yield {keyword: [{**branch, "required": [f"p{i % 12}"]} for i in range(count)]}
        inner = {keyword: [{"anyOf": [branch] * 8}] * 8}
        yield {keyword: [{"allOf": [inner, inner]}] * 8}
    yield {"anyOf": [{"type": "string", "maxLength": length} for length in range(200)]}


def references():
    yield {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    two = {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}] * 50}}
    yield {"$ref": "#/$defs/a", "$defs": two}
    for keyword in ("allOf", "anyOf", "oneOf"):
        # Each stands for two of the next: 2 to the power of 24 in the end.
        ladder = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(24)}
        yield {"$ref": "#/$defs/d0", "$defs": {**ladder, "d24": nested(2)}}
    both = {f"d{i}": nested(1, {"$ref": f"#/$defs/d{(i * 7 + 1) % 40}"}) for i in range(40)}
    yield {"$ref": "#/$defs/d0", "$defs": both}
    tree = {"type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}, "required": ["l", "r"]}
    yield tree
    yield {"type": "array", "items": {"$ref": "#"}, "minItems": 2}
    for target in ("#/nowhere", "http://127.0.0.1:9/schema", "file:///etc/passwd", "#/$defs/" + "a/" * 2_000):
        yield {"$ref": target}


EXPRESSIONS = [
    *("(a+)+$", "^(a|a)*b$", "(.*){99}", "a{1,99999}", "(((((a{9}){9}){9}){9}){9})", "(x+x+)+y"),
    *("(a?){200}a{200}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.|\\n)*?x", "\\p{L}{500}", "[^a]{3000}"),
    *("(?=a)b", "(a)\\1", "(?<!a)b", "(" * 300 + "a" + ")" * 300, "[", "a**", "(?P<x>a)(?P<x>b)"),
    "|".join("ab" * number for number in range(1, 120)),
    ".*" + "(a|b).{12}" + ".*",
    "(a|b)*a(a|b){18}",
]


def patterns():
    for expression in EXPRESSIONS:
        yield {"type": "string", "pattern": expression}


def lengths():
    yield {"type": "string", "minLength": 1_000_000}
    yield {"type": "string", "maxLength": 2**63}
    yield {"type": "string", "minLength": 9, "maxLength": 3}
    yield {"type": "array", "items": {}, "minItems": 1_000_000}
    yield {"type": "array", "prefixItems": [nested(3)] * 400, "minItems": 400}
    yield {"type": "array", "items": {"type": "array", "items": {"type": "null"}, "minItems": 500}, "minItems": 500}
    yield {"type": "object", "minProperties": 100_000, "additionalProperties": True}
    yield {"type": "object", "patternProperties": {f"^a{{{i}}}": {} for i in range(60)}}
    yield {"type": "string", "format": "uuid", "pattern": "^(a+)+$", "minLength": 500}


def numbers():
    for bounds in (
        {"minimum": -1e308, "maximum": 1e308},
        {"minimum": 5, "maximum": 4},
        {"multipleOf": 1e-300},
        {"multipleOf": 7919, "minimum": 10**15},
        {"multipleOf": 0},
        {"exclusiveMinimum": 0.1, "exclusiveMaximum": 0.1000000000000001},
        {"minimum": int("9" * 400)},
    ):
        yield {"type": "number", **bounds}
    yield {"allOf": [{"type": "integer", "multipleOf": prime} for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23)]}


GRAMMARS = [
    *("start: start", "start: a\na: b\nb: a", "start: start start | ", 'start: start "a" start | "a"'),
    *('start: ("a"*)*', 'start: ("a"|"a")* "b"', "start: x{1,100000}\nx: /a/", "start: /(a+)+$/"),
    *("start: nowhere", "start:", "", "start: %json {", 'start: %json {"$ref": "#"}', "start: /[/"),
    "start: " + "(" * 2_000 + '"a"' + ")" * 2_000,
    "start: " + " | ".join(f'"{number}"' for number in range(5_000)),
    "\n".join(f"r{number}: r{number + 1} r{number + 1}" for number in range(40)) + '\nr40: "a"\nstart: r0',
    "\n".join(f"A{number}: A{number + 1} A{number + 1}" for number in range(40)) + "\nA40: /a/\nstart: A0",
    'start: a a a a a a a a\na: | "x" a | a "x"',
    'start: %json {"allOf": [{"multipleOf": 99991}, {"multipleOf": 99989}], "type": "integer"}',
]
CHOICES = [[""], ["a" * 40_000, "b"], ["ab" * number for number in range(1, 300)], [str(i) for i in range(20_000)]]


def hostile():
    """The kind, the path and the body of each."""
    schemas = {
        "deep": deep, "wide": wide, "alternatives": alternatives, "references": references,
        "patterns": patterns, "lengths": lengths, "numbers": numbers,
    }
    for kind, made in schemas.items():
        for schema in made():
            text = schema if isinstance(schema, str) else json.dumps(schema)
            form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": text, "name": "n"}}}
            body = {**request("Hi", maxTokens=8), "outputConfig": {"textFormat": form}}
            yield kind, f"/model/{MODEL_ID}/converse", body
    for kind, member, values in (
        ("expressions", "regex", EXPRESSIONS), ("grammars", "grammar", GRAMMARS), ("choices", "choice", CHOICES),
    ):
        for value in values:
            body = {"model": MODEL_ID, "prompt": "Hi", "max_tokens": 8, "structured_outputs": {member: value}}
            yield kind, "/v1/completions", body


def harmless(number, body):
    """The same request with a schema as clients write them, another one each time."""
    schema = {"type": "array", "items": {"enum": [f"value {number}", "other"]}, "maxItems": 4}
    if "outputConfig" not in body:
        return {**body, "structured_outputs": {"json": schema}}
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "n"}}}
    return {**body, "outputConfig": {"textFormat": form}}


class Neighbour(threading.Thread):
    """Another client's stream, and the pauses between its tokens."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.gaps = server, threading.Event(), []
        self.start()

    def run(self):
        body = {"model": MODEL_ID, "prompt": "Once upon a time", "max_tokens": 200, "stream": True, "temperature": 1}
        while not self.stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            last = None
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    now = time.monotonic()
                    if last:
                        self.gaps.append(now - last)
                    last = now
            connection.close()

    def figures(self):
        """Milliseconds: the middle, the 99th percentile, the longest."""
        self.stop.set()
        self.join()
        hundredths = statistics.quantiles(self.gaps, n=100)
        return ", ".join(f"{1000 * gap:.1f}" for gap in (hundredths[49], hundredths[98], max(self.gaps)))


class Hostile(unittest.TestCase):
    def test_what_explodes_is_refused_and_disturbs_nobody(self):
        cases = list(hostile())
        self.assertGreaterEqual(len(cases), NUM_HOSTILE_MIN)
        self.assertEqual(len({kind for kind, _, _ in cases}), NUM_KINDS)
        with Server("--max-model-len", "256") as server:
            # The compiler itself is made for the first request that needs it.
            self.assertEqual(server.post(*cases[0][1:])[0], 200)
            neighbour = Neighbour(server)
            time.sleep(3)
            alone = neighbour.figures()
            # As many requests that are harmless cost the stream its share of the steps, no more.
            neighbour = Neighbour(server)
            for number, (_, path, body) in enumerate(cases):
                self.assertEqual(server.post(path, harmless(number, body))[0], 200)
            beside_harmless = neighbour.figures()
            neighbour = Neighbour(server)
            slowest, counts = (0, ""), Counter()
            for kind, path, body in cases:
                with Stopwatch() as watch:
                    status, _, answer = server.post(path, body)
                what = f"{kind}: {json.dumps(body)[-200:]}"
                counts[status] += 1
                # What grows beyond its fuel while it is followed is given up with that reason.
                if status in (424, 500):
                    self.assertIn(b"the constraint on the output failed: the grammar", answer, what)
                else:
                    self.assertIn(status, (200, 400), (what, answer[:200]))
                self.assertLess(watch.seconds, SECONDS_MAX, what)
                slowest = max(slowest, (watch.seconds, what))
            beside = neighbour.figures()
            self.assertTrue(server.is_well())
            print(
                f"\nhostile grammars: {counts[200]} answered, {counts[400]} refused, {counts[424] + counts[500]} given up"
                f" on the way; slowest {slowest[0] * 1000:.0f} ms, {slowest[1]}"
                f"\n    a stream's pauses in ms (median, p99, longest): {alone} alone,"
                f" {beside_harmless} beside harmless ones, {beside} beside these"
            )


if __name__ == "__main__":
    unittest.main()
