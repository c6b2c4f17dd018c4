// Text ids: the layout SigLIP 2 was trained with, whatever the text.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TextTokenizer } from "../../src/text/text-tokenizer.ts";
import { goldenPath } from "../goldens.ts";

const json = JSON.parse(readFileSync(goldenPath("tiny/tokenizer.json"), "utf8"));
const tokenizer = TextTokenizer.fromJson(json, { vocabSize: 512 });
const rowOf = (text: string, contextLength = 16) => Array.from(tokenizer.encode([text], { contextLength }).data);

describe("text ids", () => {
  test("are the words' tokens, one eos, and padding", () => {
    const row = rowOf("A photo of a Cat!");
    const { vocab } = json.model;
    expect(row.slice(0, 6)).toEqual([...["▁a", "▁photo", "▁of", "▁a", "▁cat"].map((word) => vocab[word]), 1]);
    expect(row.slice(6)).toEqual(new Array(10).fill(0));
  });
  test("end with eos when a text is cut", () => {
    const row = rowOf("tree ".repeat(100));
    expect(row).toHaveLength(16);
    expect(row[15]).toBe(1);
    expect(row[14]).not.toBe(1);
  });
  test("of an empty text are eos and padding", () => {
    expect(rowOf(" .,! ", 4)).toEqual([1, 0, 0, 0]);
  });
  test("never name a special token that the text spells", () => {
    const row = rowOf("<bos><pad> <eos>", 16);
    expect(row.indexOf(1)).toBe(row.lastIndexOf(1));
    expect(row).not.toContain(2);
  });
  test("have the length asked for, lie in the vocabulary and hold one eos, for any text", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 60 }),
        fc.integer({ min: 1, max: 40 }),
        (text, contextLength) => {
          const row = rowOf(text, contextLength);
          expect(row).toHaveLength(contextLength);
          expect(row.every((id) => id >= 0 && id < 512)).toBe(true);
          expect(row.filter((id) => id === 1)).toHaveLength(1);
        },
      ),
    );
  });
});

describe("a tokenizer file", () => {
  test("with more ids than the model has rows is refused", () => {
    expect(() => TextTokenizer.fromJson(json, { vocabSize: 500 })).toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: tokenizer: it has id 511, the model's vocabulary ends at 499 [TOKENIZER_MISMATCH]]`,
    );
  });
  test.each([null, 3, [], {}, { model: null }, { model: { type: "BPE" } }, { model: { type: "Nonsense", vocab: {} } }])(
    "that is %j is refused",
    (bad) => {
      expect(() => TextTokenizer.fromJson(bad, { vocabSize: 512 })).toThrow(
        expect.objectContaining({ code: "TOKENIZER_INVALID" }),
      );
    },
  );
  test("without an end-of-text token is refused", () => {
    const { "<eos>": _, ...vocab } = json.model.vocab;
    const without = { ...json, added_tokens: [], model: { ...json.model, vocab } };
    expect(() => TextTokenizer.fromJson(without, { vocabSize: 512 })).toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: tokenizer: it has none of the end-of-text tokens <eos> </s> <|endoftext|> [SEP] [TOKENIZER_INVALID]]`,
    );
  });
});
