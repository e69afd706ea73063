"""Strands Agents: an agent with a tool, streamed and not, and structured output."""

import asyncio
import contextlib
import unittest

import boto3
from botocore.config import Config
from pydantic import BaseModel, Field
from strands import Agent, ModelRetryStrategy, tool
from strands.models import BedrockModel
from strands.types.exceptions import MaxTokensReachedException

from endpoint import BLOCKED_INPUT, BLOCKED_OUTPUT, ENDPOINT, MODEL, PROVOKED, saying, settings

EVERYTHING = {"guardrail_id": "everything", "guardrail_version": "DRAFT"}
WORDS = {"guardrail_id": "words", "guardrail_version": "DRAFT"}


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


def agent(model=MODEL, tools=(), streaming=True, retry_strategy=None, **settings):
    settings = {"endpoint_url": ENDPOINT, "temperature": 0.0, "max_tokens": 12, **settings}
    bedrock = BedrockModel(
        model_id=model,
        boto_session=boto3.Session(),
        streaming=streaming,
        **settings,
    )
    options = {"retry_strategy": retry_strategy} if retry_strategy else {}
    return Agent(model=bedrock, tools=list(tools), callback_handler=None, **options)


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
        for name, provoked in PROVOKED.items():
            with self.subTest(name):

                def asked():
                    once = Config(retries={"total_max_attempts": 1})
                    made = agent(
                        provoked.model,
                        endpoint_url=provoked.endpoint,
                        streaming=False,
                        boto_client_config=once,
                        # It would wait for minutes and ask again.
                        retry_strategy=ModelRetryStrategy(max_attempts=1),
                        **settings(provoked),
                    )
                    # What it makes of a good answer, which the first of two requests may get.
                    with contextlib.suppress(MaxTokensReachedException):
                        made("Tell a long story.")

                self.assertIn(name, repr(provoked.error(asked)))


class Guardrails(unittest.TestCase):
    """Strands decides by the trace what it takes out of its own conversation."""

    def test_a_blocked_prompt_is_redacted(self):
        for streaming in (True, False):
            for trace in ("enabled", "enabled_full", "disabled"):
                settings = {**EVERYTHING, "guardrail_trace": trace, "streaming": streaming}
                asked = agent(max_tokens=16, **settings)
                result = asked("Say xyzzy.")
                self.assertEqual(result.stop_reason, "guardrail_intervened")
                self.assertEqual(str(result).strip(), BLOCKED_INPUT)
                redacted = [{"text": "[User input redacted.]"}]
                self.assertEqual(asked.messages[0]["content"], redacted)

                asked = agent(guardrail_redact_output=True, **settings)
                asked("Say xyzzy.")
                self.assertEqual(
                    asked.messages[1]["content"], [{"text": "[Assistant output redacted.]"}]
                )

    def test_a_conversation_goes_on_without_what_was_redacted(self):
        for streaming in (True, False):
            said = {"outputConfig": saying("Rhine")}
            asked = agent(max_tokens=64, streaming=streaming, additional_args=said, **WORDS)
            self.assertEqual(asked("Say xyzzy.").stop_reason, "guardrail_intervened")
            result = asked("Name a river.")
            self.assertEqual((str(result).strip(), result.stop_reason), ('"Rhine"', "end_turn"))

    def test_a_masked_answer_is_kept(self):
        for streaming in (True, False):
            said = {"outputConfig": saying("mail me@example.com")}
            asked = agent(
                max_tokens=64, streaming=streaming, additional_args=said, **EVERYTHING
            )
            result = asked("Whom?")
            self.assertEqual(str(result).strip(), '"mail {EMAIL}"')
            self.assertEqual(result.stop_reason, "guardrail_intervened")
            self.assertEqual(asked.messages[0]["content"], [{"text": "Whom?"}])

    def test_streams_are_stopped_in_both_modes(self):
        said = {"outputConfig": saying("One. Two xyzzy three.")}
        for mode in ("sync", "async"):
            settings = {"guardrail_stream_processing_mode": mode, "additional_args": said}
            result = agent(max_tokens=64, **WORDS, **settings)("Count.")
            self.assertEqual(result.stop_reason, "guardrail_intervened")
            text = str(result)
            self.assertTrue(text.strip().endswith(BLOCKED_OUTPUT), text)
            self.assertNotIn("three", text)
            if mode == "sync":
                self.assertNotIn("xyzzy", text)
        # What has been sent cannot be masked any more.
        with self.assertRaises(Exception) as caught:
            agent(guardrail_stream_processing_mode="async", **EVERYTHING)("Count.")
        self.assertIn("ValidationException", repr(caught.exception))

    def test_only_the_latest_message_is_judged_where_asked(self):
        history = [
            {"role": "user", "content": [{"text": "Say xyzzy."}]},
            {"role": "assistant", "content": [{"text": "No."}]},
        ]
        for latest in (True, False):
            asked = agent(max_tokens=16, guardrail_latest_message=latest, **EVERYTHING)
            asked.messages.extend(history)
            is_blocked = asked("Name a river.").stop_reason == "guardrail_intervened"
            self.assertEqual(is_blocked, not latest)


if __name__ == "__main__":
    unittest.main()
