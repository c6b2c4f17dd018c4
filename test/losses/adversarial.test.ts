// The adversarial losses: LlamaGen's numbers over its discriminator's logits, and the adaptive weight on a small case.
import { describe, expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { conv2d, Graph, gradients, interpretGraph, square, type Tensor } from "../../src/graph/index.ts";
import { ADVERSARIAL_LOSSES, type AdversarialLoss, adaptiveWeight, meanOf } from "../../src/losses/index.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";

interface Manifest {
  readonly disc_losses_fp64: Record<"hinge" | "vanilla" | "non_saturating_upstream", number>;
  readonly gen_losses: Record<"hinge" | "non_saturating_upstream", number>;
}

const golden = await goldenTensors("ar/vq_gan.safetensors");
const manifest = goldenJson("ar/vq_gan.json") as Manifest;
const [real, fake] = [await golden("disc.logits_real"), await golden("disc.logits_fake")];

function lossesOf(name: AdversarialLoss, feeds: Record<"real" | "fake", NDArray> = { real, fake }) {
  const graph = new Graph();
  const [left, right] = [graph.input("real", "f32", feeds.real.shape), graph.input("fake", "f32", feeds.fake.shape)];
  const { generator, discriminator } = ADVERSARIAL_LOSSES[name];
  graph.output("generator", generator(right));
  graph.output("discriminator", discriminator(left, right));
  const outputs = interpretGraph(graph, feeds);
  return { generator: outputs.get("generator")!.data[0]!, discriminator: outputs.get("discriminator")!.data[0]! };
}

const relative = (value: number, expected: number) => Math.abs(value / expected - 1);
const mean = ({ data }: NDArray, f = (x: number) => x) =>
  Array.from(data as Float32Array, f).reduce((sum, value) => sum + value, 0) / data.length;

describe("equals the reference", () => {
  test.each(["hinge", "vanilla"] as const)("in the discriminator's %s loss", (name) => {
    expect(relative(lossesOf(name).discriminator, manifest.disc_losses_fp64[name])).toBeLessThan(1e-6);
  });

  test("in the generator's hinge loss", () => {
    expect(relative(lossesOf("hinge").generator, manifest.gen_losses.hinge)).toBeLessThan(1e-6);
  });
});

describe("the non-saturating loss", () => {
  const softplus = (x: number) => Math.log(1 + Math.exp(x));

  test("is Goodfellow's", () => {
    const { generator, discriminator } = lossesOf("non-saturating");
    expect(generator).toBeCloseTo(
      mean(fake, (x) => softplus(-x)),
      12,
    );
    expect(discriminator).toBeCloseTo((mean(real, (x) => softplus(-x)) + mean(fake, softplus)) / 2, 12);
  });

  test("departs from LlamaGen's, which takes the labels for logits and so is linear in the logits", () => {
    const upstream = {
      generator: softplus(1) - mean(fake),
      discriminator: (softplus(1) - mean(real) + softplus(0)) / 2,
    };
    expect(relative(upstream.generator, manifest.gen_losses.non_saturating_upstream)).toBeLessThan(1e-6);
    expect(relative(upstream.discriminator, manifest.disc_losses_fp64.non_saturating_upstream)).toBeLessThan(1e-6);
    const ours = lossesOf("non-saturating");
    expect(relative(ours.generator, upstream.generator)).toBeGreaterThan(0.1);
    expect(relative(ours.discriminator, upstream.discriminator)).toBeGreaterThan(0.1);
  });

  test("stays finite for logits that are very sure", () => {
    const sure = (value: number) => ndarray("f32", [2], Float32Array.of(value, value));
    const { generator, discriminator } = lossesOf("non-saturating", { real: sure(-1000), fake: sure(-1000) });
    expect(generator).toBe(1000);
    expect(discriminator).toBe(500);
  });
});

describe("the adaptive weight", () => {
  const shape = [1, 2, 3, 3];
  const pixels = ndarray(
    "f64",
    shape,
    Float64Array.from({ length: 18 }, (_, i) => Math.sin(i)),
  );
  const weight = ndarray("f64", [3, 2, 1, 1], Float64Array.of(0.3, -0.2, 0.5, 0.1, -0.4, 0.2));

  function trace(terms: (out: Tensor) => { nll: Tensor; generator: Tensor }) {
    const graph = new Graph();
    const last = graph.parameter("last", [3, 2, 1, 1]);
    const out = conv2d(graph.input("x", "f32", shape), last);
    const { nll, generator } = terms(out);
    const adaptive = adaptiveWeight(nll, generator, last);
    graph.output("weight", adaptive);
    for (const [name, loss] of Object.entries({ nll, generator })) {
      graph.output(name, gradients(loss, [last])[0]!);
    }
    return { graph, adaptive, last };
  }
  const run = (graph: Graph) => interpretGraph(graph, { x: pixels }, () => weight);

  test("is the ratio of the gradients' norms", () => {
    const { graph } = trace((out) => ({ nll: meanOf(square(out)), generator: meanOf(out) }));
    const outputs = run(graph);
    const norm = (name: string) => Math.hypot(...outputs.get(name)!.data);
    expect(outputs.get("weight")!.data[0]).toBeCloseTo(norm("nll") / (norm("generator") + 1e-4), 7);
  });

  test("is at most 10000", () => {
    const { graph } = trace((out) => ({
      nll: meanOf(square(square(square(square(square(out)))))),
      generator: meanOf(out),
    }));
    const huge = interpretGraph(
      graph,
      { x: { ...pixels, data: pixels.data.map((value) => value * 30) } as NDArray },
      () => weight,
    );
    expect(huge.get("weight")!.data[0]).toBe(1e4);
  });

  test("passes no gradient", () => {
    const { adaptive, last } = trace((out) => ({ nll: meanOf(square(out)), generator: meanOf(out) }));
    expect(() => gradients(adaptive, [last])).toThrow("does not depend on");
  });
});
