// Caption files: the three layouts, and what is malformed in them.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { type CaptionSet, captionedPictures, openCaptionSet } from "../../src/evaluation/caption-set.ts";
import { MemoryDataFiles } from "../data/memory-data-files.ts";

const open = (name: string, content: unknown, split?: string): Promise<CaptionSet> => {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  return openCaptionSet(new MemoryDataFiles({ [name]: text }), name, { split });
};
const lines = (...values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).join("\n");
const textsOf = ({ pictures }: CaptionSet) =>
  Object.fromEntries(pictures.map(({ image, captions }) => [image, captions.map(({ text }) => text)]));

const KARPATHY = {
  dataset: "coco",
  images: [
    { split: "test", filepath: "val2014", filename: "a.jpg", sentences: [{ raw: "A cat." }, { raw: "One cat" }] },
    { split: "train", filepath: "train2014", filename: "b.jpg", sentences: [{ raw: "A dog." }] },
    { split: "test", filename: "c.jpg", sentences: [{ raw: "A bird.", tokens: ["a", "bird"] }] },
  ],
};

describe("Karpathy's layout", () => {
  test("gives the pictures of the test split, or of another that is asked for", async () => {
    expect(textsOf(await open("coco.json", KARPATHY))).toEqual({
      "val2014/a.jpg": ["A cat.", "One cat"],
      "c.jpg": ["A bird."],
    });
    expect(textsOf(await open("coco.json", KARPATHY, "train"))).toEqual({ "train2014/b.jpg": ["A dog."] });
  });

  test("a split that is not there is an error that names those that are", async () => {
    await expect(open("coco.json", KARPATHY, "val")).rejects.toThrow(
      /split "val"; there are "test" \(2\), "train" \(1\)/,
    );
  });
});

test("reads the flat layout, a caption or a list of them", async () => {
  const set = await open("flat.json", [
    { image: "val2014/a.jpg", caption: ["A cat.", "One cat"] },
    { image: "b.jpg", caption: "A dog." },
  ]);
  expect(textsOf(set)).toEqual({ "val2014/a.jpg": ["A cat.", "One cat"], "b.jpg": ["A dog."] });
  expect(set.skipped).toEqual([]);
});

test("reads JSON lines with the kinds of captions", async () => {
  const set = await open(
    "own.jsonl",
    lines(
      { image: "a.png", captions: ["cat", "animal, pet"], groups: ["label", "tags"] },
      { image: "b.png", captions: ["dog"] },
    ),
  );
  expect(set.pictures).toEqual([
    {
      image: "a.png",
      captions: [
        { text: "cat", group: "label" },
        { text: "animal, pet", group: "tags" },
      ],
    },
    { image: "b.png", captions: [{ text: "dog" }] },
  ]);
});

test("a picture that comes twice is one picture with the captions of both", async () => {
  const set = await open("own.jsonl", lines({ image: "a.png", captions: ["x"] }, { image: "a.png", captions: ["y"] }));
  expect(textsOf(set)).toEqual({ "a.png": ["x", "y"] });
});

test("what is malformed is counted with its first example", async () => {
  const content = [
    lines(
      { image: "a.png", captions: ["fine", "  "] },
      { captions: ["of nothing"] },
      { image: "", captions: ["of none"] },
    ),
    "not json",
    "[1]",
    lines(
      { image: "b.png", captions: [] },
      { image: "c.png", captions: [3] },
      { image: "d.png", captions: ["x", "y"], groups: ["label"] },
      { image: "e.png" },
    ),
  ].join("\n");
  const { pictures, skipped } = await open("own.jsonl", content);
  expect(pictures).toEqual([{ image: "a.png", captions: [{ text: "fine" }] }]);
  expect(skipped).toEqual([
    { reason: "empty caption", count: 1, example: "own.jsonl: entry 1 a.png" },
    { reason: "captions without a picture", count: 2, example: "own.jsonl: entry 2" },
    { reason: "line that is no JSON object", count: 2, example: "own.jsonl: entry 4" },
    { reason: "entry whose captions are not texts", count: 1, example: "own.jsonl: entry 7 c.png" },
    { reason: "entry whose groups are not one text a caption", count: 1, example: "own.jsonl: entry 8 d.png" },
    { reason: "picture without captions", count: 2, example: "b.png" },
  ]);
});

test.each([
  ["no JSON", "x.json", "{", "FILE_CORRUPT"],
  ["another layout", "x.json", '{"pictures": []}', "DATA_INVALID"],
  ["an empty list", "x.json", "[]", "DATA_EMPTY"],
  ["an empty file of lines", "x.jsonl", "", "DATA_EMPTY"],
  ["no caption at all", "x.jsonl", '{"image": "a.png"}', "DATA_EMPTY"],
])("%s is an error", async (_, name, content, code) => {
  await expect(open(name, content)).rejects.toMatchObject({ code });
});

test("anything in a file gives a set or a ToklipError", async () => {
  const near = fc.oneof(fc.json(), fc.string(), fc.constant(JSON.stringify(KARPATHY).slice(0, -7)));
  const entry = fc.record({ image: fc.jsonValue(), captions: fc.jsonValue(), groups: fc.jsonValue() });
  const content = fc.oneof(
    near,
    fc.array(entry).map((list) => JSON.stringify(list)),
    fc.array(near).map((list) => list.join("\n")),
  );
  await fc.assert(
    fc.asyncProperty(content, fc.constantFrom("x.json", "x.jsonl"), async (text, name) => {
      try {
        const { pictures } = await open(name, text);
        expect(pictures.every(({ captions }) => captions.length > 0)).toBe(true);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(ToklipError);
      }
    }),
  );
});

test("pictures are named as the file names them and read below the root", async () => {
  const files = new MemoryDataFiles({
    "captions.jsonl": lines({ image: "a.png", captions: ["x"] }),
    "root/a.png": "bytes",
  });
  const set = await openCaptionSet(files, "captions.jsonl");
  for await (const { sample } of captionedPictures(files, set, "root").read({ seed: 0, shuffle: false, epochs: 1 })) {
    expect(sample?.key).toBe("a.png");
    expect(sample?.captions).toEqual(["x"]);
    expect(new TextDecoder().decode(await sample!.image())).toBe("bytes");
  }
});
