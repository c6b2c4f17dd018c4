// The VQ's training step against the reference: losses and every gradient, without and with the entropy term.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import { add, Graph, gradients, interpretGraph, l2Normalize, mul, type Tensor } from "../../src/graph/index.ts";
import { entropyLoss, quantizationLosses, RECONSTRUCTION_LOSSES, sumOf } from "../../src/losses/index.ts";
import { type VqConfig, vq } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { maxDifference } from "../goldens.ts";
import { largest, relativeDistance, summaryDistance } from "../gradient-summaries.ts";
import { readVqGolden, type VqGolden } from "../vq-goldens.ts";

/** The losses of the reference's training mode: pixels to mse + codebook + commitment + entropy. */
function traceLosses(graph: Graph, { config, shape }: VqGolden, entropyRatio: number): Record<string, Tensor> {
  const scope = new Scope(graph);
  const pixels = graph.input("pixels", "f32", shape);
  const quantized = vq.quantizeForTraining(scope, vq.encodeVectors(scope, pixels, config), config);
  const reconstruction = vq.decodeVectors(scope, quantized.quantized, config);
  graph.output("ids", quantized.ids);
  const { codebook, commitment, entropy, total } = quantizationLosses(quantized, { entropyRatio });
  const l2 = RECONSTRUCTION_LOSSES.l2(reconstruction, pixels);
  return {
    rec_l2: l2,
    rec_l1: RECONSTRUCTION_LOSSES.l1(reconstruction, pixels),
    vq_loss: codebook,
    commit_loss: commitment,
    ...(entropy && { entropy_loss: entropy }),
    total: add(l2, total),
  };
}

/** The losses, and the gradients of the total. */
function traceStep(reference: VqGolden, entropyRatio: number): Graph {
  const graph = new Graph();
  const losses = traceLosses(graph, reference, entropyRatio);
  for (const [name, loss] of Object.entries(losses)) graph.output(name, loss);
  const parameters = [...graph.parameters];
  const slopes = gradients(
    losses.total!,
    parameters.map(([, tensor]) => tensor),
  );
  parameters.forEach(([name], i) => {
    graph.output(`grad.${name}`, slopes[i]!);
  });
  return graph;
}

const backend = createOrtBackend();
afterAll(() => backend.dispose());

/** How far each loss is from the reference's in float64, relatively. */
function lossDistances(expected: Readonly<Record<string, number>>, lossOf: (part: string) => number | undefined) {
  const parts = Object.entries(expected).filter(([, value]) => value !== 0);
  return parts.map(([part, value]) => ({ part, distance: Math.abs(lossOf(part)! / value - 1) }));
}

const CASES = ["vq8_small", "vq8_prng", "vq16_prng"].flatMap((name) => [
  { name, which: "ent0" as const },
  { name, which: "ent" as const },
]);

describe.each(CASES)("a step of $name equals the reference in case $which", async ({ name, which }) => {
  const reference = await readVqGolden(name);
  const { entropy_ratio, fp64, zero_grad_params = [], codebook_usage } = reference.manifest.losses[which];
  const session = await backend.compile({
    name,
    graph: traceStep(reference, entropy_ratio),
    weight: async (key) => ({ kind: "array", value: reference.weights.get(key)! }),
  });
  const outputs = await session.run({ pixels: await reference.golden("input") });
  const zero = new Set(zero_grad_params);

  test("in the losses", () => {
    // The page's tolerance for f32 (spec/ar.md, section 5); float64 is below.
    for (const { part, distance } of lossDistances(fp64, (key) => outputs[key]?.data[0] as number)) {
      expect(distance, part).toBeLessThan(1e-5);
    }
    expect("entropy_loss" in outputs).toBe(entropy_ratio > 0);
  });

  test("in the codes used", () => {
    // The reference counts codes over a history that is all 0 in the beginning, so code 0 counts as used.
    const used = new Set([0, ...(outputs.ids!.data as Int32Array)]).size;
    expect(used / reference.config.codebookSize).toBe(codebook_usage);
  });

  test("in every gradient", () => {
    const summaries = Object.entries(reference.manifest.grad_samples[which]);
    expect(summaries.length).toBeGreaterThan(100);
    for (const [parameter, summary] of summaries) {
      const gradient = outputs[`grad.${parameter}`]!;
      if (zero.has(parameter)) expect(largest(gradient), parameter).toBeLessThan(1e-6);
      else {
        const distance = summaryDistance(parameter, gradient.data as Float32Array, summary, reference.manifest.seed);
        expect(distance, parameter).toBeLessThan(1e-3);
      }
    }
  });

  const whole = reference.wholeGradients(which).filter(({ parameter }) => !zero.has(parameter));
  if (whole.length > 0) {
    test("in the gradients that are stored whole", async () => {
      for (const { key, parameter } of whole) {
        const expected = (await reference.golden(key)).data as Float32Array;
        const gradient = outputs[`grad.${parameter}`]!.data as Float32Array;
        expect(relativeDistance(gradient, expected), parameter).toBeLessThan(1e-3);
      }
    });
  }
});

test("in float64 the losses of a step are the reference's to 1e-6", async () => {
  const reference = await readVqGolden("vq8_small");
  const graph = new Graph();
  for (const [name, loss] of Object.entries(traceLosses(graph, reference, 0.1))) graph.output(name, loss);
  const outputs = interpretGraph(graph, { pixels: await reference.golden("input") }, (name) =>
    reference.weights.get(name),
  );
  const distances = lossDistances(reference.manifest.losses.ent.fp64, (part) => outputs.get(part)?.data[0]);
  expect(distances).toHaveLength(6);
  for (const { part, distance } of distances) expect(distance, part).toBeLessThan(1e-6);
}, 20_000);

