"""Compares our text cleaning with the Python libraries the reference uses.

Needs ftfy 6.3.1 and a build (`npm run build`). Prints the agreement of each kind of text and every departure;
with --fixture FILE it also writes a small set of pairs for the tests.

    python interop/canonicalize.py [--dist dist] [--count 400] [--fixture test/text/fixtures/canonicalize.json]
"""
import argparse
import html
import json
import pathlib
import random
import re
import string
import subprocess
from html.entities import html5

import ftfy
import ftfy.bad_codecs  # registers the "sloppy" encodings

SENTENCES = [
    "a café in the old town",
    "Two naïve señoritas sing «Olé!» at a fête",
    "the Ångström unit — 5 × 10⁻¹⁰ m ± ½",
    "“It’s 20 °C,” she said… and left",
    "price: €100 or £85 (¥12000)",
    "Straße über München, Übergröße für Öfen",
    "Привет, мир! Это фотография кошки",
    "Γειά σου Κόσμε, μια φωτογραφία",
    "Zażółć gęślą jaźń, český kůň, őrült tükör",
    "İstanbul’da güneşli bir gün, ıssız ağaç",
    "Ēģipte, žvėris, ąžuolas, šalčiai",
    "你好,世界。一张猫的照片",
    "犬の写真です。カタカナとひらがな",
    "고양이 사진 한 장",
    "صورة قطة على السرير",
    "תמונה של כלב",
    "a dog 🐶 and a cat 🐱 at the beach 🏖️ 👩‍👩‍👧",
    "à la carte — voilà là-bas, vis-à-vis",
    "Ñandú, pingüino, ¿qué? ¡sí!",
    "© 2019 Company™ ® all rights reserved § 5",
    "ΟΔΟΣ ΣΊΣΥΦΟΣ, ὈΔΥΣΣΕΎΣ",
    "ﬁne ﬂowers, oﬀer, ĳsland",
    "ＦＵＬＬ ｗｉｄｔｈ １２３ ﾊﾝｶｸ ｶﾞｷﾞ",
    "Việt Nam: một con mèo đang ngủ",
    "e\u0301 a\u0308 o\u0302 decomposed",
]
ENCODINGS = ["latin-1", "windows-1252", "windows-1251", "windows-1250", "windows-1253", "windows-1254", "windows-1257"]
SUBJECTS = "cat|dog|red car|Eiffel Tower|woman in a blue_dress|man's hat|bowl of soup|T-shirt|old-fashioned phone|rock & roll band".split("|")
SCENES = "on the beach|at night|, 4k, high-res|(close-up)|in the rain...|#sunset @home|1/2 price!|~ 50% off|- IMG_2034.JPG|[HD]".split("|")


def captions(rng):
    article = rng.choice(["a ", "A photo of the ", "Photograph: ", "two ", "THE ", ""])
    return article + rng.choice(SUBJECTS) + " " + rng.choice(SCENES)


def sentences(rng):
    return " ".join(rng.choice(SENTENCES) for _ in range(rng.randint(1, 2)))


def mojibake(rng):
    text = rng.choice(SENTENCES)
    for _ in range(rng.choice([1, 1, 1, 2])):
        encoding = rng.choice(ENCODINGS)
        if encoding != "latin-1":
            encoding = "sloppy-" + encoding
        text = text.encode().decode(encoding)
    return text


def other_mojibake(rng):
    text = rng.choice(SENTENCES)
    return text.encode().decode(rng.choice(["iso8859-2", "mac-roman", "cp437"]), "replace")


def mixed_mojibake(rng):
    """Sound words around misread ones, spaces for no-break spaces, lost bytes."""
    text = rng.choice(SENTENCES) + " " + mojibake(rng)
    damage = rng.random()
    if damage < 0.25:
        return text.replace("\xa0", " ")
    if damage < 0.4:
        return re.sub("[\x80-\x9f]", "\ufffd", text)
    return text


