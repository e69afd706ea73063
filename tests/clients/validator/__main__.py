"""Checks every answer of the recordings that are named.

    python -m validator RECORDING...

Ends with status 1 if one is not what the service model says, or if there was none to check.
"""

import sys
from collections import Counter

from . import bedrock, exchanges, openai_types

PROBES = {"/health", "/ready", "/metrics"}


def check_all(recordings):
    model = bedrock.Model()
    counts, wrong = Counter(), []
    for recording in recordings:
        for exchange in exchanges.read(recording):
            if exchange.path in PROBES:
                continue
            if exchange.status == 0:
                # Nobody is to blame for a client that leaves before there is an answer.
                if exchange.closed_by != "client":
                    wrong.append((exchange, ["answer: there is none"]))
                continue
            if openai_types.serves(exchange.path):
                name, found = openai_types.check(exchange)
            else:
                name, found = bedrock.check(model, exchange)
            if not exchange.complete and exchange.closed_by != "client":
                found.append(f"answer: cut by {exchange.closed_by}")
            counts[name or "(no operation)", exchange.status] += 1
            if found:
                wrong.append((exchange, found))
    return counts, wrong


def main():
    counts, wrong = check_all(sys.argv[1:])
    for (name, status), count in sorted(counts.items()):
        print(f"{count:6}  {status}  {name}")
    for exchange, found in wrong:
        print(f"WRONG {bedrock.label(exchange)}\n    " + "\n    ".join(found))
        print(f"    request: {exchange.request_body[:400]!r}")
        print(f"    answer: {exchange.body[:400]!r}")
    total = sum(counts.values())
    print(f"{total - len(wrong)} of {total} answers are what the service models say")
    return 0 if total and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
