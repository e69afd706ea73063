"""Brings servers into states in which every request fails in one way.

    states.py break MODEL.gguf OUT.gguf    copies a model, with a chat template that fails when it is used
    states.py spoil MODEL.gguf OUT.gguf    copies a model, some of whose last weights are not numbers
    states.py endless MODEL.gguf OUT.gguf  copies a model, whose answers end nowhere
    states.py hold PORT                    sends a request that a loading server keeps waiting, and stays
"""

import http.client
import os
import struct
import sys
import time

LOOP = b"{% for message in messages %}"
# As long as the template's own words: an attribute of something that there is not.
FAILING = b"{% for message in a.b.cdef %}"

# Tokens at which answers end, as templates and vocabularies have them, and the number that says which
# one does. Another token, which no model writes, takes its place.
END_NAMES = {b"<|im_end|>": b"<|im_on!|>", b"<|endoftext|>": b"<|neveroftx|>"}
END_ID = b"tokenizer.ggml.eos_token_id" + struct.pack("<I", 4)
NEVER_WRITTEN = 5


def break_template(model, out):
    with open(model, "rb") as file:
        data = file.read()
    if data.count(LOOP) != 1:
        sys.exit(f"{model} has no chat template that loops over its messages once")
    with open(out, "wb") as file:
        file.write(data.replace(LOOP, FAILING))


def spoil_weights(model, out):
    with open(model, "rb") as file:
        data = file.read()
    # Not a number in every format of floats and of scales.
    bits = b"\xff" * 64
    with open(out, "wb") as file:
        file.write(data[: -len(bits)] + bits)


def make_endless(model, out):
    with open(model, "rb") as file:
        data = file.read()
    if data.count(END_ID) != 1 or not any(name in data for name in END_NAMES):
        sys.exit(f"{model} has no end of answers that is known here")
    for name, other in END_NAMES.items():
        data = data.replace(name, other)
    head, tail = data.split(END_ID)
    with open(out, "wb") as file:
        file.write(head + END_ID + struct.pack("<I", NEVER_WRITTEN) + tail[4:])


def hold(port):
    key = os.environ["OUTCROP_API_KEY"]
    body = '{"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}'
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST", "/model/us.deepseek.r1-v1%3A0/converse", body, headers)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    # It is in flight a moment after it was sent, which nothing tells from outside.
    time.sleep(2)
    print("held", flush=True)
    connection.getresponse()


if __name__ == "__main__":
    if sys.argv[1:2] == ["break"] and len(sys.argv) == 4:
        break_template(*sys.argv[2:])
    elif sys.argv[1:2] == ["spoil"] and len(sys.argv) == 4:
        spoil_weights(*sys.argv[2:])
    elif sys.argv[1:2] == ["endless"] and len(sys.argv) == 4:
        make_endless(*sys.argv[2:])
    elif sys.argv[1:2] == ["hold"] and len(sys.argv) == 3:
        hold(int(sys.argv[2]))
    else:
        sys.exit(__doc__)
