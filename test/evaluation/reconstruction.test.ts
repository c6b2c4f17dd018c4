import { afterAll, describe, expect, test } from "vitest";
import { CodebookUse } from "../../src/evaluation/codebook-use.ts";
import {
  type Evaluation,
  evaluateReconstruction,
  type FeatureNetworkOptions,
  frechetDistance,
  GaussianSums,
} from "../../src/evaluation/index.ts";
import { psnrSvg, psnrTable } from "../../src/evaluation/psnr-histogram.ts";
import { RunningMean } from "../../src/evaluation/running-mean.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { OnnxModel } from "../../src/onnx/index.ts";
import { node } from "../onnx/small-models.ts";
import { FAKE_CONFIG } from "../pipelines/fake-model.ts";
import { flatPictures, flatSession, rebuiltLevel } from "./flat-pictures.ts";

const backend = createOrtBackend({ device: "cpu", threads: 1 });
afterAll(() => backend.dispose());

const LEVELS = [41, 42, 43, 44, 101, 102, 103];
const DIFFERENCES = LEVELS.map((level) => rebuiltLevel(level) - level); // 1 2 3 0 1 2 3

const metricOf = ({ metrics }: Evaluation, name: string) => metrics.find((metric) => metric.name === name)!;
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;

async function evaluate(levels = LEVELS, network?: FeatureNetworkOptions) {
  return evaluateReconstruction(flatSession(backend), flatPictures(levels), { network });
}

describe("the figures of flat pictures that come back a little lighter", () => {
  test("PSNR is the mean over the pictures, and that of the mean error", async () => {
    const evaluation = await evaluate();
    const psnrs = DIFFERENCES.filter((d) => d > 0).map((d) => 20 * Math.log10(255 / d));
    expect(metricOf(evaluation, "psnr").value).toBeCloseTo(mean(psnrs), 5);
    const squares = mean(DIFFERENCES.map((d) => d * d));
    expect(metricOf(evaluation, "psnr_of_mean_error")).toMatchObject({ count: 7 });
    expect(metricOf(evaluation, "psnr_of_mean_error").value).toBeCloseTo(10 * Math.log10(255 ** 2 / squares), 5);
  });

  test("a picture that comes back as it was is counted, and not in the mean of PSNR", async () => {
    const evaluation = await evaluate();
    expect(metricOf(evaluation, "psnr").count).toBe(6);
    expect(metricOf(evaluation, "equal")).toMatchObject({ value: 1, count: 7 });
    const all = await evaluate([40, 44]);
    expect(metricOf(all, "psnr")).toMatchObject({ value: null, count: 0 });
    expect(metricOf(all, "psnr_of_mean_error").value).toBeNull();
  });

  test("SSIM is the likeness of their means, at one scale and at several", async () => {
    const evaluation = await evaluate([43]);
    const [x, y, c1] = [43, rebuiltLevel(43), (0.01 * 255) ** 2];
    const luminance = (2 * x * y + c1) / (x * x + y * y + c1);
    expect(metricOf(evaluation, "ssim").value).toBeCloseTo(luminance, 6);
    // 64 pixels have three scales, and luminance counts at the last.
    expect(evaluation.settings.ms_ssim_scales).toBe(3);
    expect(metricOf(evaluation, "ms_ssim").value).toBeCloseTo(luminance ** (0.3001 / (0.0448 + 0.2856 + 0.3001)), 6);
  });

  test("L1 is of values in [0, 1], with the interval of a mean", async () => {
    const { value, margin, count } = metricOf(await evaluate(), "l1");
    expect(count).toBe(7);
    expect(value).toBeCloseTo(mean(DIFFERENCES) / 255, 7);
    const variance = DIFFERENCES.reduce((sum, d) => sum + (d - mean(DIFFERENCES)) ** 2, 0) / 6;
    expect(margin! * 255).toBeCloseTo((1.959963984540054 * Math.sqrt(variance)) / Math.sqrt(7), 5);
  });

  test("codes are counted", async () => {
    const evaluation = await evaluate([8, 8, 8, 9]);
    expect(metricOf(evaluation, "codes_used")).toMatchObject({ value: 2 / 512, count: 64 });
    const entropy = -(0.75 * Math.log2(0.75) + 0.25 * Math.log2(0.25));
    expect(metricOf(evaluation, "code_entropy").value).toBeCloseTo(entropy, 12);
    expect(metricOf(evaluation, "code_perplexity").value).toBeCloseTo(2 ** entropy, 12);
    expect(evaluation.tables[1]!.rows).toEqual([
      [8, 48, 75],
      [9, 16, 25],
    ]);
  });

  test("galleries show the worst first, the best first, and nothing twice", async () => {
    const { galleries } = await evaluate();
    expect(new TextDecoder().decode(galleries[0]!.pictures[0]!.png)).toMatch(/^<svg .*<\/svg>$/);
    const shown = galleries.slice(1).map(({ pictures }) => pictures.map(({ png }) => [...png]));
    expect(shown).toEqual([
      [
        [43, 46],
        [103, 106],
        [42, 44],
      ],
      [[102, 104]],
      [
        [44, 44],
        [101, 102],
        [41, 42],
      ],
    ]);
    expect(galleries[1]!.pictures[0]!.caption).toBe("43: 38.59 dB, SSIM 0.998");
    expect(galleries[3]!.pictures[0]!.caption).toBe("44: equal, SSIM 1.000");
  });

  test("one picture is enough", async () => {
    const { galleries, metrics } = await evaluate([43]);
    expect(galleries.map(({ pictures }) => pictures.length)).toEqual([1, 1, 0, 0]);
    for (const { value, margin } of metrics) {
      expect(value).not.toBeNaN();
      expect(margin).toBeUndefined();
    }
  });
});

