"""Compares the text tokenizer that we learn with the one that Hugging Face's `tokenizers` learns from the same texts.

Needs `tokenizers` for Python (and `transformers`, if it is there, to read the file too), ftfy as `canonicalize.py` does,
and a build (`npm run build`). Texts are the lines of files, or made up; both sides get them as we clean them, which
`canonicalize.py` holds against ftfy.

    python interop/tokenizer_training.py [captions.txt ...] [--vocab-size 4096] [--dist dist]

Vocabulary and merges must be equal, and so must the ids that both libraries read out of our file.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import canonicalize
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

SPECIAL = ["<pad>", "<eos>"]
LENGTH = 64


def reference(clean, vocab_size):
    """What the trainer of `tokenizers`, set as ours is, learns of cleaned texts."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(" ", behavior="removed")
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of_words])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(clean, trainer)
    return json.loads(tokenizer.to_str())


def ours(texts, vocab_size, dist):
    """Our file, the texts as we clean them, and the ids that we make of them with the file."""
    module = (pathlib.Path(dist) / "text/index.js").resolve().as_uri()
    script = f"""
import {{ BpeTrainer, TextTokenizer, canonicalize }} from {json.dumps(module)};
let input = ""; for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
const texts = JSON.parse(input);
const clean = texts.map((text) => canonicalize(text));
const trainer = new BpeTrainer({{ vocabSize: {vocab_size} }});
const begin = performance.now();
for (const text of texts) trainer.add(text);
const counted = performance.now();
const file = trainer.train();
const end = performance.now();
const ids = TextTokenizer.fromJson(file, {{ vocabSize: {vocab_size} }}).encode(texts, {{ contextLength: {LENGTH} }});
const seconds = {{ clean: (counted - begin) / 1000, learn: (end - counted) / 1000 }};
process.stdout.write(JSON.stringify({{ file, clean, seconds, words: trainer.wordCount, ids: Array.from(ids.data) }}));"""
    command = ["node", "--input-type=module", "-e", script]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, encoding="utf8")
    return json.loads(run.stdout)


def made_up(count):
    rng = random.Random(1)
    kinds = [canonicalize.captions, canonicalize.sentences, canonicalize.latin_text]
    return [rng.choice(kinds)(rng) for _ in range(count)]


def first_difference(expected, came):
    pairs = enumerate(zip(expected, came))
    return next((f"the first at {at}: {a!r} there, {b!r} here" for at, (a, b) in pairs if a != b), "in length only")


def sticky(tokenizer, clean):
    ids = tokenizer.encode(clean).ids  # the file's template adds the eos
    ids = ids if len(ids) <= LENGTH else [*ids[: LENGTH - 1], 1]
    return ids + [0] * (LENGTH - len(ids))


def check(name, problem):
    print(f"{name}: {problem or 'equal'}")
    return problem is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--dist", default="dist")
    options = parser.parse_args()
    texts = [line for file in options.files for line in open(file, encoding="utf8").read().split("\n")] or made_up(5000)

    came = ours(texts, options.vocab_size, options.dist)
    file, seconds = came["file"], came["seconds"]
    print(f"{len(texts)} texts, {came['words']} words: cleaned in {seconds['clean']:.2f} s, learned in {seconds['learn']:.2f} s")
    begin = time.perf_counter()
    expected = reference(came["clean"], options.vocab_size)["model"]
    print(f"there: {time.perf_counter() - begin:.2f} s")

    failed = False
    merges = [" ".join(merge) for merge in expected["merges"]]
    differ = None if merges == file["model"]["merges"] else first_difference(merges, file["model"]["merges"])
    failed |= check(f"{len(merges)} merges", differ)
    failed |= check(f"{len(expected['vocab'])} tokens", None if expected["vocab"] == file["model"]["vocab"] else "differ")

    sample = came["clean"][:2000]
    rows = [came["ids"][start : start + LENGTH] for start in range(0, LENGTH * len(sample), LENGTH)]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(file))
    wrong = [text for text, row in zip(sample, rows) if sticky(tokenizer, text) != row]
    failed |= check(f"ids of {len(sample)} texts in tokenizers", f"{len(wrong)} differ, as {wrong[0]!a}" if wrong else None)
    lost = [text for text in sample if tokenizer.decode(tokenizer.encode(text).ids) != text]
    failed |= check(f"{len(sample)} texts read back", f"{len(lost)} differ, as {lost[0]!a}" if lost else None)
    failed |= transformers_differ(file, sample, rows)
    return 1 if failed else 0


def transformers_differ(file, sample, rows):
    try:
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        print("transformers is not here")
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf8") as written:
        json.dump(file, written)
        written.flush()
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=written.name, pad_token="<pad>", eos_token="<eos>")
    got = tokenizer(sample, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    wrong = [text for text, a, b in zip(sample, got, rows) if a != b]
    return check(f"ids of {len(sample)} texts in transformers", f"{len(wrong)} differ, as {wrong[0]!a}" if wrong else None)


if __name__ == "__main__":
    sys.exit(main())
