"""Every member of every request, as botocore's service model has it: honoured, or refused by its name.

The requests are made from the model itself, so a member that a later version adds is asked for too. One that
is honoured is shown to be read: with a value of another type the request is refused, and names it. So is a
member that the model does not have, wherever there is room for one."""

import base64
import http.client
import io
import json
import unittest
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import botocore.session

from endpoint import API_KEY, ENDPOINT, EVERYTHING, MODEL

# Refused by name wherever a path ends with this. `=` is followed by the value that is.
REFUSED = (
    *(f"content[].{kind}" for kind in ("image", "video", "audio", "toolAddition", "toolRemoval")),
    *("guardContent.image", "source.s3Location", "citations.enabled=True", "systemTool", "promptVariables"),
    # Of tools that run on the server's side.
    *("toolUse.type", "toolResult.type"),
    *(f"document.format={name}" for name in ("pdf", "doc", "xls", "xlsx")),
)
# Read by nobody: what an earlier model thought, and where it had it from.
DROPPED = ("content[].reasoningContent", "citationsContent.citations")
# Blocks that belong to an assistant's turn.
OF_ASSISTANT = ("toolUse", "reasoningContent", "citationsContent")

TEXT = base64.b64encode(b"A text.").decode()
TOOL = {"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"toolUse": {"toolUseId": "i", "name": "t", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "i", "content": [{"text": "A"}]}}
INVOKE = base64.b64encode(json.dumps({"prompt": "Hi"}).encode()).decode()

# Values that have to mean something, by the end of their path.
VALUES = {
    "toolUseId": "i",
    "tool.name": "t",
    "toolUse.input": {},
    "inputSchema.json": {"type": "object"},
    "jsonSchema.schema": '{"enum": ["a"]}',
    "document.format": "txt",
    "additionalModelRequestFields": {"top_k": 5},
    "additionalModelResponseFieldPaths[]": "/stop_sequence",
    "guardrailIdentifier": EVERYTHING["guardrailIdentifier"],
    "guardrailVersion": EVERYTHING["guardrailVersion"],
    # What the demo model, which does not reason, can be asked for.
    "effort": "high",
    "maxTokens": 1,
    "temperature": 0.5,
    "topP": 0.5,
    "invokeModel.body": INVOKE,
    "document.source.bytes": TEXT,
}
# Free in their type, so that no value is of another.
ANY_TYPE = ("content[].json",)


class Members:
    """The requests of an operation, each with one member of its input."""

    def __init__(self, operation):
        session = botocore.session.get_session()
        self.operation = session.get_service_model("bedrock-runtime").operation_model(operation)
        located = lambda shape: "location" in shape.serialization  # noqa: E731
        self.top = {n: s for n, s in self.operation.input_shape.members.items() if not located(s)}

    def paths(self):
        """Every path with each value that is worth asking for; structures that are refused or dropped
        are asked for as a whole."""
        for name, shape in self.top.items():
            yield from self.below(shape, name)

    def below(self, shape, path):
        if ends(path, REFUSED) or ends(path, DROPPED):
            yield path, None
        elif shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
            if not shape.members:
                yield path, None
            for name, member in shape.members.items():
                yield from self.below(member, f"{path}.{name}")
        elif shape.type_name == "list":
            yield from self.below(shape.member, path + "[]")
        elif shape.type_name == "boolean":
            yield from ((path, value) for value in (True, False))
        elif getattr(shape, "enum", None):
            yield from ((path, value) for value in shape.enum)
        else:
            yield path, None

    def structures(self):
        """Paths of structures in which a member may be looked for."""
        found = {""}
        for path, _ in self.paths():
            parts = path.split(".")
            found.update(".".join(parts[:end]) for end in range(1, len(parts)))
        return sorted(it for it in found if not ends(it, ANY_TYPE))

    def body(self, path, value=None, extra=None):
        """A request that is good but for what `path` may be refused for. `extra` is a member that is
        put into the structure at the path."""
        wanted = path.split(".") if path else []
        made = {
            name: self.value(shape, name, wanted[1:] if wanted[:1] in ([name], [name + "[]"]) else None, value, extra)
            for name, shape in self.top.items()
            if wanted[:1] in ([name], [name + "[]"]) or name in self.operation.input_shape.required_members
        }
        if not path and extra:
            made.update(extra)
        return made

    def value(self, shape, path, wanted, value, extra):
        """The least value that has the members `wanted`, or none in particular where that is None."""
        if shape.type_name == "list":
            return [self.value(shape.member, path + "[]", wanted, value, extra)]
        if wanted == [] and value is not None:
            return value
        if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
            required = set(shape.required_members)
            if wanted:
                required.add(wanted[0].removesuffix("[]"))
            elif getattr(shape, "is_tagged_union", False) and not required:
                required.add("text" if "text" in shape.members else next(iter(shape.members)))
            made = {}
            for name in required:
                rest = wanted[1:] if wanted and wanted[0].removesuffix("[]") == name else None
                made[name] = self.value(shape.members[name], f"{path}.{name}", rest, value, extra)
            if wanted == [] and extra:
                made.update(extra)
            return made
        for end, known in VALUES.items():
            if path.endswith(end):
                return known
        if getattr(shape, "enum", None):
            return shape.enum[0]
        return LEAST[shape.type_name](shape)


LEAST = {
    "string": lambda shape: "a",
    "integer": lambda shape: 1,
    "long": lambda shape: 1,
    "float": lambda shape: 0.5,
    "double": lambda shape: 0.5,
    "boolean": lambda shape: False,
    "blob": lambda shape: TEXT,
    "map": lambda shape: {"a": {"text": "b"} if shape.value.type_name == "structure" else "b"},
    "structure": lambda shape: {},
}


def ends(path, patterns):
    return any(path == it or path.endswith("." + it) or path.endswith("]." + it) for it in patterns)


def docx(text):
    """The least archive that is read as one."""
    file = io.BytesIO()
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{space}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>',
        )
    return base64.b64encode(file.getvalue()).decode()


