"""Whether a JSON value is an instance of a shape of botocore's service model.

botocore's own parser is lenient: it skips members that it does not know and leaves out those that are
missing. A client in another language may not be, so here the model is taken at its word.
"""

import base64
import binascii
import re

ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
# Ids that the operator of a server gives to models. The patterns want a provider's name and a dot, as
# in `deepseek.r1-v1:0`; no client holds answers to them.
OWN_NAMES = {"BedrockModelId", "FoundationModelArn"}
INTEGER_BITS = {"integer": 31, "long": 63}


class Findings:
    """What is wrong, each with the place where it is."""

    def __init__(self):
        self.found = []

    def add(self, where, what):
        self.found.append(f"{where}: {what}")


def check(shape, value, where, findings):
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return
    checker = CHECKERS.get(kind, check_unknown)
    checker(shape, value, where, findings)


def check_unknown(shape, value, where, findings):
    findings.add(where, f"the validator knows no type {shape.type_name}")


def check_structure(shape, value, where, findings, body_members=None):
    members = shape.members if body_members is None else body_members
    names = {wire_name(member, name): name for name, member in members.items()}
    if not isinstance(value, dict):
        findings.add(where, f"{shape.name} is an object, not {value!r:.80}")
        return
    for key in value:
        if key not in names:
            findings.add(f"{where}.{key}", f"{shape.name} has no such member")
    required = set(shape.required_members) & set(members)
    for wire, name in names.items():
        if wire in value:
            check(members[name], value[wire], f"{where}.{wire}", findings)
        elif name in required:
            findings.add(f"{where}.{wire}", f"{shape.name} requires it")
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        findings.add(where, f"{shape.name} is a union, yet has the members {sorted(value)}")


def wire_name(member, name):
    return member.serialization.get("name", name)


def check_list(shape, value, where, findings):
    if not isinstance(value, list):
        findings.add(where, f"{shape.name} is a list, not {value!r:.80}")
        return
    check_range(shape, len(value), "entries", where, findings)
    for index, entry in enumerate(value):
        check(shape.member, entry, f"{where}[{index}]", findings)


def check_map(shape, value, where, findings):
    if not isinstance(value, dict):
        findings.add(where, f"{shape.name} is a map, not {value!r:.80}")
        return
    check_range(shape, len(value), "entries", where, findings)
    for key, entry in value.items():
        check(shape.key, key, f"{where} key", findings)
        check(shape.value, entry, f"{where}[{key!r}]", findings)


def check_string(shape, value, where, findings):
    if not isinstance(value, str):
        findings.add(where, f"{shape.name} is a string, not {value!r:.80}")
        return
    check_range(shape, len(value), "characters", where, findings)
    if shape.enum and value not in shape.enum:
        findings.add(where, f"{shape.name} has no value {value!r}")
    pattern = None if shape.name in OWN_NAMES else shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        findings.add(where, f"{value!r:.80} does not match {pattern}")


def check_integer(shape, value, where, findings):
    if isinstance(value, bool) or not isinstance(value, int):
        findings.add(where, f"{shape.name} is an integer, not {value!r:.80}")
    elif not -(1 << INTEGER_BITS[shape.type_name]) <= value < 1 << INTEGER_BITS[shape.type_name]:
        findings.add(where, f"{value} does not fit {shape.type_name}")
    else:
        check_range(shape, value, "", where, findings)


def check_float(shape, value, where, findings):
    if isinstance(value, bool) or not isinstance(value, int | float):
        findings.add(where, f"{shape.name} is a number, not {value!r:.80}")
    else:
        check_range(shape, value, "", where, findings)


def check_boolean(shape, value, where, findings):
    if not isinstance(value, bool):
        findings.add(where, f"{shape.name} is a boolean, not {value!r:.80}")


def check_blob(shape, value, where, findings):
    try:
        base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        findings.add(where, f"{shape.name} is base64, not {value!r:.80}")


def check_timestamp(shape, value, where, findings):
    # A rest-json body has seconds since the epoch unless the model says otherwise.
    if shape.serialization.get("timestampFormat") == "iso8601":
        if not isinstance(value, str) or not ISO_8601.fullmatch(value):
            findings.add(where, f"{shape.name} is an ISO 8601 timestamp, not {value!r:.80}")
    else:
        check_float(shape, value, where, findings)


def check_range(shape, number, unit, where, findings):
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and number < least) or (most is not None and number > most):
        findings.add(where, f"{number} {unit} are not within [{least}, {most}]")


CHECKERS = {
    "structure": check_structure,
    "list": check_list,
    "map": check_map,
    "string": check_string,
    "integer": check_integer,
    "long": check_integer,
    "float": check_float,
    "double": check_float,
    "boolean": check_boolean,
    "blob": check_blob,
    "timestamp": check_timestamp,
}
