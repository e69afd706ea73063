"""boto3's tool use and structured output, streamed and not."""

import json
import unittest

import jsonschema

from endpoint import MODEL, WEATHER_SCHEMA, WEATHER_TOOL, ask, check_weather, runtime, text_of

QUESTION = ask("What is the weather in Paris in celsius?")
SETTINGS = {"maxTokens": 64, "temperature": 0.0}
TIME_TOOL = {
    "toolSpec": {
        "name": "get_time",
        "description": "The time in a city",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"zone": {"type": "string", "maxLength": 12}},
                "required": ["zone"],
            }
        },
    }
}


def tools(choice, *specs):
    return {"tools": list(specs or (WEATHER_TOOL,)), "toolChoice": choice}


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = runtime()

    def converse(self, tool_config, messages=QUESTION):
        return self.client.converse(
            modelId=MODEL, messages=messages, toolConfig=tool_config, inferenceConfig=SETTINGS
        )

    def test_a_forced_call_is_valid_and_alone(self):
        for choice in ({"tool": {"name": "get_weather"}}, {"any": {}}):
            response = self.converse(tools(choice))
            self.assertEqual(response["stopReason"], "tool_use")
            blocks = response["output"]["message"]["content"]
            self.assertEqual({next(iter(block)) for block in blocks}, {"toolUse"}, blocks)
            for block in blocks:
                self.assertEqual(block["toolUse"]["name"], "get_weather")
                check_weather(block["toolUse"]["input"])

    def test_the_named_tool_is_called_out_of_several(self):
        choice = {"tool": {"name": "get_time"}}
        response = self.converse(tools(choice, WEATHER_TOOL, TIME_TOOL))
        block = response["output"]["message"]["content"][0]
        self.assertEqual(block["toolUse"]["name"], "get_time")
        jsonschema.validate(
            block["toolUse"]["input"], TIME_TOOL["toolSpec"]["inputSchema"]["json"]
        )

    def test_auto_answers_with_text_or_with_valid_calls(self):
        response = self.converse(tools({"auto": {}}))
        blocks = response["output"]["message"]["content"]
        calls = [block["toolUse"] for block in blocks if "toolUse" in block]
        if response["stopReason"] == "tool_use":
            self.assertTrue(calls)
        for call in calls:
            check_weather(call["input"])
        self.assertTrue(calls or text_of(response).strip())

    def test_a_streamed_call_is_the_whole_one_in_fragments(self):
        tool_config = tools({"tool": {"name": "get_weather"}})
        whole = self.converse(tool_config)["output"]["message"]["content"][0]["toolUse"]
        stream = self.client.converse_stream(
            modelId=MODEL, messages=QUESTION, toolConfig=tool_config, inferenceConfig=SETTINGS
        )["stream"]
        start, fragments, stop = None, [], None
        for event in stream:
            if "contentBlockStart" in event and start is None:
                start = event["contentBlockStart"]["start"]["toolUse"]
            delta = event.get("contentBlockDelta", {})
            if delta.get("contentBlockIndex") == 0:
                fragments.append(delta["delta"]["toolUse"]["input"])
            stop = event.get("messageStop", {}).get("stopReason", stop)
        self.assertEqual(stop, "tool_use")
        self.assertEqual(start["name"], "get_weather")
        self.assertRegex(start["toolUseId"], r"^[a-zA-Z0-9_.:-]{1,64}$")
        self.assertGreater(len(fragments), 1)
        self.assertEqual(json.loads("".join(fragments)), whole["input"])

    def test_a_result_continues_the_conversation(self):
        tool_config = tools({"tool": {"name": "get_weather"}})
        message = self.converse(tool_config)["output"]["message"]
        for content in ({"json": {"degrees": 21}}, {"text": "21 degrees"}):
            results = [
                {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [content]}}
                for block in message["content"]
            ]
            messages = [*QUESTION, message, {"role": "user", "content": results}]
            response = self.converse(tools({"auto": {}}), messages)
            self.assertIn(response["stopReason"], ("end_turn", "max_tokens", "tool_use"))
        failed = {"toolUseId": message["content"][0]["toolUse"]["toolUseId"], "status": "error"}
        results[0] = {"toolResult": {**failed, "content": [{"text": "no such city"}]}}
        messages = [*QUESTION, message, {"role": "user", "content": results}]
        self.assertTrue(self.converse(tools({"auto": {}}), messages)["usage"]["outputTokens"])

    def test_tool_config_that_cannot_be_meant_is_refused(self):
        invalid = self.client.exceptions.ValidationException
        for tool_config in (
            tools({"tool": {"name": "absent"}}),
            tools({"auto": {}}, WEATHER_TOOL, WEATHER_TOOL),
            {"tools": [{"systemTool": {"name": "nova_grounding"}}]},
        ):
            with self.assertRaises(invalid, msg=tool_config):
                self.converse(tool_config)


class StructuredOutput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = runtime()

    def arguments(self, schema):
        structure = {"jsonSchema": {"schema": json.dumps(schema), "name": "weather"}}
        return {
            "modelId": MODEL,
            "messages": QUESTION,
            "inferenceConfig": SETTINGS,
            "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}},
        }

    def test_the_answer_is_an_instance_of_the_schema(self):
        arguments = self.arguments(WEATHER_SCHEMA)
        response = self.client.converse(**arguments)
        check_weather(text_of(response))
        self.assertEqual(response["stopReason"], "end_turn")
        parts = [
            event["contentBlockDelta"]["delta"]["text"]
            for event in self.client.converse_stream(**arguments)["stream"]
            if "contentBlockDelta" in event
        ]
        self.assertEqual("".join(parts), text_of(response))

    def test_a_schema_that_is_none_is_refused(self):
        for schema in ({"type": "nonsense"}, {"$ref": "#/nowhere"}, [1]):
            with self.assertRaises(self.client.exceptions.ValidationException, msg=schema):
                self.client.converse(**self.arguments(schema))


if __name__ == "__main__":
    unittest.main()
