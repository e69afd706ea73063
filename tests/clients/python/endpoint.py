"""Where the server under test is, as `tests/clients/run` sets it up, and what all suites ask of it."""

import dataclasses
import json
import os
from unittest import mock

import boto3
import jsonschema
from botocore.config import Config

ENDPOINT = os.environ["OUTCROP_ENDPOINT"]
# With TLS, for what clients refuse to do without; its certificate is signed by AWS_CA_BUNDLE's.
TLS_ENDPOINT = os.environ["OUTCROP_TLS_ENDPOINT"]
# A server whose model never finishes loading, one that gives a second to each request, one whose checkpoint
# has a template that fails, one that has weights that are not numbers, and one that shuts down without end.
LOADING_ENDPOINT = os.environ["OUTCROP_LOADING_ENDPOINT"]
HASTY_ENDPOINT = os.environ["OUTCROP_HASTY_ENDPOINT"]
BROKEN_ENDPOINT = os.environ["OUTCROP_BROKEN_ENDPOINT"]
SPOILED_ENDPOINT = os.environ["OUTCROP_SPOILED_ENDPOINT"]
DRAINING_ENDPOINT = os.environ["OUTCROP_DRAINING_ENDPOINT"]
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


@dataclasses.dataclass
class Provoked:
    """How to meet an error of the service model: what of a plain question is to be changed."""

    status: int
    endpoint: str = ENDPOINT
    key: str = None
    model: str = MODEL
    config: dict = dataclasses.field(default_factory=lambda: {"maxTokens": 4})
    # Of the requests before it some may be good.
    tries: int = 1

    def credentials(self):
        """The id and the secret of the key that is not the suites' own."""
        if self.key is None:
            return os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        return os.environ[f"OUTCROP_{self.key}_KEY_ID"], os.environ[f"OUTCROP_{self.key}_SECRET"]

    def environment(self):
        """For clients that take credentials from there only."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return mock.patch.dict(os.environ, dict(zip(names, self.credentials())))

    def error(self, ask):
        """What `ask` raises in the end."""
        for _ in range(self.tries):
            try:
                with self.environment():
                    ask()
            except Exception as error:
                return error
        raise AssertionError(f"no error of status {self.status}")


def settings(provoked):
    """As most libraries spell what the error needs."""
    names = {"maxTokens": "max_tokens", "temperature": "temperature"}
    return {names[name]: value for name, value in provoked.config.items()}


# All that Converse can answer by the service model.
PROVOKED = {
    "ValidationException": Provoked(400, config={"maxTokens": 4, "temperature": 1.9}),
    "AccessDeniedException": Provoked(403, key="OTHER_MODEL"),
    "ResourceNotFoundException": Provoked(404, model=UNKNOWN_MODEL),
    "ModelTimeoutException": Provoked(
        408, endpoint=HASTY_ENDPOINT, config={"maxTokens": 1500, "temperature": 0.0}
    ),
    "ModelErrorException": Provoked(424, endpoint=SPOILED_ENDPOINT),
    "ThrottlingException": Provoked(429, key="THROTTLED", tries=2),
    "ModelNotReadyException": Provoked(429, endpoint=LOADING_ENDPOINT),
    "InternalServerException": Provoked(500, endpoint=BROKEN_ENDPOINT),
    "ServiceUnavailableException": Provoked(503, endpoint=DRAINING_ENDPOINT),
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
