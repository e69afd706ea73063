"""The AWS CLI, version 1 from its package: another copy of botocore, and a shell's quoting."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

from endpoint import (
    ENDPOINT,
    GREEDY,
    MODEL,
    PROVOKED,
    TLS_ENDPOINT,
    WEATHER_TOOL,
    ask,
    check_weather,
    text_of,
)

AWS = os.path.join(os.path.dirname(sys.executable), "aws")


def aws(*arguments, endpoint=ENDPOINT, **environment):
    command = [AWS, "--endpoint-url", endpoint, "--output", "json", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def converse(*arguments, model=MODEL, messages=ask("Name three colours."), **options):
    return aws(
        "bedrock-runtime",
        "converse",
        "--model-id",
        model,
        "--messages",
        json.dumps(messages),
        "--inference-config",
        json.dumps(GREEDY),
        *arguments,
        **options,
    )


class CommandLine(unittest.TestCase):
    def answer(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_converse(self):
        response = self.answer(converse())
        self.assertTrue(text_of(response).strip())
        self.assertLessEqual(response["usage"]["outputTokens"], 8)

    def test_a_forced_tool_call(self):
        choice = {"tools": [WEATHER_TOOL], "toolChoice": {"tool": {"name": "get_weather"}}}
        config = {"maxTokens": 64, "temperature": 0.0}
        arguments = ("--tool-config", json.dumps(choice))
        result = converse(*arguments, "--inference-config", json.dumps(config))
        block = self.answer(result)["output"]["message"]["content"][0]
        check_weather(block["toolUse"]["input"])

    def test_invoke_model_and_count_tokens(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 4})
        with tempfile.NamedTemporaryFile() as file:
            result = aws(
                *("bedrock-runtime", "invoke-model", "--model-id", MODEL, "--body", body),
                file.name,
            )
            self.assertEqual(self.answer(result)["contentType"], "application/json")
            self.assertIn("choices", json.load(file))
        request = json.dumps({"converse": {"messages": ask("Name three colours.")}})
        result = aws("bedrock-runtime", "count-tokens", "--model-id", MODEL, "--input", request)
        self.assertGreater(self.answer(result)["inputTokens"], 3)

    def test_a_bearer_key(self):
        # It sends a key without TLS too.
        for endpoint in (ENDPOINT, TLS_ENDPOINT):
            key = os.environ["OUTCROP_API_KEY"]
            result = converse(endpoint=endpoint, AWS_BEARER_TOKEN_BEDROCK=key)
            self.assertTrue(text_of(self.answer(result)).strip())

    def test_models_are_listed(self):
        models = self.answer(aws("bedrock", "list-foundation-models"))["modelSummaries"]
        self.assertTrue(models)

    def test_errors_are_named(self):
        for name, provoked in PROVOKED.items():
            with self.subTest(name):
                key_id, secret = provoked.credentials()
                for _ in range(provoked.tries):
                    result = converse(
                        *("--inference-config", json.dumps(provoked.config)),
                        model=provoked.model,
                        endpoint=provoked.endpoint,
                        AWS_ACCESS_KEY_ID=key_id,
                        AWS_SECRET_ACCESS_KEY=secret,
                        AWS_MAX_ATTEMPTS="1",
                    )
                self.assertIn(f"({name})", result.stderr)
                self.assertNotEqual(result.returncode, 0)
        result = converse(AWS_SECRET_ACCESS_KEY="wrong")
        self.assertIn("(InvalidSignatureException)", result.stderr)

    def test_a_quota_that_is_used_up(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 1})
        with tempfile.NamedTemporaryFile() as file:
            # The key has one token a day; the first requests may be good.
            for _ in range(3):
                result = aws(
                    *("bedrock-runtime", "invoke-model", "--model-id", MODEL, "--body", body),
                    file.name,
                    AWS_ACCESS_KEY_ID=os.environ["OUTCROP_SPENT_KEY_ID"],
                    AWS_SECRET_ACCESS_KEY=os.environ["OUTCROP_SPENT_SECRET"],
                )
        self.assertIn("(ServiceQuotaExceededException)", result.stderr)


if __name__ == "__main__":
    unittest.main()
