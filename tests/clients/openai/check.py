"""Checks OpenAI's own library against a server: shapes, streams, tools, formats and errors.

    check.py ENDPOINT MODEL

ENDPOINT is the server's address without a path. A key is taken from OUTCROP_API_KEY. The model may be
a small one: what it says does not matter, only how it is told.
"""

import contextlib
import json
import os
import sys
import unittest

import jsonschema
import openai
import pydantic

ENDPOINT, MODEL = "", ""

ASK = [{"role": "user", "content": "Say hello."}]
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "The weather in a city", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "old": {"type": "boolean"}},
    "required": ["name", "old"],
    "additionalProperties": False,
}


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=12)
    old: bool


def client(prefix="/v1", **arguments):
    key = os.environ.get("OUTCROP_API_KEY", "none")
    return openai.OpenAI(base_url=ENDPOINT + prefix, api_key=key, max_retries=0, **arguments)


class Chat(unittest.TestCase):
    def setUp(self):
        self.client = client()

    def create(self, **arguments):
        arguments = {"model": MODEL, "messages": ASK, "max_tokens": 16, "temperature": 0} | arguments
        return self.client.chat.completions.create(**arguments)

    def test_an_answer(self):
        for prefix in ("/v1", "/openai/v1"):
            self.client = client(prefix)
            answer = self.create()
            self.assertEqual((answer.object, answer.model), ("chat.completion", MODEL))
            [choice] = answer.choices
            self.assertEqual((choice.index, choice.message.role), (0, "assistant"))
            self.assertIn(choice.finish_reason, ("stop", "length"))
            usage = answer.usage
            self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
            self.assertLessEqual(usage.completion_tokens, 16)
            self.assertGreaterEqual(usage.prompt_tokens_details.cached_tokens, 0)
            self.assertGreaterEqual(usage.completion_tokens_details.reasoning_tokens, 0)

    def test_the_request_id_is_a_header(self):
        raw = self.client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ASK, max_tokens=4
        )
        self.assertEqual(len(raw.headers["x-request-id"]), 36)
        self.assertEqual(len(raw.parse().choices), 1)

    def test_a_stream_tells_the_same(self):
        whole = self.create()
        chunks = list(self.create(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
        self.assertEqual([r for r in reasons if r], [whole.choices[0].finish_reason])
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(len({c.id for c in chunks}), 1)

    def test_the_librarys_own_accumulation(self):
        # The library raises on an answer that was cut, so this one stops.
        text = self.create().choices[0].message.content
        stop = text.split()[2]
        with self.client.chat.completions.stream(
            model=MODEL, messages=ASK, max_tokens=16, temperature=0, stop=stop
        ) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        self.assertLess({"chunk", "content.delta"}, kinds)
        self.assertEqual(final.choices[0].message.content, text[: text.index(stop)])

    def test_choices_and_seeds(self):
        arguments = {"n": 3, "seed": 5, "temperature": 1, "max_tokens": 12}
        first, second = (self.create(**arguments) for _ in range(2))
        texts = [choice.message.content for choice in first.choices]
        self.assertEqual([choice.index for choice in first.choices], [0, 1, 2])
        self.assertEqual(texts, [choice.message.content for choice in second.choices])
        self.assertEqual(self.create(**arguments | {"n": 1}).choices[0].message.content, texts[0])
        self.assertEqual(first.system_fingerprint, second.system_fingerprint)
        streamed = {}
        for chunk in self.create(**arguments, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
        self.assertEqual([streamed[index] for index in range(3)], texts)

    def test_stop_strings(self):
        text = self.create().choices[0].message.content
        stop = text.split()[1]
        stopped = self.create(stop=[stop]).choices[0]
        self.assertEqual(stopped.finish_reason, "stop")
        self.assertEqual(stopped.message.content, text[: text.index(stop)])

    def test_logprobs(self):
        choice = self.create(logprobs=True, top_logprobs=2).choices[0]
        tokens = choice.logprobs.content
        spelled = b"".join(bytes(token.bytes) for token in tokens)
        self.assertTrue(spelled.startswith(choice.message.content.encode()))
        for token in tokens:
            self.assertEqual(len(token.top_logprobs), 2)
            # Greedy: the token is the likeliest one.
            self.assertEqual(token.token, token.top_logprobs[0].token)
            self.assertLessEqual(token.logprob, 0)
        chunks = self.create(logprobs=True, top_logprobs=2, stream=True)
        found = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
        self.assertEqual([token.token for part in found for token in part], [t.token for t in tokens])

    def test_a_forced_tool(self):
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            answer = self.create(tools=[TOOL], tool_choice=choice, max_tokens=120).choices[0]
            self.assertEqual(answer.finish_reason, "tool_calls")
            self.assertIsNone(answer.message.content)
            for call in answer.message.tool_calls:
                self.assertEqual((call.type, call.function.name), ("function", "get_weather"))
                jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)

    def test_a_tool_call_in_a_stream(self):
        chunks = list(
            self.create(tools=[TOOL], tool_choice="required", max_tokens=120, stream=True)
        )
        calls = {}
        for chunk in chunks:
            self.assertFalse(chunk.choices[0].delta.content)
            for delta in chunk.choices[0].delta.tool_calls or []:
                if delta.index not in calls:
                    self.assertTrue(delta.id and delta.function.name and delta.type == "function")
                    calls[delta.index] = ""
                calls[delta.index] += delta.function.arguments
        self.assertEqual(list(calls), list(range(len(calls))))
        self.assertTrue(calls)
        for arguments in calls.values():
            jsonschema.validate(json.loads(arguments), PARAMETERS)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")

    def test_one_call_at_a_time(self):
        answer = self.create(
            tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=200
        )
        self.assertEqual(len(answer.choices[0].message.tool_calls), 1)

    def test_a_conversation_with_a_tool(self):
        call = self.create(tools=[TOOL], tool_choice="required", max_tokens=120).choices[0].message
        results = [
            {"role": "tool", "tool_call_id": made.id, "content": "21 degrees"}
            for made in call.tool_calls
        ]
        answer = self.create(messages=[*ASK, call, *results], tools=[TOOL], max_tokens=24)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length", "tool_calls"))
        with self.assertRaises(openai.BadRequestError):
            self.create(messages=[*ASK, call], tools=[TOOL])

    def test_formats(self):
        schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
        text = self.create(response_format=schema, max_tokens=80).choices[0].message.content
        jsonschema.validate(json.loads(text), SCHEMA)
        text = self.create(response_format={"type": "json_object"}, max_tokens=200)
        self.assertIsInstance(json.loads(text.choices[0].message.content), dict)
        words = {"structured_outputs": {"choice": ["yes", "no"]}}
        self.assertIn(self.create(extra_body=words).choices[0].message.content, ("yes", "no"))
        parsed = self.client.chat.completions.parse(
            model=MODEL, messages=ASK, response_format=Person, max_tokens=80
        )
        self.assertIsInstance(parsed.choices[0].message.parsed, Person)

    def test_fields_that_clients_send_unasked(self):
        self.create(
            user="u",
            store=False,
            metadata={"team": "a"},
            service_tier="auto",
            presence_penalty=0,
            frequency_penalty=0,
            logit_bias={},
            prompt_cache_key="k",
            safety_identifier="s",
            verbosity="medium",
            modalities=["text"],
            extra_body={"top_k": 20, "min_p": 0.0, "repetition_penalty": 1.05},
        )


class Completions(unittest.TestCase):
    def setUp(self):
        self.client = client()

    def create(self, **arguments):
        arguments = {"model": MODEL, "prompt": "One two three", "temperature": 0} | arguments
        return self.client.completions.create(**arguments)

    def test_an_answer(self):
        answer = self.create()
        self.assertEqual(answer.object, "text_completion")
        self.assertLessEqual(answer.usage.completion_tokens, 16)
        text = "".join(chunk.choices[0].text for chunk in self.create(stream=True))
        self.assertEqual(text, answer.choices[0].text)
        echoed = self.create(echo=True).choices[0].text
        self.assertEqual(echoed, "One two three" + answer.choices[0].text)

    def test_prompts_and_choices(self):
        answer = self.create(prompt=["A b c", "One two three"], n=2, max_tokens=6)
        texts = [choice.text for choice in answer.choices]
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        self.assertEqual((texts[0], texts[2]), (texts[1], texts[3]))
        self.assertEqual(texts[2], self.create(max_tokens=6).choices[0].text)

    def test_logprobs(self):
        choice = self.create(logprobs=2, max_tokens=6).choices[0]
        logprobs = choice.logprobs
        self.assertEqual("".join(logprobs.tokens)[: len(choice.text)], choice.text)
        self.assertEqual(logprobs.text_offset[0], 0)
        self.assertTrue(all(0 < len(top) <= 2 for top in logprobs.top_logprobs))

    def test_token_ids_are_refused(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.create(prompt=[1, 2, 3])
        self.assertEqual(refused.exception.param, "prompt[0]")


class Responses(unittest.TestCase):
    def setUp(self):
        self.client = client()

    def create(self, **arguments):
        defaults = {"model": MODEL, "input": "Say hello.", "max_output_tokens": 16, "temperature": 0}
        return self.client.responses.create(**defaults | arguments)

    def test_an_answer(self):
        answer = self.create(instructions="Be brief.", store=False, metadata={"team": "a"})
        self.assertEqual((answer.object, answer.model), ("response", MODEL))
        self.assertIn(answer.status, ("completed", "incomplete"))
        self.assertTrue(answer.output_text)
        self.assertEqual(answer.metadata, {"team": "a"})
        self.assertEqual(answer.output[-1].type, "message")
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)

    def test_a_stream_builds_the_answer_up(self):
        events = list(self.create(stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual(events[0].type, "response.created")
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        last = events[-1].response
        self.assertIn(events[-1].type, ("response.completed", "response.incomplete"))
        self.assertEqual("".join(deltas), last.output_text)
        self.assertEqual(last.output_text, self.create().output_text)

    def test_the_librarys_own_accumulation(self):
        # To the end of an enumeration, so that the answer is complete.
        schema = {"enum": ["yes", "no"]}
        form = {"format": {"type": "json_schema", "name": "word", "schema": schema, "strict": True}}
        with self.client.responses.stream(
            model=MODEL, input="Say yes.", text=form, max_output_tokens=32
        ) as stream:
            stream.until_done()
            final = stream.get_final_response()
        self.assertIn(json.loads(final.output_text), ("yes", "no"))

    def test_formats(self):
        parsed = self.client.responses.parse(
            model=MODEL, input="Who?", text_format=Person, max_output_tokens=80
        )
        self.assertIsInstance(parsed.output_parsed, Person)

    def test_tools_and_a_conversation(self):
        tool = {"type": "function", "strict": True, **FUNCTION}
        conversation = [{"role": "user", "content": "How is the weather in Bern?"}]
        answer = self.create(
            input=conversation, tools=[tool], tool_choice="required", max_output_tokens=120
        )
        calls = [item for item in answer.output if item.type == "function_call"]
        self.assertTrue(calls)
        for call in calls:
            jsonschema.validate(json.loads(call.arguments), PARAMETERS)
        conversation += answer.output
        conversation += [
            {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
            for call in calls
        ]
        answer = self.create(input=conversation, tools=[tool], max_output_tokens=24)
        self.assertIn(answer.status, ("completed", "incomplete"))
        events = list(
            self.create(
                input="Weather?",
                tools=[tool],
                tool_choice={"type": "function", "name": "get_weather"},
                max_output_tokens=120,
                stream=True,
            )
        )
        done = [e for e in events if e.type == "response.function_call_arguments.done"]
        deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
        self.assertEqual("".join(deltas), "".join(event.arguments for event in done))
        for event in done:
            jsonschema.validate(json.loads(event.arguments), PARAMETERS)

    def test_what_needs_state_is_refused(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.create(previous_response_id="resp_1")
        self.assertEqual(refused.exception.param, "previous_response_id")


class Models(unittest.TestCase):
    def test_the_list_and_each_of_it(self):
        for prefix in ("/v1", "/openai/v1"):
            listed = client(prefix).models.list()
            ids = [model.id for model in listed]
            self.assertIn(MODEL, ids)
            for name in ids:
                model = client(prefix).models.retrieve(name)
                self.assertEqual((model.id, model.object), (name, "model"))
        with self.assertRaises(openai.NotFoundError) as missing:
            client().models.retrieve("not/served")
        self.assertEqual(missing.exception.code, "model_not_found")


class Guardrails(unittest.TestCase):
    """As Bedrock's documentation has them used from this library."""

    headers = {
        "X-Amzn-Bedrock-GuardrailIdentifier": "default",
        "X-Amzn-Bedrock-GuardrailVersion": "1",
        "X-Amzn-Bedrock-Trace": "ENABLED",
    }
    secret = "My key is AKIAIOSFODNN7EXAMPLE, keep it."

    def test_a_secret_is_blocked_whole_and_streamed(self):
        messages = [{"role": "user", "content": self.secret}]
        asked = {"model": MODEL, "messages": messages, "extra_headers": self.headers}
        answer = client().chat.completions.create(**asked)
        self.assertEqual(answer.choices[0].finish_reason, "content_filter")
        self.assertEqual(answer.model_extra["amazon-bedrock-guardrailAction"], "INTERVENED")
        self.assertIn("guardrail", answer.model_extra["amazon-bedrock-trace"])
        with client().chat.completions.create(**asked, stream=True) as stream:
            chunks = list(stream)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "content_filter")
        self.assertEqual(chunks[-1].model_extra["amazon-bedrock-guardrailAction"], "INTERVENED")
        responded = client().responses.create(
            model=MODEL, input=self.secret, extra_headers=self.headers
        )
        self.assertEqual(responded.incomplete_details.reason, "content_filter")
        self.assertEqual(responded.output_text, answer.choices[0].message.content)

    def test_only_what_is_tagged_is_judged(self):
        tag = "amazon-bedrock-guardrails-guardContent_x1"
        messages = [
            {"role": "system", "content": self.secret},
            {"role": "user", "content": f"<{tag}>Hello</{tag}>"},
        ]
        answer = client().chat.completions.create(
            model=MODEL,
            messages=messages,
            max_tokens=4,
            extra_headers=self.headers,
            extra_body={"amazon-bedrock-guardrailConfig": {"tagSuffix": "x1"}},
        )
        found = answer.model_extra["amazon-bedrock-trace"]["guardrail"]["input"]["default"]
        self.assertNotIn("sensitiveInformationPolicy", found)


class Errors(unittest.TestCase):
    def refused(self, kind, **arguments):
        with self.assertRaises(kind) as refused:
            client().chat.completions.create(**{"model": MODEL, "messages": ASK} | arguments)
        error = refused.exception
        self.assertTrue(error.request_id and error.message and error.type)
        return error.code, error.param

    def test_errors_are_the_librarys_own_exceptions(self):
        bad = openai.BadRequestError
        self.assertEqual(
            self.refused(bad, temperature=3), ("invalid_value", "temperature")
        )
        self.assertEqual(
            self.refused(bad, extra_body={"poem": 1}), ("unknown_parameter", "poem")
        )
        self.assertEqual(
            self.refused(bad, logit_bias={"5": 1}), ("unsupported_parameter", "logit_bias")
        )
        self.assertEqual(
            self.refused(bad, max_tokens=10_000_000), ("context_length_exceeded", "messages")
        )
        self.assertEqual(
            self.refused(bad, messages=[{"role": "user", "content": "x " * 20_000}]),
            ("context_length_exceeded", "messages"),
        )
        self.assertEqual(
            self.refused(openai.NotFoundError, model="gpt-none"), ("model_not_found", "model")
        )
        headers = {
            "X-Amzn-Bedrock-GuardrailIdentifier": "none",
            "X-Amzn-Bedrock-GuardrailVersion": "1",
        }
        self.assertEqual(
            self.refused(openai.NotFoundError, extra_headers=headers), ("guardrail_not_found", None)
        )
        with self.assertRaises(openai.NotFoundError) as unknown:
            client().embeddings.create(model=MODEL, input="x")
        self.assertEqual(unknown.exception.code, "unknown_url")

    @unittest.skipUnless(os.environ.get("OUTCROP_HASTY_ENDPOINT"), "there is one server only")
    def test_each_status_has_its_exception(self):
        env = os.environ
        for kind, status, code, endpoint, key, arguments in (
            (openai.PermissionDeniedError, 403, "model_denied", ENDPOINT, "OUTCROP_OTHER_MODEL_API_KEY", {}),
            (openai.RateLimitError, 429, "rate_limit_exceeded", ENDPOINT, "OUTCROP_THROTTLED_API_KEY", {}),
            (openai.RateLimitError, 429, "insufficient_quota", ENDPOINT, "OUTCROP_SPENT_API_KEY", {}),
            (openai.APIStatusError, 408, "request_timeout", env["OUTCROP_HASTY_ENDPOINT"], "OUTCROP_API_KEY",
             {"max_tokens": 1500, "extra_body": {"structured_outputs": {"regex": "[a-z ]{2000,}"}}}),
            (openai.InternalServerError, 500, "internal_error", env["OUTCROP_BROKEN_ENDPOINT"], "OUTCROP_API_KEY", {}),
            (openai.InternalServerError, 500, "model_error", env["OUTCROP_SPOILED_ENDPOINT"], "OUTCROP_API_KEY", {}),
            (openai.InternalServerError, 503, "model_not_ready", env["OUTCROP_LOADING_ENDPOINT"], "OUTCROP_API_KEY",
             {}),
            (openai.InternalServerError, 503, "shutting_down", env["OUTCROP_DRAINING_ENDPOINT"], "OUTCROP_API_KEY",
             {}),
        ):
            with self.subTest(code):
                asking = openai.OpenAI(base_url=f"{endpoint}/v1", api_key=env[key], max_retries=0)
                ask = lambda: asking.chat.completions.create(  # noqa: E731
                    **{"model": MODEL, "messages": ASK, "max_tokens": 4} | arguments
                )
                with self.assertRaises(kind) as refused:
                    # The first may be good, and is paid for a moment after its answer.
                    for _ in range(3 if kind is openai.RateLimitError else 1):
                        ask()
                self.assertEqual((refused.exception.status_code, refused.exception.code), (status, code))

    @unittest.skipUnless(os.environ.get("OUTCROP_SPENT_API_KEY"), "there is no such key")
    def test_a_quota_that_is_used_up_is_not_asked_again(self):
        requests = []
        hooks = {"request": [lambda request: requests.append(request.url.path)]}
        asking = openai.OpenAI(
            base_url=f"{ENDPOINT}/v1",
            api_key=os.environ["OUTCROP_SPENT_API_KEY"],
            max_retries=5,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )
        for _ in range(4):
            requests.clear()
            with contextlib.suppress(openai.RateLimitError):
                asking.chat.completions.create(model=MODEL, messages=ASK, max_tokens=1)
        self.assertEqual(len(requests), 1)

    @unittest.skipUnless(os.environ.get("OUTCROP_API_KEY"), "the server takes requests without a key")
    def test_a_wrong_key_is_an_authentication_error(self):
        wrong = client().with_options(api_key="wrong")
        with self.assertRaises(openai.AuthenticationError):
            wrong.chat.completions.create(model=MODEL, messages=ASK)
        with self.assertRaises(openai.AuthenticationError):
            wrong.models.list()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ENDPOINT, MODEL = sys.argv[1].rstrip("/"), sys.argv[2]
    unittest.main(argv=sys.argv[:1])
