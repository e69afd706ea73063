"""LiteLLM: its Converse route, both of its InvokeModel routes to R1, tools and JSON mode."""

import json
import os
import unittest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402 - reads the variable above when it is imported

from endpoint import (  # noqa: E402
    API_KEY,
    ENDPOINT,
    IMPORTED_MODEL,
    MODEL,
    PROVOKED,
    TOOL_MODEL,
    WEATHER_SCHEMA,
    check_weather,
    settings,
)

litellm.telemetry = False
QUESTION = [{"role": "user", "content": "What is the weather in Paris in celsius?"}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER_SCHEMA},
}


# As it reads our statuses; some are to it what others are.
ERRORS = {
    400: litellm.BadRequestError,
    403: litellm.PermissionDeniedError,
    404: litellm.NotFoundError,
    408: litellm.Timeout,
    424: litellm.BadRequestError,
    429: litellm.RateLimitError,
    500: litellm.ServiceUnavailableError,
    503: litellm.ServiceUnavailableError,
}


def complete(model, **arguments):
    settings = {"messages": QUESTION, "max_tokens": 8, "temperature": 0.0}
    arguments = {"aws_bedrock_runtime_endpoint": ENDPOINT, **settings, **arguments}
    return litellm.completion(
        model=model, aws_region_name="us-east-1", num_retries=0, **arguments
    )


class Completion(unittest.TestCase):
    def test_converse(self):
        for model in (f"bedrock/converse/{MODEL}", f"bedrock/{MODEL}"):
            answer = complete(model)
            self.assertTrue(answer.choices[0].message.content.strip())
            self.assertLessEqual(answer.usage.completion_tokens, 8)
            chunks = complete(model, stream=True, stream_options={"include_usage": True})
            text = "".join(
                chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
            )
            self.assertEqual(text, answer.choices[0].message.content)

    def test_a_bearer_key(self):
        answer = complete(f"bedrock/converse/{MODEL}", api_key=API_KEY)
        self.assertTrue(answer.choices[0].message.content.strip())

    def test_the_invoke_routes(self):
        # One of them sends the text with no turns around it.
        story = [{"role": "user", "content": "Once upon a time, in a town by the sea,"}]
        for route in (f"deepseek_r1/{IMPORTED_MODEL}", f"llama/{IMPORTED_MODEL}"):
            answer = complete(f"bedrock/{route}", messages=story)
            self.assertTrue(answer.choices[0].message.content, route)
        # This one leaves the colons of the ARN as they are and names the model in the body.
        answer = complete(f"bedrock/openai/{IMPORTED_MODEL}")
        self.assertTrue(answer.choices[0].message.content)

    def test_tools(self):
        choice = {"type": "function", "function": {"name": "get_weather"}}
        arguments = {"tools": [TOOL], "max_tokens": 64}
        model = f"bedrock/converse/{TOOL_MODEL}"
        answer = complete(model, **arguments, tool_choice=choice)
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        check_weather(answer.choices[0].message.tool_calls[0].function.arguments)
        fragments = [
            call.function.arguments or ""
            for chunk in complete(model, **arguments, tool_choice="required", stream=True)
            for call in chunk.choices[0].delta.tool_calls or ()
        ]
        check_weather("".join(fragments))
        self.assertTrue(complete(model, **arguments, tool_choice="auto").choices)

    def test_json_mode(self):
        schema = {"name": "weather", "schema": WEATHER_SCHEMA}
        answer = complete(
            f"bedrock/converse/{TOOL_MODEL}",
            max_tokens=64,
            response_format={"type": "json_schema", "json_schema": schema},
        )
        check_weather(json.loads(answer.choices[0].message.content))

    def test_errors_are_its_own(self):
        for name, provoked in PROVOKED.items():
            with self.subTest(name):
                key_id, secret = provoked.credentials()

                def asked():
                    complete(
                        f"bedrock/converse/{provoked.model}",
                        messages=[{"role": "user", "content": "Tell a long story."}],
                        aws_bedrock_runtime_endpoint=provoked.endpoint,
                        aws_access_key_id=key_id,
                        aws_secret_access_key=secret,
                        **settings(provoked),
                    )

                error = provoked.error(asked)
                self.assertIs(type(error), ERRORS[provoked.status], repr(error))
                self.assertIn("message", str(error))


if __name__ == "__main__":
    unittest.main()