def entities(rng):
    names = list(html5)
    pieces = []
    for _ in range(rng.randint(1, 6)):
        form = rng.random()
        if form < 0.4:
            pieces.append("&" + rng.choice(names))
        elif form < 0.6:
            pieces.append("&" + rng.choice(["amp;", "amp;amp;", "lt;", "AMP", "EACUTE;", "quot;", "#39;", "nbsp;", "amp;#233;"]))
        elif form < 0.8:
            number = rng.choice([rng.randint(0, 300), rng.randint(0, 0x1FFFF), 0xD800, 0x110000, 0x85])
            pieces.append(rng.choice([f"&#{number};", f"&#x{number:x};", f"&#{number} ", f"&#X{number:X}z"]))
        else:
            pieces.append(rng.choice(["<b>", " & ", "&;", "&#;", "&#x;", "word", "\n", "é"]))
    return " ".join(pieces) if rng.random() < 0.5 else "".join(pieces)


def controls(rng):
    pieces = ["\x1b[31m", "\x1b[0m", "\r\n", "\r", "\u2028", "\x00", "\x07", "\ufeff", "\u200b", "\u2060", "\x85", "\x92",
              "\xa0", "\u3000", "\t", "\x1c", "\u180e", "word", "Two", "_", "‘q’", "‚low„", "ʼn", "ŉ", "ﬅ", "İ", "ẞ", "ΑΣ", "\ufffd"]
    return "".join(rng.choice(pieces) for _ in range(rng.randint(1, 10)))


def pairs(rng):
    """Two or three characters of the upper halves, where false alarms would show."""
    text = ""
    for _ in range(rng.randint(1, 3)):
        byte = bytes([rng.randint(128, 255)])
        text += byte.decode("sloppy-" + rng.choice(ENCODINGS[1:])) + rng.choice(["", "", "a", " ", "E"])
    return rng.choice(["word ", "a", ""]) + text


def latin_text(rng):
    """Plausible accented text with signs close by."""
    letters = "aeiouéèàçñüößøåÉÀÇÑÜÖŒœŠžłńőșțığ"
    signs = "  ,.!?…’”“«»—–-'€£°®™§·¿¡"
    return "".join(rng.choice(letters) + rng.choice(["", "", "", rng.choice(signs)]) for _ in range(rng.randint(3, 20)))


KINDS = [captions, sentences, mojibake, other_mojibake, mixed_mojibake, entities, controls, pairs, latin_text]


def reference(text):
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\s+", " ", text.lower()).strip()


def ours(texts, dist):
    module = (pathlib.Path(dist) / "text/canonicalize.js").resolve().as_uri()
    script = f"""
import {{ canonicalize }} from {json.dumps(module)};
let input = ""; for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
process.stdout.write(JSON.stringify(JSON.parse(input).map(canonicalize)));"""
    command = ["node", "--input-type=module", "-e", script]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, encoding="utf8")
    return json.loads(run.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dist", default="dist")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=4)
    parser.add_argument("--fixture")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    agreed, departures = [], []
    characters = [f"a{chr(point)}B" for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for name, texts in [(kind.__name__, [kind(rng) for _ in range(options.count)]) for kind in KINDS] + [("every character", characters)]:
        expected = [reference(text) for text in texts]
        got = ours(texts, options.dist)
        wrong = [triple for triple in zip(texts, expected, got) if triple[1] != triple[2]]
        print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} agree")
        for text, wanted, came in wrong[: options.show]:
            print(f"    {text!a}\n      expected {wanted!a}\n      came     {came!a}")
        if name != "every character":
            good = [(text, wanted) for text, wanted, came in zip(texts, expected, got) if wanted == came]
            agreed += good[:32]
            departures += [(text, wanted, came) for text, wanted, came in wrong[:6]]
    if options.fixture:
        fixture = {
            "about": "made by interop/canonicalize.py with ftfy 6.3.1: agreed [text, result]; departures [text, Python's, ours]",
            "agreed": agreed,
            "departures": departures,
        }
        pathlib.Path(options.fixture).write_text(json.dumps(fixture, indent=0, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
