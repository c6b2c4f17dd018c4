// The linear probe: the minimum that other solvers find, the choice of the penalty, its limits.
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { indexedDataset } from "../../src/data/index.ts";
import { minimize } from "../../src/evaluation/lbfgs.ts";
import { evaluateLinearProbe, fitProbe } from "../../src/evaluation/linear-probe.ts";
import { holdOut, momentsOf, probeBlocks } from "../../src/evaluation/probe-data.ts";
import { type LabelledBlock, SoftmaxRegression } from "../../src/evaluation/softmax-regression.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { type FeatureTable, fakeSession } from "./fake-session.ts";
import { memoryRows, randomRows } from "./memory-rows.ts";

const backend = createOrtBackend({ threads: 1 });
afterAll(() => backend.dispose());

interface Fixture {
  readonly classes: number;
  readonly features: readonly (readonly number[])[];
  readonly labels: readonly number[];
  readonly fits: readonly { readonly penalty: number; readonly loss: number; readonly probabilities: number[][] }[];
}
const FIXTURES = JSON.parse(readFileSync(new URL("./fixtures/linear-probe.json", import.meta.url), "utf8")) as Record<
  string,
  Fixture
>;

/** Rows in blocks of one shape, as they are. */
function blocksOf({ features, labels }: Fixture, size: number): LabelledBlock[] {
  const width = features[0]!.length;
  return Array.from({ length: Math.ceil(features.length / size) }, (_, block) => {
    const part = features.slice(block * size, (block + 1) * size);
    const made = {
      features: ndarray("f32", [size, width]),
      labels: ndarray("i32", [size]),
      mask: ndarray("f32", [size]),
      count: part.length,
    };
    made.features.data.set(part.flat());
    for (let i = 0; i < part.length; i++) [made.labels.data[i], made.mask.data[i]] = [labels[block * size + i]!, 1];
    return made;
  });
}

