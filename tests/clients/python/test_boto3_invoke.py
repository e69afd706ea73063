"""boto3's InvokeModel in each body format and CountTokens."""

import json
import unittest

from endpoint import IMPORTED_MODEL, MODEL, ask, runtime

PROMPT = "<｜begin▁of▁sentence｜><｜User｜>Name a colour.<｜Assistant｜><think>\n"


class Invoke(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = runtime()

    def invoke(self, body, model=MODEL, **arguments):
        response = self.client.invoke_model(modelId=model, body=json.dumps(body), **arguments)
        return response, json.loads(response["body"].read())

    def chunks(self, body, model=MODEL):
        response = self.client.invoke_model_with_response_stream(
            modelId=model, body=json.dumps(body)
        )
        self.assertEqual(response["contentType"], "application/json")
        return [json.loads(event["chunk"]["bytes"]) for event in response["body"]]

    def test_the_deepseek_body(self):
        body = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0.0}
        response, answer = self.invoke(body)
        self.assertEqual(response["contentType"], "application/json")
        choice = answer["choices"][0]
        self.assertTrue(choice["text"])
        self.assertIn(choice["stop_reason"], ("stop", "length"))
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        self.assertGreater(int(headers["x-amzn-bedrock-input-token-count"]), 3)
        self.assertLessEqual(int(headers["x-amzn-bedrock-output-token-count"]), 8)
        chunks = self.chunks(body)
        text = "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk.get("choices"))
        self.assertEqual(text, choice["text"])
        metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
        for name in ("inputTokenCount", "outputTokenCount", "invocationLatency"):
            self.assertGreater(metrics[name], 0)
        self.assertLessEqual(metrics["firstByteLatency"], metrics["invocationLatency"])

    def test_stop_strings_and_sampling_of_the_deepseek_body(self):
        body = {"prompt": "Count: one two three", "max_tokens": 24, "temperature": 0.0}
        _, whole = self.invoke(body)
        text = whole["choices"][0]["text"]
        stop = text[len(text) // 2 :][:3]
        _, stopped = self.invoke({**body, "stop": [stop]})
        self.assertEqual(stopped["choices"][0]["text"], text[: text.index(stop)])
        self.assertEqual(stopped["choices"][0]["stop_reason"], "stop")

    def test_the_bodies_of_imported_models(self):
        _, answer = self.invoke({"prompt": "Once", "max_gen_len": 4}, IMPORTED_MODEL)
        members = {"generation", "prompt_token_count", "generation_token_count", "stop_reason"}
        self.assertLessEqual(members, set(answer))
        self.assertEqual(answer["generation_token_count"], 4)

        _, answer = self.invoke({"prompt": "Once", "max_tokens": 4}, IMPORTED_MODEL)
        self.assertEqual(answer["object"], "text_completion")
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")

        chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        _, answer = self.invoke(chat, IMPORTED_MODEL)
        self.assertEqual(answer["object"], "chat.completion")
        self.assertEqual(answer["choices"][0]["message"]["role"], "assistant")

        # Clients disagree on what comes back for a bare prompt; each finds what it reads.
        _, answer = self.invoke({"prompt": "Once", "stop": [" "]}, IMPORTED_MODEL)
        self.assertEqual(answer["generation"], answer["choices"][0]["text"])

    def test_content_types_and_headers_are_taken(self):
        body = {"prompt": "Hi", "max_tokens": 1}
        for content_type in ("application/json", "application/octet-stream"):
            response, _ = self.invoke(
                body, contentType=content_type, accept="*/*", performanceConfigLatency="optimized"
            )
            self.assertEqual(response["performanceConfigLatency"], "optimized")

    def test_bodies_that_cannot_be_meant_are_refused(self):
        invalid = self.client.exceptions.ValidationException
        for body in ("{", "[]", "{}", '{"prompt": 1}', '{"prompt": "a", "max_tokens": -1}'):
            for operation in (
                self.client.invoke_model,
                self.client.invoke_model_with_response_stream,
            ):
                with self.assertRaises(invalid, msg=body):
                    operation(modelId=MODEL, body=body)


class CountTokens(unittest.TestCase):
    def test_counts_what_converse_bills(self):
        client = runtime()
        request = {"messages": ask("Name three colours."), "system": [{"text": "Be brief."}]}
        counted = client.count_tokens(modelId=MODEL, input={"converse": request})["inputTokens"]
        usage = client.converse(modelId=MODEL, **request, inferenceConfig={"maxTokens": 1})["usage"]
        billed = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        self.assertEqual(counted, sum(usage.get(part, 0) for part in billed))

    def test_counts_a_body(self):
        body = json.dumps({"prompt": "one two three", "max_tokens": 1})
        counted = runtime().count_tokens(modelId=MODEL, input={"invokeModel": {"body": body}})
        self.assertIn(counted["inputTokens"], range(2, 12))


if __name__ == "__main__":
    unittest.main()