describe("the entropy term", () => {
  const [rows, codes, width] = [6, 9, 4];
  const random = new Random(3);
  const numbers = (count: number) => Float64Array.from({ length: count }, () => random.normal());
  const feeds = {
    vectors: ndarray("f64", [rows, width], numbers(rows * width)),
    codebook: ndarray("f64", [codes, width], numbers(codes * width)),
  };

  /** The term over normalised rows, and its gradients. */
  function run(temperature: number, fed: Record<keyof typeof feeds, NDArray> = feeds) {
    const graph = new Graph();
    const raw = {
      vectors: graph.input("vectors", "f32", [rows, width]),
      codebook: graph.input("codebook", "f32", [codes, width]),
    };
    const [vectors, codebook] = [l2Normalize(raw.vectors), l2Normalize(raw.codebook)];
    const loss = entropyLoss({ vectors, codebook, codes: vectors }, { temperature });
    graph.output("loss", loss);
    const [dVectors, dCodebook] = gradients(loss, [raw.vectors, raw.codebook]);
    graph.output("vectors", dVectors!);
    graph.output("codebook", dCodebook!);
    return interpretGraph(graph, fed);
  }

  /** S - A from the distances themselves, as the reference has it. */
  function plain(temperature: number): number {
    const unit = ({ data }: { data: Float64Array }, i: number) => {
      const row = data.slice(i * width, (i + 1) * width);
      return row.map((value) => value / Math.hypot(...row));
    };
    const mean = new Float64Array(codes);
    let sampleEntropy = 0;
    for (let i = 0; i < rows; i++) {
      const z = unit(feeds.vectors, i);
      const affinities = Array.from({ length: codes }, (_, k) => {
        const e = unit(feeds.codebook, k);
        return -z.reduce((sum, value, j) => sum + (value - e[j]!) ** 2, 0) / temperature;
      });
      const total = affinities.reduce((sum, affinity) => sum + Math.exp(affinity), 0);
      affinities.forEach((affinity, k) => {
        const p = Math.exp(affinity) / total;
        sampleEntropy -= (p * Math.log(p)) / rows;
        mean[k]! += p / rows;
      });
    }
    return sampleEntropy + mean.reduce((sum, q) => sum + q * Math.log(q + 1e-5), 0);
  }

  test.each([0.05, 0.5, 3])("is its formula at temperature %d", (temperature) => {
    expect(run(temperature).get("loss")!.data[0]).toBeCloseTo(plain(temperature), 6);
  });

  test.each(["vectors", "codebook"] as const)("has the gradient in the %s that differences show", (name) => {
    const slopes = run(0.5).get(name)!.data;
    slopes.forEach((slope, i) => {
      const at = (step: number) => {
        const { shape, data } = feeds[name];
        const moved = { ...feeds, [name]: ndarray("f64", shape, data.with(i, data[i]! + step)) };
        return run(0.5, moved).get("loss")!.data[0]!;
      };
      expect((at(1e-5) - at(-1e-5)) / 2e-5, `element ${i}`).toBeCloseTo(slope, 6);
    });
  });
});

describe("the straight-through estimator", () => {
  const config = { type: "llamagen", ch: 32, chMult: [1], numResBlocks: 1, zChannels: 4, codebookSize: 5, embedDim: 3 };

  test("gives the vectors the gradient of their codes, and the codebook none", () => {
    const graph = new Graph();
    const z = graph.input("z", "f32", [1, 3, 2, 2]);
    const { quantized, vectors } = vq.quantizeForTraining(new Scope(graph), z, config as VqConfig);
    const loss = sumOf(mul(quantized, graph.input("slope", "f32", [1, 3, 2, 2])));
    graph.output("gradient", gradients(loss, [vectors])[0]!);
    const slope = Float64Array.from({ length: 12 }, (_, i) => i + 1);
    const feed = (data: Float64Array<ArrayBuffer>) => ndarray("f64", [1, 3, 2, 2], data);
    const codebook = ndarray(
      "f64",
      [5, 3],
      Float64Array.from({ length: 15 }, (_, i) => Math.cos(i)),
    );
    const outputs = interpretGraph(graph, { z: feed(slope.map(Math.sin)), slope: feed(slope) }, () => codebook);
    // (B, D, h, w) -> (B*h*w, D)
    expect(Array.from(outputs.get("gradient")!.data)).toEqual([1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12]);
    const parameter = graph.parameters.get("quantize.embedding.weight")!;
    expect(() => gradients(loss, [parameter])).toThrow("does not depend on");
  });

  test("shows the decoder the codes", async () => {
    const reference = await readVqGolden("vq8_small");
    const graph = new Graph();
    const z = graph.input("z", "f32", [2, 8, 4, 4]);
    const { quantized, ids } = vq.quantizeForTraining(new Scope(graph), z, reference.config);
    graph.output("quantized", quantized);
    graph.output("ids", ids);
    const outputs = interpretGraph(graph, { z: await reference.golden("quant_conv_out") }, (name) =>
      reference.weights.get(name),
    );
    const [expected, codes] = [await reference.golden("z_q"), await reference.golden("codes")];
    expect(maxDifference(outputs.get("quantized")!.data, expected.data as Float32Array)).toBeLessThan(1e-6);
    expect(Array.from(outputs.get("ids")!.data)).toEqual(Array.from(codes.data as Int32Array));
  });
});
