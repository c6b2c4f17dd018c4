// LPIPS against the reference: value and gradient; the distance on another network.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph, slice } from "../../src/graph/index.ts";
import { meanOf } from "../../src/losses/index.ts";
import { lpips, perceptualDistance } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { goldenTensors } from "../goldens.ts";
import { relativeDistance } from "../gradient-summaries.ts";
import { lpipsWeights } from "../lpips-weights.ts";

describe("LPIPS equals the reference", async () => {
  const golden = await goldenTensors("ar/vq_gan.safetensors");
  const pixels = await (await goldenTensors("ar/vq8_small.safetensors"))("input");
  const other = await golden("lpips.other");
  const weights = lpipsWeights();
  const backend = createOrtBackend();
  afterAll(() => backend.dispose());

  const graph = new Graph();
  const moved = graph.input("other", "f32", other.shape);
  const distance = lpips(new Scope(graph), graph.input("pixels", "f32", pixels.shape), moved);
  graph.output("value", distance);
  graph.output("gradient", gradients(meanOf(distance), [moved])[0]!);
  const weight = async (name: string) => ({ kind: "array" as const, value: weights.get(name)! });
  const session = await backend.compile({ name: "lpips", graph, weight });
  const outputs = await session.run({ pixels, other });

  test("in its value", async () => {
    const expected = (await golden("lpips.value")).data as Float32Array;
    outputs.value!.data.forEach((value, i) => {
      expect(Math.abs((value as number) / expected[i]! - 1)).toBeLessThan(1e-6);
    });
  });

  test("in its gradient", async () => {
    const expected = (await golden("lpips.grad_other")).data as Float32Array;
    expect(relativeDistance(outputs.gradient!.data as Float32Array, expected)).toBeLessThan(1e-5);
  });

  test("in its parameters", () => {
    expect([...graph.parameters.keys()].sort()).toEqual([...weights.keys()].sort());
  });

  test("and is 0 between a picture and itself, with a gradient of 0", async () => {
    const same = await session.run({ pixels, other: pixels });
    expect(same.value!.data.every((value) => value === 0)).toBe(true);
    expect(same.gradient!.data.every((value) => value === 0)).toBe(true);
  });
});

test("LPIPS refuses pictures that its five levels cannot halve", () => {
  const graph = new Graph();
  const pixels = graph.input("pixels", "f32", [1, 3, 8, 8]);
  expect(() => lpips(new Scope(graph), pixels, pixels)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
});

describe("the distance on any network", () => {
  const shape = [1, 3, 1, 2];
  const run = (weights?: readonly number[]) => {
    const graph = new Graph();
    const [a, b] = [graph.input("a", "f32", shape), graph.input("b", "f32", shape)];
    const given = weights && [graph.constant(ndarray("f32", [1, 3, 1, 1], Float32Array.from(weights)))];
    // A network of one map, its own input, and of a part of it.
    graph.output(
      "all",
      perceptualDistance((x) => [x], a, b, given),
    );
    graph.output(
      "both",
      perceptualDistance((x) => [x, slice(x, 3, 0, 1)], a, b, given && [given[0]!, given[0]!]),
    );
    const feed = (values: number[]): NDArray => ndarray("f64", shape, Float64Array.from(values));
    const outputs = interpretGraph(graph, { a: feed([3, 0, 4, 0, 0, 2]), b: feed([1, 0, 0, 5, 0, 0]) });
    return [outputs.get("all")!.data[0]!, outputs.get("both")!.data[0]!];
  };

  test("compares unit vectors at each place, averages places and adds maps", () => {
    // Places: (.6, .8, 0) against (1, 0, 0), and (0, 0, 1) against (0, 1, 0).
    const places = [0.4 ** 2 + 0.8 ** 2, 2];
    const all = (places[0]! + places[1]!) / 2;
    const [found, both] = run();
    expect(found).toBeCloseTo(all, 8);
    expect(both).toBeCloseTo(all + places[0]!, 8);
  });

  test("weighs channels where it is told to", () => {
    const places = [0.4 ** 2 + 3 * 0.8 ** 2, 3 + 2];
    expect(run([1, 3, 2])[0]).toBeCloseTo((places[0]! + places[1]!) / 2, 6);
  });
});