/** The mean of each channel, times 255, of pictures of `shape`. */
function meanNetwork(...shape: (string | number)[]): FeatureNetworkOptions {
  const model: OnnxModel = {
    name: "means",
    inputs: [{ name: "x", dtype: "f32", shape }],
    outputs: [{ name: "maps", dtype: "f32", shape }],
    metadata: {},
    opsets: { "": 17 },
    initializers: [],
    nodes: [node("AveragePool", ["x"], ["maps"], { kernel_shape: [2, 2], strides: [2, 2] })],
  };
  return { model, digest: "means", mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] };
}

describe("the distance that a network sees", () => {
  const gaussian = (levels: readonly number[]) => {
    const sums = new GaussianSums(3);
    sums.add(levels.map((level) => Float32Array.of(level, level, level)));
    return sums.finish()!;
  };
  const expected = frechetDistance(gaussian(LEVELS), gaussian(LEVELS.map(rebuiltLevel)));

  test.each([
    ["in batches", ["B", 3, 20, 20]],
    ["one at a time, as it was exported", [1, 3, 20, 20]],
  ])("is that of its features, averaged over their places, %s", async (_, shape) => {
    const evaluation = await evaluate(LEVELS, meanNetwork(...shape));
    expect(metricOf(evaluation, "frechet_distance").value).toBeCloseTo(expected, 3);
    expect(evaluation.settings.feature_network).toMatchObject({ output: "maps", size: 20, width: 3 });
  });

  test("is told to be too large of fewer pictures than features", async () => {
    const of = async (levels: number[]) =>
      metricOf(await evaluate(levels, meanNetwork("B", 3, 8, 8)), "frechet_distance");
    expect((await of([41, 42, 43])).meaning).toContain("too large");
    expect((await of([41, 42, 43, 45])).meaning).not.toContain("too large");
    expect((await of([41])).value).toBeNull();
  });

  test("a network of any size needs one, and its values must be there and be features", async () => {
    const open = meanNetwork("B", 3, "H", "W");
    await expect(evaluate(LEVELS, open)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    expect(metricOf(await evaluate(LEVELS, { ...open, size: 12 }), "frechet_distance").value).toBeCloseTo(expected, 3);
    await expect(evaluate(LEVELS, { ...open, size: 12, output: "none" })).rejects.toMatchObject({
      code: "ARGUMENT_INVALID",
    });
    const flat = { ...open.model, nodes: [node("Flatten", ["x"], ["maps"], { axis: 0 })] };
    await expect(evaluate(LEVELS, { ...open, size: 12, model: flat })).rejects.toMatchObject({
      code: "OP_UNSUPPORTED",
    });
  });
});

test("a model without a VQ is refused", async () => {
  const { vq: _, ...config } = FAKE_CONFIG;
  await expect(
    evaluateReconstruction(flatSession(backend, config as typeof FAKE_CONFIG), flatPictures(LEVELS)),
  ).rejects.toMatchObject({ code: "ARGUMENT_INVALID", message: expect.stringContaining("pixel model") });
});

describe("of nothing nothing is made", () => {
  test("codes that were never drawn have no entropy", () => {
    const use = new CodebookUse(4);
    expect([use.entropy, use.used, use.total, use.top(3)]).toEqual([null, 0, 0, []]);
    use.add([2, 2]);
    expect([use.entropy, use.used]).toEqual([0, 1]);
  });

  test("no values have no mean, and one has no interval", () => {
    const none = new RunningMean();
    expect(none.metric("x", "plain", "")).toEqual({ name: "x", value: null, unit: "plain", count: 0, meaning: "" });
    none.add(3);
    expect(none.metric("x", "plain", "")).toEqual({ name: "x", value: 3, unit: "plain", count: 1, meaning: "" });
  });

  test("no PSNR, or none that is finite, makes an empty table and a picture all the same", () => {
    for (const psnrs of [[], [Number.POSITIVE_INFINITY]]) {
      expect(psnrTable(psnrs).rows).toEqual([]);
      expect(psnrSvg(psnrs)).toMatch(/^<svg .*<\/svg>$/);
      expect(psnrSvg(psnrs)).not.toMatch(/NaN|Infinity/);
    }
  });
});

test("PSNR is counted in at most 24 bins that hold every picture", () => {
  expect(psnrTable([20.2, 20.4, 21.6, Number.POSITIVE_INFINITY]).rows).toEqual([
    [20, 20.5, 2, 50],
    [20.5, 21, 0, 0],
    [21, 21.5, 0, 0],
    [21.5, 22, 1, 25],
  ]);
  const wide = psnrTable(Array.from({ length: 500 }, (_, i) => i / 10)).rows;
  expect(wide.length).toBeLessThanOrEqual(24);
  expect(wide.reduce((sum, row) => sum + Number(row[2]), 0)).toBe(500);
});