def complete_documents(value, path):
    """A format is about bytes, and bytes have one."""
    if isinstance(value, list):
        for item in value:
            complete_documents(item, path)
    elif isinstance(value, dict):
        document = value.get("document")
        if isinstance(document, dict):
            if path.endswith("document.format"):
                is_docx = document["format"] == "docx"
                document["source"] = {"bytes": docx("A text.") if is_docx else TEXT}
            if "bytes" in document["source"]:
                document.setdefault("format", "txt")
        for item in value.values():
            complete_documents(item, path)


def in_context(operation, path, body):
    """The request with what the member needs beside it: a turn before, a tool to choose."""
    if operation == "CountTokens":
        inner = body["input"].get("converse")
        if inner is not None:
            body["input"]["converse"] = in_context("Converse", path.removeprefix("input.converse."), inner)
            del inner["inferenceConfig"]
        return body
    if operation not in ("Converse", "ConverseStream"):
        return body
    complete_documents(body, path)
    question = {"role": "user", "content": [{"text": "Hi"}]}
    turns = body.setdefault("messages", [question])
    if path.startswith("messages[].content[]"):
        block = turns[0]["content"][0]
        kind = next(iter(block), None)
        if kind in OF_ASSISTANT:
            answers = [RESULT] if kind == "toolUse" else [{"text": "Hi"}]
            turns[:] = [question, {"role": "assistant", "content": [block]}, {"role": "user", "content": answers}]
        elif kind == "toolResult":
            turns[:] = [question, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [block]}]
        else:
            turns[:] = [{"role": "user", "content": [block, {"text": "Hi"}]}]
    elif path == "messages[].role":
        role = turns[0]["role"]
        turns[:] = [{"role": role, "content": [{"text": "Hi"}]}, question][role == "user" :]
        if role == "assistant":
            turns.insert(0, question)
    if path.startswith("toolConfig"):
        tools = body["toolConfig"].setdefault("tools", [])
        if path.startswith("toolConfig.toolChoice") or "cachePoint" in path:
            tools[len(tools) if "cachePoint" in path else 0 :] = [TOOL]
    if path.startswith("guardrailConfig"):
        # The one that masks nothing may be asked for in either mode.
        named = WORDS if path.endswith("streamProcessingMode") else EVERYTHING
        body["guardrailConfig"] = {**named, **body["guardrailConfig"]}
    if operation == "Converse" or "inferenceConfig" not in body:
        body.setdefault("inferenceConfig", {}).setdefault("maxTokens", 1)
    return body


def wrong_type(path):
    return {"unexpected": 1} if not path.endswith(("input", "json", "Fields")) else "unexpected"


WORDS = {"guardrailIdentifier": "words", "guardrailVersion": "DRAFT"}
PATHS = {
    "Converse": f"/model/{quote(MODEL, safe='')}/converse",
    "ConverseStream": f"/model/{quote(MODEL, safe='')}/converse-stream",
    "CountTokens": f"/model/{quote(MODEL, safe='')}/count-tokens",
    "ApplyGuardrail": "/guardrail/everything/version/DRAFT/apply",
    "InvokeGuardrailChecks": "/guardrail-checks/invoke",
}


