"""Strands Agents: an agent with a tool, streamed and not, and structured output."""

import asyncio
import unittest

import boto3
from pydantic import BaseModel, Field
from strands import Agent, tool
from strands.models import BedrockModel

from endpoint import ENDPOINT, MODEL, UNKNOWN_MODEL


class Weather(BaseModel):
    """The weather in a city"""

    city: str = Field(max_length=20)
    degrees: int = Field(ge=-90, le=60)


@tool
def letter_count(word: str) -> str:
    """Counts the letters of a word

    Args:
        word: the word
    """
    return str(len(word))


def agent(model=MODEL, tools=(), streaming=True, **settings):
    settings = {"temperature": 0.0, "max_tokens": 12, **settings}
    bedrock = BedrockModel(
        model_id=model,
        endpoint_url=ENDPOINT,
        boto_session=boto3.Session(),
        streaming=streaming,
        **settings,
    )
    return Agent(model=bedrock, tools=list(tools), callback_handler=None)


class Agents(unittest.TestCase):
    def test_an_agent_answers(self):
        texts = []
        for streaming in (True, False):
            result = agent(streaming=streaming, max_tokens=256, stop_sequences=["\n"])(
                "Say hello in one word."
            )
            self.assertEqual(result.message["role"], "assistant")
            texts.append(str(result))
        self.assertEqual(*texts)

    def test_events_arrive_as_they_are_made(self):
        async def deltas():
            asked = agent(max_tokens=256, stop_sequences=["\n"])
            stream = asked.stream_async("Say hello in one word.")
            return [event["data"] async for event in stream if "data" in event]

        self.assertTrue("".join(asyncio.run(deltas())).strip())

    def test_an_agent_with_a_tool(self):
        # Whether the model calls it is its own affair; that both ways end well is the server's.
        asked = agent(tools=[letter_count], max_tokens=256, stop_sequences=["\n\n"])
        result = asked("How many letters has the word rock?", limits={"turns": 2})
        self.assertIn(result.stop_reason, ("end_turn", "stop_sequence", "tool_use", "limit_turns"))

    def test_structured_output(self):
        for streaming in (True, False):
            result = agent(streaming=streaming, max_tokens=96).structured_output(
                Weather, "It is 21 degrees in Paris."
            )
            self.assertIsInstance(result, Weather)

    def test_errors_surface(self):
        with self.assertRaises(Exception) as caught:
            agent(UNKNOWN_MODEL)("Hi")
        self.assertIn("ResourceNotFoundException", repr(caught.exception))


if __name__ == "__main__":
    unittest.main()
