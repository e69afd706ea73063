"""Pydantic AI: text, streams, tools, both ways to structured output, and counting tokens."""

import asyncio
import unittest

from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput, UsageLimits
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider

from endpoint import API_KEY, ENDPOINT, MODEL, PROVOKED, TLS_ENDPOINT, TOOL_MODEL, impatient, settings


class Weather(BaseModel):
    """The weather in a city"""

    city: str = Field(max_length=20)
    degrees: int = Field(ge=-90, le=60)


def agent(model=MODEL, provider=None, max_tokens=8, **arguments):
    provider = provider or BedrockProvider(base_url=ENDPOINT, region_name="us-east-1")
    bedrock = BedrockConverseModel(
        model, provider=provider, settings={"max_tokens": max_tokens, "temperature": 0.0}
    )
    return Agent(bedrock, **arguments)


class Agents(unittest.TestCase):
    def test_text_and_streams(self):
        result = agent(instructions="Be brief.").run_sync("Name three colours.")
        self.assertTrue(result.output.strip())
        self.assertLessEqual(result.usage.output_tokens, 8)

        async def streamed():
            asked = agent(instructions="Be brief.")
            async with asked.run_stream("Name three colours.") as stream:
                parts = [part async for part in stream.stream_text(delta=True)]
                return "".join(parts)

        self.assertEqual(asyncio.run(streamed()), result.output)

    def test_a_bearer_key(self):
        provider = BedrockProvider(
            base_url=TLS_ENDPOINT, region_name="us-east-1", api_key=API_KEY
        )
        self.assertTrue(agent(provider=provider).run_sync("Hi").output.strip())

    def test_structured_output(self):
        for output in (ToolOutput(Weather), NativeOutput(Weather)):
            asked = agent(TOOL_MODEL, output_type=output, max_tokens=96)
            self.assertIsInstance(asked.run_sync("It is 21 degrees in Paris.").output, Weather)

    def test_a_tool(self):
        asked = agent(TOOL_MODEL, max_tokens=64)

        @asked.tool_plain
        def letter_count(word: str) -> int:
            """Counts the letters of a word"""
            return len(word)

        limits = UsageLimits(request_limit=3)
        try:
            self.assertIsInstance(asked.run_sync("Say hello.", usage_limits=limits).output, str)
        except Exception as error:
            # A small model may go on calling the tool for as long as it is allowed to.
            self.assertEqual(type(error).__name__, "UsageLimitExceeded")

    def test_tokens_are_counted_before_the_request(self):
        limits = UsageLimits(input_tokens_limit=500, count_tokens_before_request=True)
        self.assertTrue(agent().run_sync("Hi", usage_limits=limits).output)

    def test_errors_carry_the_status(self):
        for name, provoked in PROVOKED.items():
            with self.subTest(name):

                def asked():
                    key_id, secret = provoked.credentials()
                    # boto3's default session would keep the credentials that it found first.
                    client = impatient(
                        provoked.endpoint,
                        region_name="us-east-1",
                        aws_access_key_id=key_id,
                        aws_secret_access_key=secret,
                    )
                    bedrock = BedrockConverseModel(
                        provoked.model,
                        provider=BedrockProvider(bedrock_client=client),
                        settings=settings(provoked),
                    )
                    Agent(bedrock).run_sync("Tell a long story.")

                error = provoked.error(asked)
                self.assertIsInstance(error, ModelHTTPError, repr(error))
                self.assertEqual(error.status_code, provoked.status)
                self.assertIn(name, str(error.body))


if __name__ == "__main__":
    unittest.main()
