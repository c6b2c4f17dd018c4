// Weighted nearest neighbours: against brute force, and on hand-made cases.
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { indexedDataset } from "../../src/data/index.ts";
import { classifyByNeighbours, evaluateKnn } from "../../src/evaluation/knn.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { type FeatureTable, fakeSession } from "./fake-session.ts";
import { memoryRows, plainProducts, randomRows } from "./memory-rows.ts";

const backend = createOrtBackend({ threads: 1 });
afterAll(() => backend.dispose());

const cosine = (a: readonly number[], b: readonly number[]) => {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, d) => sum + value * y[d]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

test("votes as brute force does, whatever the blocks", async () => {
  const sizes = fc.record({
    train: fc.integer({ min: 1, max: 40 }),
    test: fc.integer({ min: 1, max: 15 }),
    classes: fc.integer({ min: 1, max: 7 }),
    k: fc.integer({ min: 1, max: 12 }),
    seed: fc.nat(9999),
  });
  await fc.assert(
    fc.asyncProperty(sizes, async ({ train, test, classes, k, seed }) => {
      const names = Array.from({ length: classes }, (_, i) => `class-${i}`);
      const [known, asked] = [randomRows(train, 3, seed), randomRows(test, 3, seed + 1)];
      const labels = known.map((_, i) => (i * 7 + seed) % classes);
      const truth = asked.map((_, i) => i % classes);
      const [scores] = await classifyByNeighbours(
        memoryRows(known, { labels, classes: names, blockSize: 5 }),
        memoryRows(asked, { labels: truth, classes: names, blockSize: 4 }),
        { k: [k], temperature: 0.07, products: plainProducts, classOf: (label) => label },
      );
      if (k > train) {
        expect(scores!.outcomes).toBeUndefined();
        return;
      }
      for (const [i, query] of asked.entries()) {
        const near = [...known.keys()].sort((a, b) => cosine(query, known[b]!) - cosine(query, known[a]!)).slice(0, k);
        const votes = new Map<number, number>();
        for (const j of near) {
          const weight = Math.exp(cosine(query, known[j]!) / 0.07);
          votes.set(labels[j]!, (votes.get(labels[j]!) ?? 0) + weight);
        }
        const order = [...votes].sort(([, a], [, b]) => b - a).map(([label]) => label);
        expect(scores!.outcomes!.chosen[i]).toBe(order[0]);
        const place = order.indexOf(truth[i]!);
        expect(scores!.outcomes!.place[i]).toBe(place < 0 ? classes : place);
      }
    }),
  );
});

/** A data set of named pictures with classes. */
const picturesOf = (name: string, classes: Readonly<Record<string, string | undefined>>) =>
  indexedDataset({
    name,
    size: Object.keys(classes).length,
    entry: async (index) => {
      const [key, concept] = Object.entries(classes)[index]!;
      return {
        sample: { key, image: async () => new Uint8Array(), captions: [], ...(concept !== undefined && { concept }) },
      };
    },
  });

describe("of a small set", () => {
  const table: FeatureTable = {
    cat1: [1, 0, 0, 0],
    cat2: [1, 0.1, 0, 0],
    dog1: [0, 1, 0, 0],
    bird1: [0, 0, 1, 0],
    near_cat: [3, 0.2, 0, 0],
    near_dog: [0.3, 1, 0, 0],
    cat_like_dog: [0.9, 0.1, 0, 0],
    stray: [0, 0, 0, 1],
    nameless: [1, 1, 1, 1],
  };
  const train = picturesOf("train", { cat1: "cat", cat2: "cat", dog1: "dog", bird1: "bird" });
  const asked = picturesOf("test", {
    near_cat: "cat",
    near_dog: "dog",
    cat_like_dog: "dog",
    stray: "fish",
    nameless: undefined,
    damaged: "cat",
  });
  const evaluate = (k: number[]) => evaluateKnn(fakeSession(table, backend), { train, test: asked, k });

  test("tells shares, and leaves out what no training picture can answer", async () => {
    const { metrics, data, tables, galleries } = await evaluate([1, 3, 20]);
    const values = Object.fromEntries(metrics.map(({ name, value, count }) => [name, [value, count]]));
    expect(values).toMatchObject({
      top1_k1: [2 / 3, 3],
      top5_k1: [null, 3], // three classes
      top1_k3: [2 / 3, 3],
      class_mean_k3: [3 / 4, 2],
      top1_k20: [null, 3],
      top5_k20: [null, 3],
    });
    expect(data[1]).toEqual({
      name: "test",
      used: 3,
      skipped: [
        { reason: "undecodable", count: 1, example: "damaged" },
        { reason: "of a class without a training picture", count: 1, example: "stray: fish" },
        { reason: "without a class", count: 1, example: "nameless" },
      ],
    });
    expect(tables[0]!.rows).toEqual([
      ["dog", 2, 50, null, "cat (1)"],
      ["cat", 1, 100, null, ""],
    ]);
    expect(galleries.map(({ pictures }) => pictures.map(({ caption }) => caption))).toEqual([
      ["dog, taken for cat"],
      ["cat", "dog"],
    ]);
  });

  test("no k that can be answered gives nulls and no table", async () => {
    const { metrics, tables, galleries } = await evaluate([5]);
    expect(metrics.map(({ value }) => value)).toEqual([null, null]);
    expect([tables, galleries]).toEqual([[], []]);
  });

  test("no class in common is an error", async () => {
    const other = picturesOf("test", { stray: "fish" });
    const evaluation = evaluateKnn(fakeSession(table, backend), { train, test: other });
    await expect(evaluation).rejects.toMatchObject({ code: "DATA_INVALID" });
  });

  test.each([[[0]], [[1.5]], [[]], [[5000]]])("k of %j is an error", async (k) => {
    await expect(evaluate(k)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  });
});

test("of equally near neighbours the first ones vote", async () => {
  const classes = ["a", "b"];
  const train = memoryRows(
    [
      [1, 0],
      [1, 0],
      [1, 0],
    ],
    { labels: [1, 0, 0], classes },
  );
  const test = memoryRows([[1, 0]], { labels: [1], classes });
  const options = { k: [1, 3], temperature: 0.07, products: plainProducts, classOf: (label: number) => label };
  const [one, three] = await classifyByNeighbours(train, test, options);
  expect(one!.outcomes!.chosen[0]).toBe(1);
  expect(three!.outcomes!.chosen[0]).toBe(0);
});
