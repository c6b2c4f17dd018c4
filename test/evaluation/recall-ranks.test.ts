// Recall at k: hand-made cases, the reference's numbers, a naive implementation.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import type { InnerProducts } from "../../src/evaluation/pair-products.ts";
import {
  type CaptionIndex,
  medianRank,
  type Ranks,
  rankCaptions,
  recallAt,
  referenceRecallAt,
} from "../../src/evaluation/recall-ranks.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";
import { memoryRows, plainProducts, randomRows } from "./memory-rows.ts";

/** A caption a row: its picture, its text, its group. */
function indexOf(captions: readonly (readonly [picture: number, text: number, group?: number])[]): CaptionIndex {
  const groupNames = [...new Set(captions.map(([, , group]) => group ?? -1).filter((group) => group >= 0))];
  return {
    pictures: Int32Array.from(captions, ([picture]) => picture),
    texts: Int32Array.from(captions, ([, text]) => text),
    groups: Int32Array.from(captions, ([, , group]) => group ?? -1),
    groupNames: groupNames.map((group) => `group-${group}`),
  };
}

/** Products that are a given matrix (pictures, texts) of which the features are row numbers. */
function matrixProducts(scores: Float32Array, texts: number): InnerProducts {
  return async (a, b) => {
    const [m, n, width] = [a.shape[0]!, b.shape[0]!, a.shape[1]!];
    const numberOf = (data: Float32Array, row: number) => Math.round(data[row * width]! / data[row * width + 1]!);
    const out = ndarray("f32", [m, n]);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        const [picture, text] = [numberOf(a.data, i), numberOf(b.data, j)];
        if (picture >= 0 && text >= 0) out.data[i * n + j] = scores[picture * texts + text]!;
      }
    }
    return out;
  };
}
const numbered = (count: number) =>
  memoryRows(
    Array.from({ length: count }, (_, i) => [i, 1]),
    { blockSize: 50 },
  );

function rankMatrix(scores: readonly (readonly number[])[], captions: CaptionIndex) {
  const texts = scores[0]!.length;
  const products = matrixProducts(Float32Array.from(scores.flat()), texts);
  return rankCaptions(numbered(scores.length), numbered(texts), captions, { products });
}

describe("two pictures with two captions each", () => {
  const scores = [
    [0.1, 0.5, 0.9, 0.2],
    [0.3, 0.4, 0.8, 0.7],
  ];
  const captions = indexOf([
    [0, 0],
    [0, 1],
    [1, 2],
    [1, 3],
  ]);

  test("a picture is found by the best of its captions", async () => {
    const { imageToText } = await rankMatrix(scores, captions);
    // The first picture's captions come second (0.5 after 0.9) and fourth; the second picture's come first and second.
    expect(recallAt(imageToText[0]!, 1, 4)).toEqual({ value: 0.5, count: 2 });
    expect(recallAt(imageToText[0]!, 2, 4)).toEqual({ value: 1, count: 2 });
    expect(medianRank(imageToText[0]!)).toEqual({ value: 1.5, count: 2 });
  });

  test("a caption is to find its own picture", async () => {
    const ranks = await rankMatrix(scores, captions);
    // Of 0.1|0.3, 0.5|0.4, 0.9|0.8, 0.2|0.7 the second and the fourth are right.
    expect(recallAt(ranks.textToImage, 1, 2)).toEqual({ value: 0.5, count: 4 });
    expect(recallAt(ranks.textToImage, 2, 2)).toEqual({ value: 1, count: 4 });
    expect([...ranks.firstPicture]).toEqual([1, 0, 0, 1]);
    expect([...ranks.firstText]).toEqual([2, 2]);
  });

  test("fewer candidates than k make recall at k null", async () => {
    const { imageToText, textToImage } = await rankMatrix(scores, captions);
    expect(recallAt(imageToText[0]!, 5, 4)).toEqual({ value: null, count: 2 });
    expect(recallAt(textToImage, 5, 2).value).toBeNull();
  });

  test("a group of captions is a gallery of its own", async () => {
    const grouped = indexOf([
      [0, 0, 0],
      [0, 1, 1],
      [1, 2, 0],
      [1, 3, 1],
    ]);
    const { imageToText, textToImage } = await rankMatrix(scores, grouped);
    expect(grouped.groupNames).toEqual(["group-0", "group-1"]);
    expect(recallAt(imageToText[1]!, 1, 2).value).toBe(0.5); // 0.1 < 0.9, 0.8 > 0.3
    expect(recallAt(imageToText[2]!, 1, 2).value).toBe(1); // 0.5 > 0.2, 0.7 > 0.4
    expect(recallAt(textToImage, 1, 2, (caption) => grouped.groups[caption] === 1).value).toBe(1);
  });
});

test("a picture without captions is a candidate but no query", async () => {
  const { imageToText, textToImage } = await rankMatrix([[0.5], [0.9]], indexOf([[0, 0]]));
  expect(recallAt(imageToText[0]!, 1, 1)).toEqual({ value: 1, count: 1 });
  expect(recallAt(textToImage, 1, 2)).toEqual({ value: 0, count: 1 });
});

test("nothing seen gives null, not 0/0", () => {
  const none: Ranks = { better: new Uint32Array(3), tied: new Uint32Array(3), right: new Uint32Array(3) };
  expect(recallAt(none, 1, 3)).toEqual({ value: null, count: 0 });
  expect(medianRank(none)).toEqual({ value: null, count: 0 });
});

