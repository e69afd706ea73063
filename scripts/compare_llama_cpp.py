"""Scores the tokens of `outcrop eval --top1` with llama.cpp and compares; see compare-quality.

    python compare_llama_cpp.py MODEL.gguf TOP1.tsv CONTEXT_LEN
"""

import math
import sys
from pathlib import Path

import numpy as np
from llama_cpp import Llama

# How much less often than llama.cpp with itself: 3,000 tokens are too few to tell less apart.
AGREEMENT_MARGIN = 0.01
PERPLEXITY_DIFFERENCE_MAX = 0.005


def score(llama, window):
    """For each token but the first: the most probable id and the token's log probability."""
    llama.reset()
    llama.eval(window[:-1])
    logits = np.array(llama.scores[: len(window) - 1], dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits.argmax(axis=1), logprobs[np.arange(len(window) - 1), window[1:]]


def main():
    model, top1, context_len = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    rows = [line.split("\t") for line in top1.read_text().splitlines()]
    starts = [i for i, row in enumerate(rows) if row[1] == "-"] + [len(rows)]
    options = {"n_ctx": context_len, "n_batch": 256, "logits_all": True, "verbose": False}
    llama, flash = Llama(model, **options), Llama(model, flash_attn=True, **options)
    agree, with_itself, ours, theirs, predicted = 0, 0, 0.0, 0.0, 0
    for start, end in zip(starts, starts[1:]):
        window = rows[start:end]
        if len(window) < 2:
            continue
        ids, logprobs = score(llama, [int(row[0]) for row in window])
        with_itself += (score(flash, [int(row[0]) for row in window])[0] == ids).sum()
        agree += sum(int(row[1]) == id for row, id in zip(window[1:], ids))
        ours += sum(float(row[2]) for row in window[1:])
        theirs += logprobs.sum()
        predicted += len(window) - 1
    agreement, with_itself = agree / predicted, with_itself / predicted
    perplexity, reference = math.exp(-ours / predicted), math.exp(-theirs / predicted)
    difference = perplexity / reference - 1
    good = agreement >= with_itself - AGREEMENT_MARGIN
    good = good and abs(difference) <= PERPLEXITY_DIFFERENCE_MAX
    print(
        f"{Path(model).name}: {len(rows)} tokens, {predicted} predicted, "
        f"top-1 agreement {agreement:.2%} (llama.cpp with itself {with_itself:.2%}), "
        f"perplexity {perplexity:.4f} "
        f"(llama.cpp {reference:.4f}, {difference:+.3%}): {'ok' if good else 'NOT GOOD ENOUGH'}"
    )
    sys.exit(0 if good else 1)


main()
