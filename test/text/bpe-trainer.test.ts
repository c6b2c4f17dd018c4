// A text tokenizer of one's own: what it learns, and that its file is read as the trained vocabularies of others are.
import { Tokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { type BpeTokenizerFile, BpeTrainer, MIN_VOCAB_SIZE } from "../../src/text/bpe-trainer.ts";
import { canonicalize } from "../../src/text/canonicalize.ts";
import { TextTokenizer } from "../../src/text/text-tokenizer.ts";

function train(texts: Iterable<string>, vocabSize = 400, minFrequency = 2): BpeTokenizerFile {
  const trainer = new BpeTrainer({ vocabSize, minFrequency });
  for (const text of texts) trainer.add(text);
  return trainer.train();
}

const CAPTIONS = [
  "A red cat",
  "a black cat on a car",
  "Two cats, one car!",
  "the catalogue of cars",
  "snow_flake & snowman",
  "a scarf in the snow",
  "кошка и снег",
  "кошка на снегу",
];
const file = train(CAPTIONS);
const client = new Tokenizer(file, {});

describe("merges", () => {
  test("join the most frequent neighbours first, the smaller ids among equals", () => {
    // "ab" comes five times; then "x ab" and "Ġ x" three times, the letter having the smaller id; then what comes twice.
    const { merges } = train(["abcd abcd xab xab bc xab"], 1000).model;
    expect(merges).toEqual(["a b", "x ab", "Ġ xab", "c d", "Ġ ab", "Ġab cd"]);
  });
  test("end at the size of the vocabulary", () => {
    const { model } = train(CAPTIONS, MIN_VOCAB_SIZE + 5);
    expect(model.merges).toHaveLength(5);
    expect(Object.keys(model.vocab)).toHaveLength(MIN_VOCAB_SIZE + 5);
  });
  test("end where pairs are rarer than asked", () => {
    expect(train(["aab", "ab"], 300, 3).model.merges).toEqual([]);
    expect(train(["aab", "ab"], 300, 2).model.merges).toEqual(["a b"]);
  });
  test("count a text as often as it is said to come", () => {
    const trainer = new BpeTrainer({ vocabSize: 300, minFrequency: 7 });
    trainer.add("ox", 7);
    trainer.add("ax", 6);
    expect(trainer.train().model.merges).toEqual(["o x", "Ġ ox"]);
  });
  test("never cross words", () => {
    const tokens = Object.keys(file.model.vocab).filter((token) => token.lastIndexOf("Ġ") > 0);
    expect(tokens).toEqual([]);
  });
  test("do not depend on the order of the texts", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(CAPTIONS, { minLength: CAPTIONS.length }), (texts) => {
        expect(train(texts)).toEqual(file);
      }),
      { numRuns: 20 },
    );
  });
  test("are those of counting anew before each", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 12 }), (words) => {
        expect(train(words, 290).model.merges).toEqual(mergesByCountingAnew(words, 290));
      }),
      { numRuns: 300 },
    );
  });
});

/** The plain way: count all pairs, join the first, begin again. */
function mergesByCountingAnew(texts: readonly string[], vocabSize: number): string[] {
  const ids = new Map(Object.entries(train(texts, MIN_VOCAB_SIZE).model.vocab));
  let words = texts.map((text) => Array.from(`Ġ${text}`));
  const merges: string[] = [];
  while (ids.size < vocabSize) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const idsOf = (pair: string) => pair.split(" ").map((token) => ids.get(token)!) as [number, number];
    const best = [...counts].sort(([a, n], [b, m]) => {
      const [[a0, a1], [b0, b1]] = [idsOf(a), idsOf(b)];
      return m - n || a0 - b0 || a1 - b1;
    })[0];
    if (best === undefined || best[1] < 2) break;
    const [left, right] = best[0].split(" ") as [string, string];
    if (!ids.has(left + right)) ids.set(left + right, ids.size);
    if (!merges.includes(best[0])) merges.push(best[0]);
    words = words.map((word) => {
      const joined: string[] = [];
      for (let i = 0; i < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) joined.push(word[i]! + word[++i]!);
        else joined.push(word[i]!);
      }
      return joined;
    });
  }
  return merges;
}