const softmax = (scores: Float32Array) => {
  const weights = [...scores].map((score) => Math.exp(score - Math.max(...scores)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
};

describe.each(Object.entries(FIXTURES))("the minimum that f64 solvers find: %s", (_, fixture) => {
  test.each(fixture.fits)("penalty $penalty", async ({ penalty, loss, probabilities }) => {
    const [size, classes, width] = [7, fixture.classes, fixture.features[0]!.length];
    const regression = await SoftmaxRegression.compile(backend, { classes, width, rows: size });
    const blocks = blocksOf(fixture, size);
    const { value, point, converged } = await regression.fit(() => blocks, {
      penalty,
      maxIterations: 500,
      gradientShare: 1e-5,
    });
    expect(converged).toBe(true);
    expect(value).toBeGreaterThan(loss - 1e-6);
    expect(value).toBeLessThan(loss * 1.001 + 1e-5);
    let row = 0;
    for (const { features, count } of blocks) {
      const { data } = await regression.score(features, point);
      for (let i = 0; i < count; i++) {
        const found = softmax(data.subarray(i * classes, (i + 1) * classes));
        for (const [k, share] of found.entries()) expect(Math.abs(share - probabilities[row]![k]!)).toBeLessThan(0.01);
        row++;
      }
    }
  });
});

describe("the search", () => {
  test("finds the minimum of an ill-conditioned quadratic", async () => {
    const [scales, centre] = [
      [1, 10, 1000],
      [3, -2, 0.5],
    ];
    const evaluate = async (point: Float64Array) => ({
      value: point.reduce((sum, x, i) => sum + (scales[i]! / 2) * (x - centre[i]!) ** 2, 0),
      gradient: point.map((x, i) => scales[i]! * (x - centre[i]!)),
    });
    const found = await minimize(evaluate, new Float64Array(3), { gradientNorm: 1e-5, maxIterations: 100 });
    expect(found.converged).toBe(true);
    for (const [i, x] of found.point.entries()) expect(x).toBeCloseTo(centre[i]!, 4);
  });

  test("ends after the steps that it may take, and says so", async () => {
    const evaluate = async (point: Float64Array) => ({
      value: point[0]! ** 4,
      gradient: Float64Array.of(4 * point[0]! ** 3),
    });
    const found = await minimize(evaluate, Float64Array.of(5), { gradientNorm: 1e-12, maxIterations: 3 });
    expect(found).toMatchObject({ iterations: 3, converged: false });
  });

  test("stops on request", async () => {
    const signal = AbortSignal.abort();
    const evaluate = async (point: Float64Array) => ({
      value: point[0]! ** 2,
      gradient: Float64Array.of(2 * point[0]!),
    });
    const search = minimize(evaluate, Float64Array.of(5), { gradientNorm: 0, maxIterations: 3, signal });
    await expect(search).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("the rows", () => {
  const classes = ["a", "b", "c"];
  const labels = Array.from({ length: 103 }, (_, i) => (i % 10 === 9 ? -1 : i % 3));
  const rows = memoryRows(randomRows(103, 5, 1), { labels, classes, blockSize: 8 });

  test("have mean 0 and deviation 1 in every dimension, whatever the blocks", async () => {
    const moments = await momentsOf(rows);
    const blocks = await probeBlocks(rows, { moments, size: 16 });
    let [count, sum, squares] = [0, 0, 0];
    for await (const block of blocks()) {
      expect(block.features.shape).toEqual([16, 5]);
      count += block.count;
      for (let i = 0; i < block.count; i++) {
        sum += block.features.data[i * 5 + 2]!;
        squares += block.features.data[i * 5 + 2]! ** 2;
      }
      expect([...block.mask.data]).toEqual(Array.from({ length: 16 }, (_, i) => (i < block.count ? 1 : 0)));
    }
    expect(count).toBe(labels.filter((label) => label >= 0).length);
    expect(sum / count).toBeCloseTo(0, 5);
    expect(squares / count).toBeCloseTo(1, 5);
  });

  test("a dimension that does not vary counts for nothing", async () => {
    const flat = memoryRows(
      [
        [1, 0],
        [1, 0],
        [1, 0],
      ],
      { labels: [0, 1, 0], classes },
    );
    const { scale } = await momentsOf(flat);
    expect([...scale]).toEqual([0, 0]);
  });

  test("a fifth of each class is held out, the same for the same seed", async () => {
    const held = await holdOut(rows, 3);
    expect(await holdOut(rows, 3)).toEqual(held);
    expect(await holdOut(rows, 4)).not.toEqual(held);
    for (const own of [0, 1, 2]) {
      const members = labels.filter((label) => label === own).length;
      const taken = [...held].filter((row) => labels[row] === own).length;
      expect(Math.abs(taken - members / 5)).toBeLessThan(1);
    }
    expect([...held].some((row) => labels[row] === -1)).toBe(false);
  });
});

/** Clusters around as many centres as there are classes. */
function clusters(count: number, noise: number, seed: number) {
  const centres = randomRows(3, 4, 100);
  const noisy = randomRows(count, 4, seed).map((row, i) => row.map((x, d) => noise * x + centres[i % 3]![d]!));
  return { rows: noisy, labels: noisy.map((_, i) => i % 3) };
}

test("chooses the same penalty and weights for the same seed", async () => {
  const { rows, labels } = clusters(90, 0.7, 5);
  const train = memoryRows(rows, { labels, classes: ["a", "b", "c"] });
  const options = { seed: 1, maxIterations: 100 };
  const [one, two] = [await fitProbe({ backend }, train, options), await fitProbe({ backend }, train, options)];
  expect(two.weights).toEqual(one.weights);
  const best = Math.max(...one.tried.map(({ share }) => share));
  expect(one.tried.find(({ penalty }) => penalty === one.chosen)!.share).toBe(best);
});

const datasetOf = (name: string, classes: readonly (string | undefined)[]) =>
  indexedDataset({
    name,
    size: classes.length,
    entry: async (index) => {
      const concept = classes[index];
      const key = `${name}-${index}`;
      return {
        sample: { key, image: async () => new Uint8Array(), captions: [], ...(concept !== undefined && { concept }) },
      };
    },
  });

describe("of a small set", () => {
  const [known, asked] = [clusters(60, 0.1, 1), clusters(12, 0.1, 2)];
  const table: FeatureTable = {
    ...Object.fromEntries(known.rows.map((row, i) => [`train-${i}`, row])),
    ...Object.fromEntries(asked.rows.map((row, i) => [`test-${i}`, row])),
  };
  const names = ["ant", "bee", "cow"];
  const namesOf = (labels: readonly number[]) => labels.map((label) => names[label]!);
  const train = datasetOf("train", namesOf(known.labels));

  test("tells shares, the penalty and each class", async () => {
    const test = datasetOf("test", [...namesOf(asked.labels.slice(0, -1)), "unheard"]);
    const { metrics, data, tables, settings } = await evaluateLinearProbe(fakeSession(table, backend), { train, test });
    expect(Object.fromEntries(metrics.map(({ name, value, count }) => [name, [value, count]]))).toEqual({
      top1: [1, 11],
      top5: [null, 11],
      class_mean: [1, 3],
    });
    expect(data[1]!.skipped).toEqual([
      { reason: "of a class without a training picture", count: 1, example: "test-11: unheard" },
    ]);
    expect(tables[1]!.rows.map(([name, count]) => [name, count])).toEqual([
      ["ant", 4],
      ["bee", 4],
      ["cow", 3],
    ]);
    expect(settings.C).toBeCloseTo(1 / ((settings.penalty as number) * 60), 9);
  });

  test.each([
    ["one class", ["ant", "ant", "ant", "ant", "ant", "ant"]],
    ["four pictures", ["ant", "bee", "cow", "ant"]],
    ["no class", [undefined, undefined]],
  ])("training data of %s are an error", async (_, classes) => {
    const few = datasetOf("train", classes);
    const test = datasetOf("test", ["ant"]);
    const evaluation = evaluateLinearProbe(fakeSession(table, backend), { train: few, test });
    await expect(evaluation).rejects.toMatchObject({ code: "DATA_INVALID" });
  });
});
