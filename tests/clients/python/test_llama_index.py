"""LlamaIndex's Converse integration: chat, streams and tool calls."""

import unittest

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.bedrock_converse import BedrockConverse
from pydantic import BaseModel, Field

from endpoint import ENDPOINT, MODEL, PROVOKED, TOOL_MODEL, settings


class Weather(BaseModel):
    """The weather in a city"""

    city: str = Field(max_length=20)
    degrees: int = Field(ge=-90, le=60)


def llm(**arguments):
    # The library knows models by name; its own check of the name is not what is tested here.
    arguments = {"endpoint_url": ENDPOINT, "max_tokens": 8, "temperature": 0.0, "model": TOOL_MODEL, **arguments}
    return BedrockConverse(region_name="us-east-1", **arguments)


QUESTION = [ChatMessage(role="system", content="Be brief."), ChatMessage("Name three colours.")]


class Chat(unittest.TestCase):
    def test_chat_and_stream(self):
        answer = llm().chat(QUESTION).message.content
        self.assertTrue(answer.strip())
        parts = [part.delta for part in llm().stream_chat(QUESTION)]
        self.assertEqual("".join(parts), answer)

    def test_tools(self):
        tool = FunctionTool.from_defaults(
            fn=lambda city, degrees: "noted", name="note", fn_schema=Weather
        )
        asked = llm(max_tokens=96)
        answer = asked.chat_with_tools([tool], user_msg="21 degrees in Paris.", tool_required=True)
        calls = asked.get_tool_calls_from_response(answer)
        Weather.model_validate(calls[0].tool_kwargs)

    def test_structured_output(self):
        weather = llm(max_tokens=96).as_structured_llm(Weather).complete("21 degrees in Paris.")
        self.assertIsInstance(weather.raw, Weather)

    def test_errors_are_boto3s(self):
        for name, provoked in PROVOKED.items():
            with self.subTest(name):
                model = TOOL_MODEL if provoked.model == MODEL else provoked.model
                asking = settings(provoked)
                if name == "ValidationException":
                    # It holds temperatures within their range itself.
                    asking = {"max_tokens": 2_000_000_000}

                def asked():
                    made = llm(model=model, max_retries=1, endpoint_url=provoked.endpoint, **asking)
                    made.chat([ChatMessage("Tell a long story.")])

                self.assertIn(name, repr(provoked.error(asked)))


if __name__ == "__main__":
    unittest.main()
