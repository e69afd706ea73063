"""langchain-aws: Converse, the older InvokeModel classes, tools and structured output."""

import unittest

from langchain_aws import BedrockLLM, ChatBedrock, ChatBedrockConverse
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from endpoint import BLOCKED_INPUT, ENDPOINT, EVERYTHING, IMPORTED_MODEL, MODEL, TOOL_MODEL
from endpoint import PROVOKED, settings


@tool
def get_weather(city: str, unit: str) -> str:
    """The weather in a city"""
    return f"21 degrees {unit} in {city}"


class Weather(BaseModel):
    """The weather in a city"""

    city: str = Field(max_length=20)
    degrees: int = Field(ge=-90, le=60)


def chat(model=MODEL, **arguments):
    arguments = {"endpoint_url": ENDPOINT, "temperature": 0.0, "max_tokens": 8, **arguments}
    return ChatBedrockConverse(model=model, **arguments)


class Converse(unittest.TestCase):
    def test_invoke_and_stream(self):
        messages = [SystemMessage("Be brief."), HumanMessage("Name three colours.")]
        answer = chat().invoke(messages)
        self.assertTrue(answer.text.strip())
        self.assertLessEqual(answer.usage_metadata["output_tokens"], 8)
        chunks = list(chat().stream(messages))
        self.assertGreater(len(chunks), 3)
        self.assertEqual("".join(chunk.text for chunk in chunks), answer.text)

    def test_a_conversation_with_reasoning_in_its_history(self):
        reasoning = {"type": "reasoning_content", "reasoning_content": {"text": "A name."}}
        history = AIMessage(content=[reasoning, {"type": "text", "text": "Hello Ada."}])
        messages = [HumanMessage("I am Ada."), history, HumanMessage("Who am I?")]
        self.assertTrue(chat().invoke(messages).text.strip())

    def test_a_forced_tool_call_and_its_result(self):
        model = chat(TOOL_MODEL, max_tokens=96).bind_tools([Weather], tool_choice="Weather")
        question = HumanMessage("What is the weather in Paris?")
        answer = model.invoke([question])
        self.assertEqual([call["name"] for call in answer.tool_calls], ["Weather"])
        Weather.model_validate(answer.tool_calls[0]["args"])
        result = ToolMessage("21", tool_call_id=answer.tool_calls[0]["id"])
        auto = chat(TOOL_MODEL).bind_tools([get_weather])
        self.assertTrue(auto.invoke([question, answer, result]).usage_metadata["output_tokens"])

    def test_structured_output(self):
        for method in ("function_calling", "json_schema"):
            model = chat(TOOL_MODEL, max_tokens=96)
            model = model.with_structured_output(Weather, method=method)
            self.assertIsInstance(model.invoke("What is the weather in Paris?"), Weather, method)

    def test_a_streamed_tool_call(self):
        model = chat(TOOL_MODEL, max_tokens=96).bind_tools([Weather], tool_choice="any")
        whole = None
        for chunk in model.stream("What is the weather in Paris?"):
            whole = chunk if whole is None else whole + chunk
        Weather.model_validate(whole.tool_calls[0]["args"])

    def test_errors_are_boto3s(self):
        for name, provoked in PROVOKED.items():
            with self.subTest(name):

                def asked():
                    model = chat(provoked.model, endpoint_url=provoked.endpoint, max_retries=1, **settings(provoked))
                    model.invoke("Tell a long story.")

                self.assertEqual(type(provoked.error(asked)).__name__, name)


class Guardrails(unittest.TestCase):
    guardrails = {**EVERYTHING, "trace": "enabled"}

    def test_a_blocked_prompt_whole_and_streamed(self):
        model = chat(guardrails=self.guardrails)
        answer = model.invoke("Say xyzzy.")
        streamed = None
        for chunk in model.stream("Say xyzzy."):
            streamed = chunk if streamed is None else streamed + chunk
        for told in (answer, streamed):
            self.assertEqual(told.text, BLOCKED_INPUT)
            self.assertEqual(told.response_metadata["stopReason"], "guardrail_intervened")
            found = told.response_metadata["trace"]["guardrail"]["inputAssessment"]["everything"]
            self.assertEqual(found["wordPolicy"]["customWords"][0]["match"], "xyzzy")

    def test_only_the_last_turn_is_judged_where_asked(self):
        turns = [HumanMessage("Say xyzzy."), AIMessage("No."), HumanMessage("Name a river.")]
        for last_only in (True, False):
            model = chat(guardrails=self.guardrails, guard_last_turn_only=last_only)
            reason = model.invoke(turns).response_metadata["stopReason"]
            self.assertEqual(reason == "guardrail_intervened", not last_only)


class Invoke(unittest.TestCase):
    """These write DeepSeek's special tokens in ASCII, which the server has to take for them."""

    arguments = {"provider": "deepseek", "endpoint_url": ENDPOINT}

    def test_chat(self):
        model = ChatBedrock(
            model=MODEL, **self.arguments, model_kwargs={"max_tokens": 8, "temperature": 0.0}
        )
        self.assertTrue(model.invoke("Name three colours.").text)
        self.assertTrue("".join(chunk.text for chunk in model.stream("Name three colours.")))

    def test_completion(self):
        for model in (MODEL, IMPORTED_MODEL):
            llm = BedrockLLM(model=model, **self.arguments, model_kwargs={"max_tokens": 4})
            self.assertTrue(llm.invoke("Once upon a time"), model)


if __name__ == "__main__":
    unittest.main()