def post(path, body, headers=None):
    connection = http.client.HTTPConnection(urlsplit(ENDPOINT).netloc, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}", **(headers or {})}
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    refused = response.status >= 400
    return response.status, json.loads(answer)["message"] if refused else ""


class Fields(unittest.TestCase):
    def refusals(self, cases):
        """Statuses and messages of requests, in their order."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda case: post(*case), cases))

    def test_each_member_is_honoured_or_refused_by_name(self):
        for operation, url in PATHS.items():
            members = Members(operation)
            cases = list(members.paths())
            bodies = [in_context(operation, path, members.body(path, value)) for path, value in cases]
            answers = self.refusals([(url, body) for body in bodies])
            num_refused = 0
            for (path, value), body, (status, message) in zip(cases, bodies, answers):
                with self.subTest(operation, path=path, value=value):
                    name = path.removesuffix("[]").rsplit(".", 1)[-1]
                    if ends(path, REFUSED) or ends(f"{path}={value}", REFUSED):
                        num_refused += 1
                        self.assertEqual(status, 400, (body, message))
                        named = name if "=" not in name and name != "enabled" else "citations"
                        self.assertIn(named, message)
                    else:
                        self.assertEqual(status, 200, (body, message))
            print(f"\n{operation}: {len(cases)} members and values, {num_refused} of them refused by name", end="")

    def test_each_member_that_is_honoured_is_read(self):
        for operation, url in PATHS.items():
            members = Members(operation)
            paths = {
                path for path, _ in members.paths() if not ends(path, REFUSED + DROPPED + ANY_TYPE)
            }
            paths = sorted(paths)
            bodies = [in_context(operation, p, members.body(p, wrong_type(p))) for p in paths]
            for path, body, (status, message) in zip(
                paths, bodies, self.refusals([(url, body) for body in bodies])
            ):
                with self.subTest(operation, path=path):
                    self.assertEqual(status, 400, (body, message))
                    self.assertIn(path.removesuffix("[]").rsplit(".", 1)[-1], message)

    def test_what_the_model_does_not_have_is_refused_everywhere(self):
        extra = {"poem": 1}
        for operation, url in PATHS.items():
            members = Members(operation)
            paths = members.structures()
            bodies = [in_context(operation, p, members.body(p, extra=extra)) for p in paths]
            for path, body, (status, message) in zip(
                paths, bodies, self.refusals([(url, body) for body in bodies])
            ):
                with self.subTest(operation, path=path):
                    self.assertIn("poem", json.dumps(body))
                    self.assertEqual(status, 400, (body, message))
                    self.assertIn("poem", message)

    def test_the_headers_of_invoke_model_are_read(self):
        session = botocore.session.get_session()
        runtime = session.get_service_model("bedrock-runtime")
        body = {"prompt": "Hi", "max_tokens": 1}
        guarded = {
            "X-Amzn-Bedrock-GuardrailIdentifier": EVERYTHING["guardrailIdentifier"],
            "X-Amzn-Bedrock-GuardrailVersion": EVERYTHING["guardrailVersion"],
        }
        # What these say of a body that is JSON either way makes no difference.
        free = {"Content-Type", "Accept", "X-Amzn-Bedrock-Accept"}
        for operation, path in (
            ("InvokeModel", "invoke"),
            ("InvokeModelWithResponseStream", "invoke-with-response-stream"),
        ):
            url = f"/model/{quote(MODEL, safe='')}/{path}"
            for shape in runtime.operation_model(operation).input_shape.members.values():
                if shape.serialization.get("location") != "header":
                    continue
                name = shape.serialization["name"]
                beside = guarded if "Guardrail" in name or "Trace" in name else {}
                good = guarded.get(name) or ('{"a": "b"}' if "Metadata" in name else (getattr(shape, "enum", None) or ["*/*"])[0])
                with self.subTest(operation, header=name):
                    self.assertEqual(post(url, body, beside | {name: good})[0], 200)
                    status, message = post(url, body, beside | {name: "no such value"})
                    if name in free:
                        self.assertEqual(status, 200, message)
                    else:
                        self.assertIn(status, (400, 404))
                        self.assertRegex(message.lower(), name.lower().removeprefix("x-amzn-bedrock-") + "|no such value")


if __name__ == "__main__":
    unittest.main()
