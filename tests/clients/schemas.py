"""Answers to random JSON schemas, each checked with `jsonschema`: all must be valid.

    schemas.py COUNT [SEED]

Each schema is asked for in three ways: as the output format of Converse, as the input of a tool that
Converse must call, and as the response format of OpenAI's chat completions. The answers are sampled at
temperature 1, so that it is not the model that keeps to the schema.
"""

import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import jsonschema
import openai

ENDPOINT = os.environ["OUTCROP_ENDPOINT"]
MODEL = "us.deepseek.r1-v1:0"
MAX_TOKENS = 300
PARALLEL = 8
DEPTH = 3
NAMES = ["name", "größe", "都市", "is_open", "a b", "x-y", "élève", "n", "$id_", "quote\"d", "🪨"]
WORDS = ["red", "naïve", "北京", "a\"b", "back\\slash", "new\nline", "😀", "", "true", "null", " "]
PATTERNS = ["^[a-z]{2,5}$", "^[A-Z]{3}-[0-9]{2}$", "^(yes|no|ja)$", "^[α-ω]{1,3}$"]
PROMPTS = ["Describe a city.", "Fill in the form.", "Antworte kurz.", "描述一块石头。"]


class Generator:
    """Schemas as applications write them: objects in objects, some members shared by reference."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def root(self):
        schema = self.object(DEPTH)
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema

    def value(self, depth):
        leaves = [self.string, self.integer, self.number, self.enum, self.constant, self.simple]
        branches = [self.object, self.array, self.any_of, self.reference]
        if depth <= 0 or self.random.random() < 0.5:
            return self.random.choice(leaves)()
        return self.random.choice(branches)(depth - 1)

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randint(1, 4))
        schema = {"type": "object", "properties": {name: self.value(depth) for name in names}}
        required = [name for name in names if self.random.random() < 0.7]
        if required or self.random.random() < 0.5:
            schema["required"] = required
        if self.random.random() < 0.7:
            schema["additionalProperties"] = False
        return schema

    def array(self, depth):
        schema = {"type": "array", "items": self.value(depth)}
        least = self.random.randint(0, 2)
        if self.random.random() < 0.5:
            schema["minItems"] = least
        if self.random.random() < 0.7:
            schema["maxItems"] = least + self.random.randint(0, 2)
        return schema

    def any_of(self, depth):
        return {"anyOf": [self.value(depth) for _ in range(self.random.randint(2, 3))]}

    def reference(self, depth):
        name = f"d{len(self.definitions)}"
        self.definitions[name] = True
        self.definitions[name] = self.value(depth)
        return {"$ref": f"#/$defs/{name}"}

    def string(self):
        schema = {"type": "string"}
        kind = self.random.random()
        if kind < 0.3:
            schema["pattern"] = self.random.choice(PATTERNS)
        elif kind < 0.8:
            schema["maxLength"] = self.random.randint(0, 12)
            if self.random.random() < 0.5:
                schema["minLength"] = self.random.randint(0, schema["maxLength"])
        return schema

    def integer(self):
        schema = {"type": "integer"}
        if self.random.random() < 0.8:
            schema["minimum"] = self.random.randint(-1000, 1000)
            schema["maximum"] = schema["minimum"] + self.random.choice([0, 1, 9, 100, 12345])
        return schema

    def number(self):
        schema = {"type": "number"}
        least = round(self.random.uniform(-100, 100), 2)
        if self.random.random() < 0.8:
            schema[self.random.choice(["minimum", "exclusiveMinimum"])] = least
            most = round(least + self.random.uniform(0.5, 100), 2)
            schema[self.random.choice(["maximum", "exclusiveMaximum"])] = most
        return schema

    def enum(self):
        choices = [*WORDS, 0, -1, 2.5, True, None]
        return {"enum": self.random.sample(choices, self.random.randint(1, 5))}

    def constant(self):
        return {"const": self.random.choice([*WORDS, 42, False, None])}

    def simple(self):
        kinds = ["boolean", "null", ["string", "null"], ["integer", "boolean"]]
        kind = self.random.choice(kinds)
        return {"type": kind, "maxLength": 6} if "string" in kind else {"type": kind}


def output_format(client, schema, prompt, seed):
    structure = {"jsonSchema": {"schema": json.dumps(schema), "name": "random"}}
    response = converse(
        client,
        prompt,
        seed,
        outputConfig={"textFormat": {"type": "json_schema", "structure": structure}},
    )
    expect(response["stopReason"], "end_turn")
    blocks = response["output"]["message"]["content"]
    return json.loads("".join(block["text"] for block in blocks if "text" in block))


def forced_tool(client, schema, prompt, seed):
    tool = {"name": "record", "description": "Records", "inputSchema": {"json": schema}}
    response = converse(
        client,
        prompt,
        seed,
        toolConfig={"tools": [{"toolSpec": tool}], "toolChoice": {"tool": {"name": "record"}}},
    )
    expect(response["stopReason"], "tool_use")
    blocks = response["output"]["message"]["content"]
    expect([kind for block in blocks for kind in block if kind != "reasoningContent"], ["toolUse"])
    return blocks[-1]["toolUse"]["input"]


def converse(client, prompt, seed, **arguments):
    return client.converse(
        modelId=MODEL,
        messages=[{"role": "user", "content": [{"text": prompt}]}],
        inferenceConfig={"maxTokens": MAX_TOKENS, "temperature": 1.0},
        additionalModelRequestFields={"seed": seed},
        **arguments,
    )


def response_format(client, schema, prompt, seed):
    response = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_completion_tokens=MAX_TOKENS,
        temperature=1.0,
        seed=seed,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "random", "schema": schema, "strict": False},
        },
    )
    expect(response.choices[0].finish_reason, "stop")
    return json.loads(response.choices[0].message.content)


def expect(found, expected):
    if found != expected:
        raise ValueError(f"expected {expected!r}, found {found!r}")


def main():
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    bedrock = boto3.client("bedrock-runtime", endpoint_url=ENDPOINT)
    client = openai.OpenAI(base_url=f"{ENDPOINT}/v1", api_key=os.environ["OUTCROP_API_KEY"])
    ways = {output_format: bedrock, forced_tool: bedrock, response_format: client}
    schemas = {seed: Generator(seed).root() for seed in range(first, first + count)}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)

    def run(case):
        way, seed = case
        schema = schemas[seed]
        prompt = PROMPTS[seed % len(PROMPTS)]
        try:
            value = way(ways[way], schema, prompt, seed)
            jsonschema.Draft202012Validator(schema).validate(value)
            return None
        except Exception as error:
            return f"{way.__name__} {seed}: {type(error).__name__}: {str(error)[:300]}\n    {schema}"

    cases = [(way, seed) for seed in schemas for way in ways]
    with ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(run, cases))
    for failure in filter(None, results):
        print(failure)
    for way in ways:
        valid = sum(not failure for (it, _), failure in zip(cases, results) if it is way)
        print(f"{way.__name__}: {valid}/{count} valid")
    return 1 if any(results) else 0


if __name__ == "__main__":
    sys.exit(main())