describe("the file", () => {
  const tokenizer = TextTokenizer.fromJson(file, { vocabSize: 400 });
  const rowOf = (text: string, contextLength: number) => Array.from(tokenizer.encode([text], { contextLength }).data);

  test("has SigLIP 2's pad and eos, and ids without gaps", () => {
    expect([tokenizer.padId, tokenizer.eosId]).toEqual([0, 1]);
    const ids = Object.values(file.model.vocab);
    expect(ids.toSorted((a, b) => a - b)).toEqual(ids.map((_, id) => id));
  });
  test("gives the ids of the words, one eos, and padding", () => {
    const { vocab } = file.model;
    expect(rowOf("A cat!", 6)).toEqual([vocab.Ġa, vocab.Ġcat, 1, 0, 0, 0]);
    expect(rowOf("cat ".repeat(9), 4)).toEqual([vocab.Ġcat, vocab.Ġcat, vocab.Ġcat, 1]);
  });
  test("gives other clients the same ids, cleaned or not", () => {
    for (const text of ["A RED  cat, on_a car!", "ten\tcars\nin snow.", "Кошка на снегу"]) {
      const ids = client.encode(text).ids;
      expect(rowOf(text, ids.length)).toEqual(ids);
      expect(client.encode(canonicalize(text)).ids).toEqual(ids);
    }
  });
  test("has ids for any text, from which the cleaned text comes back", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        const clean = canonicalize(text);
        const ids = client.encode(clean, { add_special_tokens: false }).ids;
        expect(ids.every((id: number) => Number.isInteger(id) && id > 1 && id < 400)).toBe(true);
        const decoded = ids.length === 0 ? "" : client.decode(ids, { clean_up_tokenization_spaces: false });
        expect(decoded).toBe(clean);
      }),
      { numRuns: 500 },
    );
  });
  test("survives being written and read", () => {
    const again = TextTokenizer.fromJson(JSON.parse(JSON.stringify(file)), { vocabSize: 400 });
    const options = { contextLength: 32 };
    expect(again.encode(CAPTIONS, options)).toEqual(tokenizer.encode(CAPTIONS, options));
  });
  test("is refused by a model with fewer rows", () => {
    const vocabSize = Object.keys(file.model.vocab).length;
    expect(() => TextTokenizer.fromJson(file, { vocabSize })).not.toThrow();
    expect(() => TextTokenizer.fromJson(file, { vocabSize: vocabSize - 1 })).toThrow(
      expect.objectContaining({ code: "TOKENIZER_MISMATCH" }),
    );
  });
});

describe("a corpus", () => {
  test.each([[[]], [[""]], [[" .,!? "]]])("of %j is refused", (texts) => {
    expect(() => train(texts)).toThrow(expect.objectContaining({ code: "DATA_EMPTY" }));
  });
  test("of one character gives the bytes and no more", () => {
    const { vocab, merges } = train(["x"], 4096).model;
    expect(Object.keys(vocab)).toHaveLength(MIN_VOCAB_SIZE);
    expect(merges).toEqual([]);
  });
  test("that is small ends long before a huge vocabulary is full", () => {
    const { vocab } = train(CAPTIONS, 1_000_000, 1).model;
    expect(Object.keys(vocab).length).toBeLessThan(MIN_VOCAB_SIZE + 100);
  });
  test("of one endless word is learned from its beginning", () => {
    const { merges } = train(["a".repeat(1_000_000)], 4096).model;
    expect(merges.slice(0, 3)).toEqual(["a a", "aa aa", "aaaa aaaa"]);
    expect(merges.length).toBeLessThan(40);
  });
  test("of words like the keys of objects is one of words", () => {
    const { vocab } = train(["constructor toString valueOf hasOwnProperty"], 400, 1).model;
    expect(vocab.Ġconstructor).toBeTypeOf("number");
  });
});

describe("settings", () => {
  test.each([
    { vocabSize: MIN_VOCAB_SIZE - 1 },
    { vocabSize: 1_000_001 },
    { vocabSize: Number.NaN },
    { vocabSize: 4096.5 },
    { vocabSize: 4096, minFrequency: 0 },
  ])("%j are refused", (options) => {
    expect(() => new BpeTrainer(options)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
  });
  test.each([0, -1, 0.5, Number.NaN])("a count of %d is refused", (count) => {
    expect(() => new BpeTrainer({ vocabSize: 300 }).add("x", count)).toThrow(ToklipError);
  });
});
