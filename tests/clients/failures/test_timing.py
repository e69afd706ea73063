"""Whether the time to the first token tells what another tenant has asked."""

import json
import os
import statistics
import subprocess
import tempfile
import unittest

from .server import MODEL_ID, Server, Stopwatch

NUM_PROBES = int(os.environ.get("OUTCROP_PROBES", "40"))
WORDS = "stone river moss chalk basalt slate quartz marl loess gneiss".split()


def prompt(number):
    """Some hundred tokens that no other number's prompt begins with. Prompts of numbers with as many digits
    that are multiples of 1,000 apart have as many tokens, and the same behind the number."""
    return f"{number} " + " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(50))


def auc(positives, negatives):
    """How often one of the first is less than one of the second."""
    pairs = [(a < b) + 0.5 * (a == b) for a in positives for b in negatives]
    return statistics.mean(pairs)


class PrefixCache(unittest.TestCase):
    def test_another_tenants_prefix_is_neither_hit_nor_felt(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = ("--keys", f"{folder}/keys.toml", "--key-file", f"{folder}/keys.key")
            keys += ("--key-usage", f"{folder}/usage.toml")
            victim, attacker = (self.key(name, keys) for name in ("victim", "attacker"))
            with Server(*keys) as server:
                self.probe(server, victim, 9_999)
                same, other, unknown = [], [], []
                for number in range(2_000, 2_000 + NUM_PROBES):
                    self.probe(server, victim, number)
                    probes = [
                        (other, attacker, number, False),
                        (unknown, attacker, 3_000 + number, False),
                        (same, victim, number, True),
                    ]
                    # Neither of the first two is always the one after a busy moment.
                    for times, key, asked, hits in [probes[number % 2], probes[1 - number % 2], probes[2]]:
                        seconds, cached = self.probe(server, key, asked)
                        times.append(seconds)
                        self.assertEqual(cached > 0, hits, f"{cached} tokens of prompt {asked}")
        print(
            f"\nprefix timing: AUC over {NUM_PROBES} probes {auc(same, unknown):.2f} for the own prefix,"
            f" {auc(other, unknown):.2f} for another tenant's"
        )
        self.assertGreater(auc(same, unknown), 0.9, "the probe measures nothing")
        # Four standard deviations of an AUC where there is nothing to tell: 0.05 for 1,000 probes of each.
        self.assertLess(abs(auc(other, unknown) - 0.5), 4 * (6 * NUM_PROBES) ** -0.5)

    def key(self, name, keys):
        command = [os.environ["OUTCROP"], "keys", "create", name, *keys, "--kind", "bearer"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = (line.partition("=") for line in shown.splitlines())
        return next(value for name, _, value in lines if name == "AWS_BEARER_TOKEN_BEDROCK")

    def probe(self, server, key, number):
        """Seconds to a first token, and the tokens of the prompt that were cached."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = {"model": MODEL_ID, "prompt": prompt(number), "max_tokens": 1}
        with Stopwatch() as watch:
            status, _, answer = server.post("/v1/completions", body, headers)
        self.assertEqual(status, 200, answer)
        return watch.seconds, json.loads(answer)["usage"]["prompt_tokens_details"]["cached_tokens"]


if __name__ == "__main__":
    unittest.main()
