"""boto3's Converse and ConverseStream: text, settings, and what they say of themselves."""

import unittest

from endpoint import GREEDY, IMPORTED_MODEL, MODEL, ask, runtime, text_of


class Converse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = runtime()

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
        cls.client = runtime()

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


class Fields(unittest.TestCase):
    """Each further field of a request does what its name says."""

    @classmethod
    def setUpClass(cls):
        cls.client = runtime()

    def converse(self, **arguments):
        arguments = {"modelId": MODEL, "messages": ask("Hi"), "inferenceConfig": GREEDY, **arguments}
        return self.client.converse(**arguments)

    def test_documents_are_read(self):
        documents = {
            "txt": b"The code word is heron.",
            "md": b"# Code\n\nThe code word is heron.",
            "csv": b"key,value\ncode,heron\n",
            "html": b"<html><body><p>The code word is heron.</p></body></html>",
        }
        plain = self.converse(messages=ask("What is the code word?"))["usage"]["inputTokens"]
        for format, content in documents.items():
            document = {"format": format, "name": "note", "source": {"bytes": content}}
            blocks = [{"document": document}, {"text": "What is the code word?"}]
            response = self.converse(messages=[{"role": "user", "content": blocks}])
            usage = response["usage"]
            num_read = usage["inputTokens"] + usage["cacheReadInputTokens"]
            self.assertGreater(num_read, plain + 3, format)

    def test_cache_points_are_taken_and_the_cache_is_counted(self):
        long_text = "Rivers run to the sea. " * 12
        messages = [
            {"role": "user", "content": [{"text": long_text}, {"cachePoint": {"type": "default"}}]}
        ]
        system = [{"text": "You know rivers."}, {"cachePoint": {"type": "default"}}]
        first = self.converse(messages=messages, system=system)["usage"]
        second = self.converse(messages=messages, system=system)["usage"]
        self.assertGreater(first["cacheWriteInputTokens"], 30)
        self.assertGreater(second["cacheReadInputTokens"], 30)
        for usage in (first, second):
            parts = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
            self.assertEqual(usage["totalTokens"], sum(usage.get(part, 0) for part in parts))

    def test_tiers_metadata_and_response_fields(self):
        response = self.converse(
            serviceTier={"type": "priority"},
            performanceConfig={"latency": "optimized"},
            requestMetadata={"team": "maps"},
            additionalModelResponseFieldPaths=["/stop_sequence"],
        )
        self.assertEqual(response["serviceTier"], {"type": "priority"})
        self.assertEqual(response["performanceConfig"], {"latency": "optimized"})

    def test_a_system_prompt_changes_the_answer(self):
        plain = self.converse(inferenceConfig={**GREEDY, "maxTokens": 16})
        told = self.converse(
            inferenceConfig={**GREEDY, "maxTokens": 16},
            system=[{"text": "You are a pirate. Answer in rhymes about the sea."}],
        )
        self.assertNotEqual(text_of(plain), text_of(told))


class Models(unittest.TestCase):
    def test_every_way_to_name_the_model(self):
        client = runtime()
        account = "bedrock:cn-north-1:123456789012"
        for model in (
            "deepseek.r1-v1:0",
            "us.deepseek.r1-v1:0",
            "arn:aws:bedrock:us-west-2::foundation-model/deepseek.r1-v1:0",
            f"arn:aws-cn:{account}:inference-profile/us.deepseek.r1-v1:0",
            IMPORTED_MODEL,
        ):
            response = client.converse(
                modelId=model, messages=ask("Hi"), inferenceConfig={"maxTokens": 1}
            )
            self.assertEqual(response["usage"]["outputTokens"], 1, model)


if __name__ == "__main__":
    unittest.main()
