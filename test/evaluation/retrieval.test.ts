// The retrieval evaluation on a table of features.
import { afterAll, describe, expect, test } from "vitest";
import { captionedPictures, openCaptionSet } from "../../src/evaluation/caption-set.ts";
import type { FeatureRows } from "../../src/evaluation/index.ts";
import { compileInnerProducts } from "../../src/evaluation/pair-products.ts";
import { rankCaptions, recallAt } from "../../src/evaluation/recall-ranks.ts";
import { evaluateRetrieval } from "../../src/evaluation/retrieval.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { MemoryDataFiles } from "../data/memory-data-files.ts";
import { type FeatureTable, fakeSession } from "./fake-session.ts";
import { memoryRows, randomRows } from "./memory-rows.ts";

const backend = createOrtBackend({ threads: 2 });
afterAll(() => backend.dispose());

const LINES = [
  { image: "cat.png", captions: ["cat", "animal with whiskers"], groups: ["label", "tags"] },
  { image: "dog.png", captions: ["dog", "animal that barks"], groups: ["label", "tags"] },
  { image: "damaged.png", captions: ["nothing"], groups: ["label"] },
];
const TABLE: FeatureTable = {
  "cat.png": [1, 0, 0.1, 0],
  "dog.png": [0, 1, 0.1, 0],
  cat: [2, 0.1, 0, 0],
  dog: [0.1, 3, 0, 0],
  "animal with whiskers": [0.2, 0.1, 1, 0],
  "animal that barks": [0.3, 0.2, 1, 0], // nearer to the cat
};

async function evaluate(referenceCounting = false) {
  const files = new MemoryDataFiles({ "c.jsonl": LINES.map((line) => JSON.stringify(line)).join("\n") });
  const captions = await openCaptionSet(files, "c.jsonl");
  const dataset = captionedPictures(files, captions, ".");
  return evaluateRetrieval(fakeSession(TABLE, backend), { captions, dataset, referenceCounting });
}

describe("retrieval of a small set", () => {
  test("gives recall both ways, nulls where there are fewer candidates than k, and what was left out", async () => {
    const { metrics, data } = await evaluate();
    expect(Object.fromEntries(metrics.map(({ name, value, count }) => [name, [value, count]]))).toEqual({
      "image_to_text@1": [1, 2],
      "image_to_text@5": [null, 2],
      "image_to_text@10": [null, 2],
      image_to_text_median_rank: [1, 2],
      "text_to_image@1": [0.75, 4],
      "text_to_image@5": [null, 4],
      "text_to_image@10": [null, 4],
      text_to_image_median_rank: [1, 4],
    });
    expect(data.map(({ used, skipped }) => [used, skipped])).toEqual([
      [2, [{ reason: "undecodable", count: 1, example: "damaged.png" }]],
      [4, [{ reason: "caption of a picture that was left out", count: 1, example: "damaged.png" }]],
    ]);
  });

  test("scores each kind of caption apart", async () => {
    const [table] = (await evaluate()).tables;
    const recall = table!.columns.indexOf("R@1 %");
    expect(table!.rows.map((row) => [row[0], row[1], row[2], row[3], row[recall]])).toEqual([
      ["label", "image_to_text", 2, 2, 100],
      ["label", "text_to_image", 2, 2, 100],
      ["tags", "image_to_text", 2, 2, 50],
      ["tags", "text_to_image", 2, 2, 50],
    ]);
  });

  test("adds the reference's count when it is asked for", async () => {
    const { metrics } = await evaluate(true);
    const counted = metrics.find(({ name }) => name === "text_to_image@1_reference");
    expect(counted).toMatchObject({ value: 1, count: 4 }); // three hits of four, and the first caption's twice
  });

  test("shows what was found right and wrong", async () => {
    const { galleries } = await evaluate();
    expect(galleries.map(({ pictures }) => pictures.map(({ caption, verdict }) => [caption, verdict]))).toEqual([
      [
        ["cat", "right"],
        ["dog", "right"],
      ],
      [
        ["cat", "right"],
        ["animal with whiskers", "right"],
        ["dog", "right"],
        ["animal that barks (meant: dog.png)", "wrong"],
      ],
    ]);
  });
});

describe("on the compute engine", () => {
  /** Rows of which every third is the same, in other blocks and places. */
  const repeated = (count: number, seed: number): FeatureRows => {
    const rows = randomRows(count, 33, seed);
    return memoryRows(
      rows.map((row, i) => (i % 3 === 0 ? rows[0]! : row)),
      { blockSize: 100 },
    );
  };

  test("equal features tie exactly wherever they stand", async () => {
    const [pictures, texts] = [repeated(1501, 1), repeated(5003, 2)];
    const products = await compileInnerProducts(backend, 33);
    const captions = {
      pictures: Int32Array.from({ length: 5003 }, (_, c) => c % 1501),
      texts: Int32Array.from({ length: 5003 }, (_, c) => c),
      groups: new Int32Array(5003).fill(-1),
      groupNames: [],
    };
    const { textToImage } = await rankCaptions(pictures, texts, captions, { products });
    const same = Math.ceil(1501 / 3);
    const ties = [...textToImage.tied].filter((_, caption) => captions.pictures[caption]! % 3 === 0);
    expect(new Set(ties)).toEqual(new Set([same - 1]));
    expect(recallAt(textToImage, 10, 1501).value).toBeGreaterThan(0);
  });
});