describe("ties", () => {
  test("one text below two pictures is half found by each of them", async () => {
    const { imageToText } = await rankMatrix(
      [[0.9], [0.9]],
      indexOf([
        [0, 0],
        [1, 0],
      ]),
    );
    expect(recallAt(imageToText[0]!, 1, 2)).toEqual({ value: 0.5, count: 2 });
    expect(medianRank(imageToText[0]!).value).toBe(1.5);
  });

  test("a model that gives every pair one score does as well as chance", async () => {
    const captions = indexOf(Array.from({ length: 20 }, (_, c) => [Math.floor(c / 2), c]));
    const ranks = await rankMatrix(
      Array.from({ length: 10 }, () => new Array<number>(20).fill(0.25)),
      captions,
    );
    expect(recallAt(ranks.textToImage, 1, 10).value).toBeCloseTo(1 / 10, 12);
    expect(recallAt(ranks.textToImage, 5, 10).value).toBeCloseTo(5 / 10, 12);
    expect(recallAt(ranks.imageToText[0]!, 1, 20).value).toBeCloseTo(2 / 20, 12);
    // None of the own two among 5 of 20: (18 choose 5) / (20 choose 5).
    expect(recallAt(ranks.imageToText[0]!, 5, 20).value).toBeCloseTo(1 - (15 * 14) / (20 * 19), 12);
  });

  test("the hit rate is the mean over all orders of the tied", () => {
    fc.assert(
      fc.property(
        fc.nat(3),
        fc.nat(3),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 9 }),
        (better, tied, right, k) => {
          const ranks = { better: Uint32Array.of(better), tied: Uint32Array.of(tied), right: Uint32Array.of(right) };
          const orders = ordersOf([...new Array<boolean>(tied).fill(false), ...new Array<boolean>(right).fill(true)]);
          const hits = orders.filter((order) => order.slice(0, Math.max(0, k - better)).includes(true)).length;
          expect(recallAt(ranks, k, 100).value).toBeCloseTo(hits / orders.length, 12);
          const first = orders.reduce((sum, order) => sum + better + order.indexOf(true) + 1, 0) / orders.length;
          expect(medianRank(ranks).value).toBeCloseTo(first, 12);
        },
      ),
    );
  });
});

function ordersOf<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) => ordersOf(items.filter((_, j) => j !== i)).map((rest) => [item, ...rest]));
}

test("blocks of any size give what sorting all scores gives", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 4 }),
      fc.nat(999),
      async (n, each, seed) => {
        const captions = indexOf(Array.from({ length: n * each }, (_, c) => [c % n, c]));
        const [images, texts] = [randomRows(n, 4, seed), randomRows(n * each, 4, seed + 1)];
        const ranks = await rankCaptions(
          memoryRows(images, { blockSize: 4 }),
          memoryRows(texts, { blockSize: 7 }),
          captions,
          {
            products: plainProducts,
          },
        );
        const cosine = (a: readonly number[], b: readonly number[]) => {
          const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, d) => sum + v * y[d]!, 0);
          return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
        };
        for (const [p, image] of images.entries()) {
          const order = [...texts.keys()].sort((i, j) => cosine(image, texts[j]!) - cosine(image, texts[i]!));
          expect(ranks.imageToText[0]!.better[p]).toBe(order.findIndex((c) => c % n === p));
        }
        for (const [c, text] of texts.entries()) {
          const order = [...images.keys()].sort((i, j) => cosine(text, images[j]!) - cosine(text, images[i]!));
          expect(ranks.textToImage.better[c]).toBe(order.indexOf(c % n));
        }
      },
    ),
    { numRuns: 40 },
  );
});

test.each(["five", "varied"])("counts as the reference without, and with, its over-count: %s", async (name) => {
  const tensor = await goldenTensors("metrics/golden_retrieval.safetensors");
  const owners = [...((await tensor(`${name}.caption_owner`)).data as Int32Array)];
  const { shape, data } = await tensor(`${name}.sims`);
  const [pictures, texts] = shape as [number, number];
  const products = matrixProducts(data as Float32Array, texts);
  const captions = indexOf(owners.map((owner, c) => [owner, c]));
  const { imageToText, textToImage } = await rankCaptions(numbered(pictures), numbered(texts), captions, { products });
  const { cases } = goldenJson("metrics/golden_retrieval.json") as {
    cases: Record<string, Record<"upstream" | "without_row_index_bug", Record<string, number>>>;
  };
  const { upstream, without_row_index_bug: right } = cases[name]!;
  for (const k of [1, 5, 10]) {
    expect(recallAt(imageToText[0]!, k, texts).value).toBeCloseTo(right[`txt_r${k}`]!, 12);
    expect(recallAt(textToImage, k, pictures).value).toBeCloseTo(right[`img_r${k}`]!, 12);
    expect(referenceRecallAt(textToImage, k, pictures).value).toBeCloseTo(upstream[`img_r${k}`]!, 12);
  }
});

test("features that are no numbers are refused", async () => {
  const options = { products: plainProducts };
  const ranking = rankCaptions(memoryRows([[Number.NaN, 1]]), memoryRows([[1, 1]]), indexOf([[0, 0]]), options);
  await expect(ranking).rejects.toMatchObject({ code: "DATA_INVALID" });
});
