"""Values at and beyond every edge, and inputs that are small to send and large to work on."""

import json
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .server import MODEL_ID, Server, Stopwatch, request

# As JSON text, since some are none that Python would write.
EDGES = [
    *("-1", "0", "-0", "1", "2", "0.5", "1e-320", "1e308", "-1e308", "1e400", "NaN", "Infinity"),
    *("2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "-9223372036854775809", "1" + "0" * 400, "true", "null", '"1"'),
    *("[]", "{}", '""'),
]
CONVERSE = [
    *("inferenceConfig.maxTokens", "inferenceConfig.temperature", "inferenceConfig.topP"),
    "inferenceConfig.stopSequences",
    *(
        f"additionalModelRequestFields.{name}"
        for name in ("top_k", "min_p", "seed", "repetition_penalty", "reasoning_budget")
    ),
]
INVOKE = ["temperature", "top_p", "max_tokens", "max_gen_len", "stop"]
OPENAI = [
    *("temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "seed", "stop"),
    *("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "top_k", "min_p"),
    *("repetition_penalty", "stream", "logit_bias"),
]
HOSTILE_SECONDS_MAX = 5


def with_value(body, path, value):
    """The body's JSON text with a member, by its dotted path, of the given text."""
    members = path.split(".")
    inner = {**body.get(members[0], {})} if len(members) == 2 else body
    marker = "\0value"
    placed = {**inner, members[-1]: marker}
    whole = {**body, members[0]: placed} if len(members) == 2 else placed
    return json.dumps(whole).replace(json.dumps(marker), value)


class Edges(unittest.TestCase):
    def test_no_value_is_a_servers_error(self):
        chat = {"messages": [{"role": "user", "content": "Hi"}], "model": MODEL_ID}
        tables = [
            (f"/model/{MODEL_ID}/converse", request("Hi"), CONVERSE),
            (f"/model/{MODEL_ID}/invoke", {"prompt": "Hi"}, INVOKE),
            ("/v1/chat/completions", {**chat, "max_tokens": 4}, OPENAI),
        ]
        cases = [
            (path, body, member, value)
            for path, body, members in tables
            for member in members
            for value in EDGES
        ]
        # A short context ends what a value lets run on.
        with Server("--max-model-len", "48") as server:

            def ask(case):
                path, body, member, value = case
                status, _, answer = server.post(path, with_value(body, member, value))
                return status, (path, member, value[:20], answer[:200])

            with ThreadPoolExecutor(8) as pool:
                results = list(pool.map(ask, cases))
            self.assertTrue(server.is_well())
        for status, where in results:
            self.assertIn(status, (200, 400), where)
        counts = Counter(status for status, _ in results)
        print(f"\nedge values: {counts[200]} answered, {counts[400]} refused, no other status")


class Templates(unittest.TestCase):
    def test_templates_do_not_come_with_requests(self):
        loop = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
        chat = {"messages": [{"role": "user", "content": "Hi"}], "model": MODEL_ID, "max_tokens": 1}
        with Server() as server:
            for name in ("chat_template", "chat_template_kwargs"):
                value = loop if name == "chat_template" else {"tokenize": True}
                fields = {"additionalModelRequestFields": {name: value}}
                status, _, answer = server.converse({**request("Hi"), **fields})
                self.assertEqual(status, 400, name)
                self.assertIn(name.encode(), answer)
                status, _, answer = server.post("/v1/chat/completions", {**chat, name: value})
                self.assertEqual(status, 400, name)
            self.assertTrue(server.is_well())
            with Stopwatch() as watch:
                status, _, _ = server.converse(request(loop, maxTokens=1))
            self.assertEqual(status, 200, "a template in a message is a message")
            self.assertLess(watch.seconds, HOSTILE_SECONDS_MAX)


if __name__ == "__main__":
    unittest.main()
