"""Where the server under test is, as `tests/clients/run` sets it up, and what all suites ask of it."""

import json
import os

import boto3
import jsonschema
from botocore.config import Config

ENDPOINT = os.environ["OUTCROP_ENDPOINT"]
# With TLS, for what clients refuse to do without; its certificate is signed by AWS_CA_BUNDLE's.
TLS_ENDPOINT = os.environ["OUTCROP_TLS_ENDPOINT"]
# A server whose model never finishes loading, and one that takes a single request at a time.
LOADING_ENDPOINT = os.environ["OUTCROP_LOADING_ENDPOINT"]
API_KEY = os.environ["OUTCROP_API_KEY"]

# The id that applications hard-code; the server takes it for whatever model it serves.
MODEL = "us.deepseek.r1-v1:0"
# An alias: clients know that Claude takes tools, and say of R1 on their own that it does not.
TOOL_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
UNKNOWN_MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
IMPORTED_MODEL = "arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkl"
GREEDY = {"maxTokens": 8, "temperature": 0.0}

# A guardrail with every policy, which blocks the word `xyzzy`.
EVERYTHING = {"guardrailIdentifier": "everything", "guardrailVersion": "DRAFT"}
BLOCKED_INPUT, BLOCKED_OUTPUT = "Not this.", "Not that."

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER_TOOL = {
    "toolSpec": {
        "name": "get_weather",
        "description": "The weather in a city",
        "inputSchema": {"json": WEATHER_SCHEMA},
    }
}


def runtime(endpoint=ENDPOINT, **arguments):
    return boto3.client("bedrock-runtime", endpoint_url=endpoint, **arguments)


def impatient(endpoint=ENDPOINT, **arguments):
    """A client that shows the first error in place of trying again."""
    config = Config(retries={"total_max_attempts": 1}, **arguments.pop("config", {}))
    return runtime(endpoint, config=config, **arguments)


def ask(text):
    return [{"role": "user", "content": [{"text": text}]}]


def saying(text):
    """Settings under which the model can say nothing but this, as a JSON string."""
    structure = {"jsonSchema": {"schema": json.dumps({"const": text}), "name": "said"}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def text_of(response):
    blocks = response["output"]["message"]["content"]
    return "".join(block.get("text", "") for block in blocks)


def check_weather(arguments):
    """The arguments of a call of the weather tool, as text or as what the client read from it."""
    value = json.loads(arguments) if isinstance(arguments, str) else arguments
    jsonschema.validate(value, WEATHER_SCHEMA)
