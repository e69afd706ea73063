"""Makes the texts on which tokenizers are compared: the same ones every time, about a megabyte of
English, Chinese, other scripts, code, numbers, emoji and edge cases. A module of
compare-tokenizers and make-golden-chat."""

import random
import unicodedata

ENGLISH = """the of and to in is that it was for on are as with his they at be this from have or
by one had not but what all were when we there can an your which their said if do will each about
how up out them then she many some so these would other into has more her two like him see time
could no make than first been its who now people my made over did down only way find use may water
long little very after words called just where most know reasoning tokenizer inference Therefore,
However, I'm you're he's don't they've we'll I'd CAN'T IT'S naïve café résumé Zürich""".split()
CHINESE = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严龙飞"
OTHER = """Привет мир Здравствуйте как дела こんにちは 世界 カタカナ ひらがな 日本語テスト 안녕하세요 세계
한국어 مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก Γειά σου Κόσμε Tiếng Việt đặc biệt
İstanbul ığüşöç Łódź žluťoučký kůň ℝ ∀x∈ℝ ∑ ∫ √ ≤ ≠ → ⇒ ½ ² Ⅷ ① ٣ ५ ꙮ ﷽ ｆｕｌｌｗｉｄｔｈ＜｜＞""".split()
EMOJI = ["😀", "🦀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇨🇳", "👍🏽", "❤️", "☃", "🧑🏿‍💻", "✅", "🤖", "\U0001fae0"]
CODE = [
    "fn main() {\n    let x: Vec<u32> = (0..10).map(|i| i * 2).collect();\n\tprintln!(\"{x:?}\");\n}\n",
    "def f(a, *, b=None):\n    \"\"\"Doc.\"\"\"\n    return {k: v for k, v in zip(a, b or [])}  # ok\n",
    "#include <stdio.h>\nint main(void){for(int i=0;i<3;++i)printf(\"%d\\n\",i);return 0;}\r\n",
    "SELECT a.id, COUNT(*) FROM t AS a WHERE a.x >= 10 AND b LIKE '%z%' GROUP BY 1;\n",
    "<div class=\"x-1\" id='y'>&amp; &lt;b&gt;</div>\n<!-- c -->\n",
    "{\"key\": [1, 2.5e-3, true, null], \"nested\": {\"a\\u00e9\": \"\\n\"}}\n",
    "$ curl -sSL https://example.com/a?b=c&d=%20e | grep -E '^[A-Z]{2,}' > /dev/null 2>&1\n",
    "\\begin{align}\n  x &= \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a} \\\\\n\\end{align}\n",
]
EDGES = [
    " ", "  ", "   x", "\n", "\n\n", " \n \n", "\t\t", "\r\n\r\n", "\u00a0", "\u3000", "a\u00a0b",
    "\u2028", "\u200b", "\ufeff", "\x00", "\x07", "\x1f", "\x7f", "\x85", "'", "''s", "'S'T", "’s",
    "...", "!!!???", "-----", "=====\n=====", "a" * 300, "ab" * 200, " " * 130, "\n" * 40,
    "12345678901234567890", "1,234,567.89", "0x1F600", "3.14159", "１２３", "²³¹", "v1.2.3-rc4",
    "[INST]", "<s>", "camelCaseWordsHTTPServer", "snake_case_words", "a_b-c.d/e\\f",
    "\U0010fffd", "\ud7ff", "\u0378", "ﬁ", "ǆ", "ß", "İ", "ı", "'ſ", "x\u0301\u0302\u0303", "\u0e33\u0e48",
]
CONTROL = [
    "<think>", "</think>", "<｜User｜>", "<｜begin▁of▁sentence｜>", "<|im_start|>system\n", "<|endoftext|>",
    "<tool_call>", "</tool_call>", "<repo_name>", "<|eot_id|>", "<|EOT|>",
]


def texts(seed=20250120, total_bytes=1_200_000):
    """Composed (NFC) texts of up to a few kilobytes: whether text is composed first is a setting
    that GGUF files do not carry, so it is no part of the comparison."""
    pick = random.Random(seed)
    made = [f"{before}{token}{after}" for token in CONTROL for before in ["", "x ", "<"] for after in ["", "x", "\n"]]
    size = sum(len(text.encode()) for text in made)
    makers = [
        lambda: " ".join(pick.choices(ENGLISH, k=pick.randrange(1, 60))) + pick.choice([".", "?\n", "", " "]),
        lambda: "".join(pick.choices(CHINESE, k=pick.randrange(1, 80))) + pick.choice(["。", "！", "，", "", "\n"]),
        lambda: pick.choice([" ", "", "\n"]).join(pick.choices(OTHER, k=pick.randrange(1, 20))),
        lambda: pick.choice(["", " "]).join(pick.choices(EMOJI, k=pick.randrange(1, 8))),
        lambda: "".join(pick.choices(CODE, k=pick.randrange(1, 4))),
        lambda: pick.choice(["", " ", "x"]).join(pick.choices(EDGES, k=pick.randrange(1, 10))),
        lambda: str(pick.randrange(10 ** pick.randrange(1, 25))),
        lambda: "".join(chr(pick.choice([pick.randrange(32, 0x3000), pick.randrange(0xE000, 0x11000),
                                         pick.randrange(0x1F000, 0x20000)])) for _ in range(pick.randrange(1, 30))),
    ]
    weights = [6, 5, 3, 1, 3, 3, 1, 1]
    while size < total_bytes:
        parts = [maker() for maker in pick.choices(makers, weights, k=pick.randrange(1, 12))]
        text = unicodedata.normalize("NFC", pick.choice(["", " ", "\n", "\n\n"]).join(parts))
        made.append(text)
        size += len(text.encode())
    return made
