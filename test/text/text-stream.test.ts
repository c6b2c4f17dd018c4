// From ids back to text, at once and piece by piece.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BpeTrainer, canonicalize, TextStream, TextTokenizer } from "../../src/text/index.ts";
import { goldenPath } from "../goldens.ts";

const gemma = TextTokenizer.fromJson(JSON.parse(readFileSync(goldenPath("tiny/tokenizer.json"), "utf8")), {
  vocabSize: 512,
});
const trainer = new BpeTrainer({ vocabSize: 300 });
for (let i = 0; i < 3; i++) trainer.add("a photo of a red guitar, ein Käfer und 猫 und 🎸");
const ours = TextTokenizer.fromJson(trainer.train(), { vocabSize: 300 });

describe("the text of ids", () => {
  test("is the cleaned text that they were made of", () => {
    expect(gemma.textOf(gemma.idsOf("A photo of a Cat!"))).toBe("a photo of a cat");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 30 }), (text) => {
        expect(ours.textOf(ours.idsOf(text))).toBe(canonicalize(text));
      }),
    );
  });

  test("has no special tokens, and nothing of ids that there are not", () => {
    const ids = ours.idsOf("red");
    expect(ours.textOf([...ids, ours.eosId, ours.padId, 9999, -1])).toBe("red");
    expect(ours.textOf([])).toBe("");
    expect(ours.textOf(Int32Array.from(ids))).toBe("red");
  });

  test("shows what of a character is missing", () => {
    // A space, then the first of three bytes.
    expect(ours.textOf(ours.idsOf("ﷺ").slice(0, 2))).toBe("\uFFFD");
  });
});

test("a stream of ids gives pieces that are the text when joined, with no character in parts", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 30 }), fc.constantFrom(ours, gemma), (text, tokenizer) => {
      const ids = tokenizer.idsOf(text);
      const stream = new TextStream(tokenizer);
      const pieces = ids.map((id) => stream.push(id));
      for (const piece of pieces) expect(piece).not.toMatch(/\uFFFD$/u);
      expect([...pieces, stream.end()].join("")).toBe(tokenizer.textOf(ids));
    }),
  );
});
