"""Whether an answer on the OpenAI paths is an instance of the types of OpenAI's own library.

That library builds its types without validation, so a client sees a wrong one late or never; here the
same types are validated.
"""

import json
from typing import Literal

from openai.pagination import SyncPage
from openai.types import Completion, CompletionChoice, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError


class ChoiceEvent(CompletionChoice):
    finish_reason: Literal["stop", "length", "content_filter"] | None


class CompletionEvent(Completion):
    """The library has one type for both, and OpenAI's own streams have null until the end."""

    choices: list[ChoiceEvent]


# The end of the path, with the types of the answer, of an event, and of the end of a stream.
ANSWERS = {
    "chat/completions": (ChatCompletion, ChatCompletionChunk, "[DONE]"),
    "completions": (Completion, CompletionEvent, "[DONE]"),
    "responses": (Response, ResponseStreamEvent, None),
    "models": (SyncPage[Model], None, None),
}
PREFIXES = ("/v1/", "/openai/v1/")
ERROR_MEMBERS = {"message", "type", "param", "code"}


def serves(path):
    return path.startswith(PREFIXES)


def check(exchange):
    name = next(exchange.path[len(p) :] for p in PREFIXES if exchange.path.startswith(p))
    found = []
    if exchange.status >= 400:
        check_error(exchange, found)
        return name, found
    answer, event, end = ANSWERS.get(name, (Model, None, None))
    content_type = exchange.headers.get("content-type", "").split(";", 1)[0]
    try:
        if content_type == "text/event-stream":
            check_events(event, end, exchange, found)
        elif content_type == "application/json":
            TypeAdapter(answer).validate_json(exchange.body)
        else:
            found.append(f"content-type: {content_type!r}")
    except (ValidationError, ValueError) as error:
        found.append(f"{name}: {error}")
    return name, found


def check_error(exchange, found):
    try:
        error = json.loads(exchange.body)["error"]
    except (ValueError, KeyError, TypeError):
        found.append(f"error: has no member `error`: {exchange.body[:80]!r}")
        return
    if set(error) != ERROR_MEMBERS or not error["message"] or not error["type"]:
        found.append(f"error: has {sorted(ERROR_MEMBERS)}, not {error}")


def check_events(event, end, exchange, found):
    adapter = TypeAdapter(event)
    text = exchange.body.decode("utf-8", errors="strict" if exchange.complete else "replace")
    *records, rest = text.split("\n\n")
    if exchange.complete and rest:
        found.append(f"stream: ends within an event: {rest[:80]!r}")
    datas = []
    for record in records:
        lines = [line for line in record.split("\n") if not line.startswith((":", "event: "))]
        datas += [line.removeprefix("data: ") for line in lines]
    if end is not None and exchange.complete:
        if not datas or datas.pop() != end:
            found.append(f"stream: does not end with {end}")
    for number, data in enumerate(datas):
        if data == end or json.loads(data).get("error"):
            continue
        try:
            adapter.validate_json(data)
        except ValidationError as error:
            found.append(f"event {number}: {error}: {data[:200]}")
