"""boto3 as its users know it, against the server at OUTCROP_ENDPOINT."""

import os
import unittest

import boto3
from botocore.exceptions import ClientError

# The id that applications hard-code; the server takes it for whatever model it serves.
MODEL = "us.deepseek.r1-v1:0"
GREEDY = {"maxTokens": 8, "temperature": 0.0}


def bedrock():
    return boto3.client("bedrock-runtime", endpoint_url=os.environ["OUTCROP_ENDPOINT"])


def ask(text):
    return [{"role": "user", "content": [{"text": text}]}]


def text_of(response):
    blocks = response["output"]["message"]["content"]
    return "".join(block.get("text", "") for block in blocks)


class Converse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = bedrock()

    def test_answers(self):
        response = self.client.converse(
            modelId=MODEL,
            messages=ask("Name three colours."),
            system=[{"text": "You are brief."}],
            inferenceConfig=GREEDY,
        )
        self.assertEqual(response["output"]["message"]["role"], "assistant")
        self.assertTrue(text_of(response).strip())
        self.assertIn(response["stopReason"], ("end_turn", "max_tokens"))
        usage = response["usage"]
        self.assertLessEqual(usage["outputTokens"], 8)
        total = usage["inputTokens"] + usage["cacheReadInputTokens"] + usage["outputTokens"]
        self.assertEqual(usage["totalTokens"], total)
        self.assertGreater(response["metrics"]["latencyMs"], 0)
        self.assertEqual(len(response["ResponseMetadata"]["RequestId"]), 36)

    def test_a_repeated_prompt_is_read_from_the_cache(self):
        messages = ask("Tell me about rivers. " * 8)
        first = self.client.converse(modelId=MODEL, messages=messages, inferenceConfig=GREEDY)
        second = self.client.converse(modelId=MODEL, messages=messages, inferenceConfig=GREEDY)
        self.assertEqual(text_of(first), text_of(second))
        self.assertGreater(second["usage"]["cacheReadInputTokens"], 30)

    def test_a_conversation_with_reasoning_in_its_history(self):
        messages = ask("My name is Ada.") + [
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "A name."}}},
                    {"text": "Hello Ada."},
                ],
            },
            *ask("What is my name?"),
        ]
        response = self.client.converse(modelId=MODEL, messages=messages, inferenceConfig=GREEDY)
        self.assertTrue(text_of(response).strip())

    def test_limits_and_stop_sequences(self):
        config = {"maxTokens": 3, "temperature": 0.0}
        messages = ask("Count from one to ten.")
        response = self.client.converse(modelId=MODEL, messages=messages, inferenceConfig=config)
        self.assertEqual(response["stopReason"], "max_tokens")
        self.assertEqual(response["usage"]["outputTokens"], 3)
        whole = text_of(
            self.client.converse(modelId=MODEL, messages=messages, inferenceConfig=GREEDY)
        )
        stop = whole.split()[1]
        response = self.client.converse(
            modelId=MODEL, messages=messages, inferenceConfig={**GREEDY, "stopSequences": [stop]}
        )
        self.assertEqual(response["stopReason"], "stop_sequence")
        self.assertEqual(text_of(response), whole[: whole.index(stop)])

    def test_a_seed_makes_sampling_repeatable(self):
        config = {"maxTokens": 8, "temperature": 1.0}
        texts = [
            text_of(
                self.client.converse(
                    modelId=MODEL,
                    messages=ask("Invent a word."),
                    inferenceConfig=config,
                    additionalModelRequestFields={"seed": seed, "top_k": 50},
                )
            )
            for seed in (1, 1, 2)
        ]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_arns_arrive_whole(self):
        arn = "arn:aws-cn:bedrock:cn-north-1:123456789012:inference-profile/us.deepseek.r1-v1:0"
        response = self.client.converse(
            modelId=arn, messages=ask("Hi"), inferenceConfig={"maxTokens": 1}
        )
        self.assertEqual(response["usage"]["outputTokens"], 1)


class ConverseStream(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = bedrock()

    def test_the_stream_is_the_answer_in_parts(self):
        arguments = {
            "modelId": MODEL,
            "messages": ask("Name three colours."),
            "inferenceConfig": GREEDY,
        }
        whole = self.client.converse(**arguments)
        events = list(self.client.converse_stream(**arguments)["stream"])
        kinds = [next(iter(event)) for event in events]
        self.assertEqual(kinds[0], "messageStart")
        self.assertEqual(kinds[-3:], ["contentBlockStop", "messageStop", "metadata"])
        deltas = [
            event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
        ]
        self.assertGreater(len(deltas), 3)
        self.assertEqual("".join(delta.get("text", "") for delta in deltas), text_of(whole))
        self.assertEqual(events[-2]["messageStop"]["stopReason"], whole["stopReason"])
        usage = events[-1]["metadata"]["usage"]
        self.assertEqual(usage["totalTokens"], whole["usage"]["totalTokens"])

    def test_a_stream_may_be_left(self):
        stream = self.client.converse_stream(modelId=MODEL, messages=ask("Tell a long story."))
        for event in stream["stream"]:
            if "contentBlockDelta" in event:
                break
        stream["stream"].close()


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = bedrock()

    def check(self, operation, exception, text, **arguments):
        arguments = {"modelId": MODEL, "messages": ask("Hi"), **arguments}
        with self.assertRaises(exception) as caught:
            operation(**arguments)
        self.assertIsInstance(caught.exception, ClientError)
        self.assertIn(text, caught.exception.response["Error"]["Message"])

    def test_errors_are_the_clients_own_exceptions(self):
        exceptions = self.client.exceptions
        for operation in (self.client.converse, self.client.converse_stream):
            invalid = exceptions.ValidationException
            self.check(
                operation,
                exceptions.ResourceNotFoundException,
                "anthropic.claude",
                modelId="anthropic.claude-3-haiku-20240307-v1:0",
            )
            self.check(operation, invalid, "temperature", inferenceConfig={"temperature": 1.5})
            tool = {"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}
            self.check(operation, invalid, "tool use", toolConfig={"tools": [tool]})
            image = {"image": {"format": "png", "source": {"bytes": b"x"}}}
            pictured = [{"role": "user", "content": [image]}]
            self.check(operation, invalid, "image", messages=pictured)
            self.check(operation, invalid, "Input is too long", messages=ask("word " * 300_000))
            self.check(
                operation, invalid, "logit_bias", additionalModelRequestFields={"logit_bias": {}}
            )


if __name__ == "__main__":
    unittest.main()
