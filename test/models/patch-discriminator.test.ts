// PatchGAN against the reference: logits, gradients of the hinge losses, running statistics, evaluation.
import { afterAll, describe, expect, test } from "vitest";
import type { NDArray } from "../../src/core/index.ts";
import { Graph, gradients } from "../../src/graph/index.ts";
import { ADVERSARIAL_LOSSES } from "../../src/losses/index.ts";
import { initialPieces, PATCH_DISCRIMINATOR, patchDiscriminator, runningStatistics } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { goldenJson, goldenTensors, maxDifference } from "../goldens.ts";
import { relativeDistance } from "../gradient-summaries.ts";

const golden = await goldenTensors("ar/vq_gan.safetensors");
const real = await (await goldenTensors("ar/vq8_small.safetensors"))("input");
const fake = await golden("lpips.other");
const { tensors, disc_losses_fp64: lossesFp64 } = goldenJson("ar/vq_gan.json") as {
  tensors: Record<string, unknown>;
  disc_losses_fp64: { hinge: number };
};
const keysBelow = (prefix: string) =>
  Object.keys(tensors)
    .filter((key) => key.startsWith(prefix) && !key.endsWith("num_batches_tracked"))
    .map((key) => key.slice(prefix.length));

const initial = new Map<string, NDArray>();
for (const key of keysBelow("disc.init.")) initial.set(key, await golden(`disc.init.${key}`));
const config = { ...PATCH_DISCRIMINATOR, ndf: 8 };

/** The discriminator's and the generator's side of the hinge loss, real first, with all gradients. */
function traceTraining(): Graph {
  const graph = new Graph();
  const scope = new Scope(graph);
  const [left, right] = [graph.input("real", "f32", real.shape), graph.input("fake", "f32", fake.shape)];
  const judge = (pixels: typeof left) => patchDiscriminator(scope, pixels, config, { training: true });
  const [first, second] = [judge(left), judge(right)];
  const parameters = [...graph.parameters];
  graph.output("logits_real", first.logits);
  graph.output("logits_fake", second.logits);
  const { discriminator, generator } = ADVERSARIAL_LOSSES.hinge;
  const loss = discriminator(first.logits, second.logits);
  graph.output("loss", loss);
  const slopes = gradients(
    loss,
    parameters.map(([, tensor]) => tensor),
  );
  parameters.forEach(([name], i) => {
    graph.output(`grad.${name}`, slopes[i]!);
  });
  graph.output("grad.fake", gradients(generator(second.logits), [right])[0]!);
  for (const [name, value] of runningStatistics(scope, [first, second])) graph.output(`after.${name}`, value);
  return graph;
}

function traceEvaluation(): Graph {
  const graph = new Graph();
  const pixels = graph.input("real", "f32", ["B", 3, 32, 32]);
  graph.output("logits", patchDiscriminator(new Scope(graph), pixels, config, { training: false }).logits);
  return graph;
}

describe("PatchGAN equals the reference", async () => {
  const backend = createOrtBackend();
  afterAll(() => backend.dispose());
  const run = async (name: string, graph: Graph, feeds: Record<string, NDArray>, weights: Map<string, NDArray>) => {
    const weight = async (key: string) => ({ kind: "array" as const, value: weights.get(key)! });
    const session = await backend.compile({ name, graph, weight });
    return session.run(feeds);
  };
  const outputs = await run("discriminator", traceTraining(), { real, fake }, initial);

  test.each(["logits_real", "logits_fake"])("in %s", async (name) => {
    const expected = (await golden(`disc.${name}`)).data as Float32Array;
    expect(maxDifference(outputs[name]!.data as Float32Array, expected)).toBeLessThan(1e-5);
  });

  test("in the hinge loss", () => {
    expect(Math.abs((outputs.loss!.data[0] as number) / lossesFp64.hinge - 1)).toBeLessThan(1e-6);
  });

  test.each(keysBelow("disc.grad_hinge_d."))("in the gradient of %s", async (name) => {
    const expected = (await golden(`disc.grad_hinge_d.${name}`)).data as Float32Array;
    const gradient = outputs[`grad.${name}`]!.data as Float32Array;
    // The last bias moves real and fake logits alike: the two halves of its gradient cancel to nothing.
    if (name === "main.11.bias") expect(maxDifference(gradient, expected)).toBeLessThan(1e-6);
    else expect(relativeDistance(gradient, expected)).toBeLessThan(1e-5);
  });

  test("in the generator's gradient", async () => {
    const expected = (await golden("disc.grad_gen_wrt_fake")).data as Float32Array;
    expect(relativeDistance(outputs["grad.fake"]!.data as Float32Array, expected)).toBeLessThan(1e-5);
  });

  const statistics = keysBelow("disc.after_real_fake.");
  test.each(statistics)("in %s after both calls", async (name) => {
    const expected = (await golden(`disc.after_real_fake.${name}`)).data as Float32Array;
    expect(maxDifference(outputs[`after.${name}`]!.data as Float32Array, expected)).toBeLessThan(1e-6);
  });

  test("in evaluation with the statistics of training", async () => {
    const weights = new Map(initial);
    for (const name of statistics) weights.set(name, outputs[`after.${name}`]!);
    const { logits } = await run("evaluation", traceEvaluation(), { real }, weights);
    const expected = (await golden("disc.eval_logits_real")).data as Float32Array;
    expect(maxDifference(logits!.data as Float32Array, expected)).toBeLessThan(1e-5);
  });

  test("has the reference's parameters", () => {
    expect([...traceEvaluation().parameters.keys()].sort()).toEqual([...initial.keys()].sort());
  });
});

test("fewer layers see smaller patches", () => {
  const graph = new Graph();
  const pixels = graph.input("pixels", "f32", [1, 3, 32, 32]);
  const { logits } = patchDiscriminator(new Scope(graph), pixels, { ndf: 4, numLayers: 2 }, { training: true });
  expect(logits.shape).toEqual([1, 1, 6, 6]);
  expect([...graph.parameters.keys()]).toContain("main.8.bias");
});

test("pictures smaller than a patch are refused", () => {
  const graph = new Graph();
  const pixels = graph.input("pixels", "f32", [1, 3, 16, 16]);
  const judge = () => patchDiscriminator(new Scope(graph), pixels, config, { training: true });
  expect(judge).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
});

test("begins with small convolutions, scales about 1 and the statistics of nothing seen", () => {
  const moments = (name: string, shape: readonly number[]) => {
    const values = Array.from(initialPieces(`discriminator.${name}`, shape, 5)).flatMap((piece) => Array.from(piece));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
    return [mean, deviation];
  };
  const convolution = moments("main.8.weight", [64, 32, 4, 4]);
  expect(convolution).toEqual([expect.closeTo(0, 3), expect.closeTo(0.02, 3)]);
  expect(moments("main.9.weight", [512])).toEqual([expect.closeTo(1, 2), expect.closeTo(0.02, 2)]);
  expect(moments("main.9.running_mean", [64])).toEqual([0, 0]);
  expect(moments("main.9.running_var", [64])).toEqual([1, 0]);
});
