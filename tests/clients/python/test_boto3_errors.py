"""Each error of the service model that a client can provoke, as boto3's own exception."""

import contextlib
import json
import os
import unittest

from botocore.exceptions import ClientError, EventStreamError

from endpoint import EVERYTHING, MODEL, PROVOKED, UNKNOWN_MODEL, ask, impatient

IMAGE = {"image": {"format": "png", "source": {"bytes": b"x"}}}
VIDEO = {"video": {"format": "mp4", "source": {"bytes": b"x"}}}
PDF = {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF"}}}
ASSISTANT = {"role": "assistant", "content": [{"text": "Hi"}]}

# Members of a Converse request that are refused, with what the message names.
INVALID = [
    ({"inferenceConfig": {"temperature": 1.5}}, "temperature"),
    ({"inferenceConfig": {"topP": -0.5}}, "topP"),
    ({"inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
    ({"inferenceConfig": {"maxTokens": 2_000_000_000}}, "max_tokens"),
    ({"inferenceConfig": {"stopSequences": ["a"] * 2501}}, "stopSequences"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "image"),
    ({"messages": [{"role": "user", "content": [VIDEO]}]}, "video"),
    ({"messages": [{"role": "user", "content": [PDF, {"text": "?"}]}]}, "pdf"),
    ({"messages": [ASSISTANT, *ask("Hi")]}, "user"),
    ({"messages": ask("word " * 300_000)}, "Input is too long"),
    ({"additionalModelRequestFields": {"logit_bias": {}}}, "logit_bias"),
    ({"additionalModelRequestFields": {"top_k": -1}}, "top_k"),
    ({"additionalModelResponseFieldPaths": ["no pointer"]}, "additionalModelResponseFieldPaths"),
    ({"outputConfig": {"effort": "low"}}, "outputConfig.effort"),
    ({"promptVariables": {"a": {"text": "b"}}}, "promptVariables"),
]


# What InvokeModel's body has to say for some of the errors.
STORY = "Once upon a time, in a town by the sea,"
INVOKED = {
    "ValidationException": {"temperature": 9},
    "ModelTimeoutException": {"prompt": STORY, "max_tokens": 1500, "temperature": 0.0},
}

# A key with one token a day. A request is charged when it has ended, a moment after its answer.
SPENT = {
    "aws_access_key_id": os.environ["OUTCROP_SPENT_KEY_ID"],
    "aws_secret_access_key": os.environ["OUTCROP_SPENT_SECRET"],
}
TRIES = 3

# Those come when the stream has begun, which has another exception for them.
CUT_STREAMS = ("ModelTimeoutException", "ModelErrorException")


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = impatient(config={"parameter_validation": False})

    def check(self, operation, exception, text, **arguments):
        arguments = {"modelId": MODEL, "messages": ask("Hi"), **arguments}
        with self.assertRaises(exception, msg=str(arguments)[:200]) as caught:
            operation(**arguments)
        self.assertIsInstance(caught.exception, ClientError)
        self.assertIn(text, caught.exception.response["Error"]["Message"])

    def test_a_model_that_is_not_served(self):
        exceptions = self.client.exceptions
        for operation in (self.client.converse, self.client.converse_stream):
            self.check(
                operation, exceptions.ResourceNotFoundException, UNKNOWN_MODEL, modelId=UNKNOWN_MODEL
            )
        for operation in (
            self.client.invoke_model,
            self.client.invoke_model_with_response_stream,
        ):
            with self.assertRaises(exceptions.ResourceNotFoundException):
                operation(modelId=UNKNOWN_MODEL, body=json.dumps({"prompt": "Hi"}))

    def test_invalid_requests(self):
        for members, text in INVALID:
            with self.subTest(names=text):
                self.check(
                    self.client.converse,
                    self.client.exceptions.ValidationException,
                    text,
                    **members,
                )
        # The same checks stand before a stream.
        for members, text in INVALID[:2]:
            self.check(
                self.client.converse_stream,
                self.client.exceptions.ValidationException,
                text,
                **members,
            )

    def test_each_error_of_the_table(self):
        for name, provoked in PROVOKED.items():
            key_id, secret = provoked.credentials()
            client = impatient(
                provoked.endpoint,
                aws_access_key_id=key_id,
                aws_secret_access_key=secret,
                config={"parameter_validation": False},
            )
            asked = {"modelId": provoked.model, "messages": ask("Tell a long story.")}
            body = json.dumps({"prompt": "Hi", "max_tokens": 4, **INVOKED.get(name, {})})
            calls = [
                lambda: client.converse(**asked, inferenceConfig=provoked.config),
                lambda: list(client.converse_stream(**asked, inferenceConfig=provoked.config)["stream"]),
                lambda: client.invoke_model(modelId=provoked.model, body=body),
                lambda: list(
                    client.invoke_model_with_response_stream(modelId=provoked.model, body=body)["body"]
                ),
            ]
            for number, call in enumerate(calls):
                if name == "InternalServerException" and number > 1:
                    # A prompt needs no template.
                    continue
                with self.subTest(name, call=number):
                    error = provoked.error(call)
                    if name in CUT_STREAMS and number % 2:
                        self.assertIsInstance(error, EventStreamError)
                        self.assertEqual(error.response["Error"]["Code"], "modelStreamErrorException")
                        continue
                    self.assertIsInstance(error, getattr(client.exceptions, name))
                    self.assertTrue(error.response["Error"]["Message"])
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    self.assertEqual(status, provoked.status)

    def test_a_quota_that_is_used_up(self):
        client = impatient(**SPENT)
        body = json.dumps({"prompt": "Hi", "max_tokens": 1})
        for _ in range(TRIES):
            with contextlib.suppress(client.exceptions.ServiceQuotaExceededException):
                client.invoke_model(modelId=MODEL, body=body)
        text = [{"text": {"text": "Hi"}}]
        for call in (
            lambda: client.invoke_model(modelId=MODEL, body=body),
            lambda: client.invoke_model_with_response_stream(modelId=MODEL, body=body),
            lambda: client.apply_guardrail(**EVERYTHING, source="INPUT", content=text),
        ):
            with self.assertRaises(client.exceptions.ServiceQuotaExceededException) as caught:
                call()
            response = caught.exception.response
            self.assertIn("1 tokens", response["Error"]["Message"])
            self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 400)
        # Its service model has no such exception.
        for operation in (client.converse, client.converse_stream):
            with self.assertRaises(client.exceptions.ThrottlingException) as caught:
                operation(modelId=MODEL, messages=ask("Hi"))
            self.assertNotIn("retry-after", caught.exception.response["ResponseMetadata"]["HTTPHeaders"])


if __name__ == "__main__":
    unittest.main()
