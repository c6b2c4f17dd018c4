// Gradients of convolutions in groups, depthwise ones among them: against those of each group by itself, in float64.
import { describe, expect, test } from "vitest";
import { type NDArray, Random } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { maxDifference } from "../goldens.ts";
import { randomArray } from "./op-cases.ts";

interface Shape {
  readonly groups: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly stride: [number, number];
  readonly pads: [number, number, number, number];
  readonly dilations: [number, number];
}

/** One convolution, or one for each group with the results joined. */
function convolve(x: g.Tensor, weight: g.Tensor, options: Shape, apart: boolean): g.Tensor {
  const { groups, inputs, outputs } = options;
  if (!apart) return g.conv2d(x, weight, undefined, options);
  const split = (t: g.Tensor, axis: number, size: number) => g.split(t, axis, new Array(groups).fill(size / groups));
  const weights = split(weight, 0, outputs);
  const each = split(x, 1, inputs).map((t, i) => g.conv2d(t, weights[i]!, undefined, { ...options, groups: 1 }));
  return g.concat(each, 1);
}

function gradientsOf(options: Shape, sizes: readonly [number, number], feeds: Record<string, NDArray>, apart: boolean) {
  const graph = new g.Graph();
  const x = graph.input("x", "f32", ["B", options.inputs, ...sizes]);
  const weight = graph.input("w", "f32", [options.outputs, options.inputs / options.groups, ...options.kernel]);
  const y = convolve(x, weight, options, apart);
  const loss = g.reduceSum(g.mul(g.square(y), g.sigmoid(y)), [0, 1, 2, 3]);
  const [dx, dw] = g.gradients(loss, [x, weight]);
  graph.output("dx", dx!);
  graph.output("dw", dw!);
  return { graph, outputs: g.interpretGraph(graph, feeds) };
}

describe("gradients of convolutions in groups", () => {
  const base = { kernel: [3, 3], stride: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1] } as const;
  const cases: Record<string, Partial<Shape> & Pick<Shape, "groups" | "inputs" | "outputs">> = {
    depthwise: { groups: 4, inputs: 4, outputs: 4 },
    "depthwise, two outputs a channel": { groups: 3, inputs: 3, outputs: 6 },
    "depthwise, stride 2": { groups: 4, inputs: 4, outputs: 4, stride: [2, 2] },
    "depthwise, one stride and a wide kernel": { groups: 3, inputs: 3, outputs: 3, stride: [1, 3], kernel: [1, 5] },
    "depthwise, dilated": { groups: 4, inputs: 4, outputs: 4, dilations: [2, 1], pads: [2, 1, 0, 0] },
    "in two groups": { groups: 2, inputs: 4, outputs: 6 },
    "in two groups, stride 2": { groups: 2, inputs: 4, outputs: 6, stride: [2, 2], pads: [0, 1, 1, 0] },
    "in groups, padding beyond the kernel": { groups: 2, inputs: 2, outputs: 2, kernel: [1, 2], pads: [1, 2, 0, 3] },
  };

  test.each(Object.entries(cases))("%s", (_, given) => {
    const options = { ...base, ...given } as Shape;
    for (const [seed, sizes] of (
      [
        [7, 6],
        [8, 9],
      ] as const
    ).entries()) {
      const random = new Random(seed + 1);
      const feeds = {
        x: randomArray(random, "f32", [2, options.inputs, ...sizes]),
        w: randomArray(random, "f32", [options.outputs, options.inputs / options.groups, ...options.kernel]),
      };
      const expected = gradientsOf(options, sizes, feeds, true).outputs;
      const { outputs } = gradientsOf(options, sizes, feeds, false);
      for (const name of ["dx", "dw"]) {
        const wanted = expected.get(name)!;
        expect(outputs.get(name)!.shape, name).toEqual(wanted.shape);
        const largest = wanted.data.reduce((max, value) => Math.max(max, Math.abs(value)), 1);
        expect(maxDifference(outputs.get(name)!.data, wanted.data) / largest, name).toBeLessThan(1e-12);
      }
    }
  });

  test("a depthwise convolution of many channels makes no node for each", () => {
    const options = { ...base, groups: 256, inputs: 256, outputs: 256 } as unknown as Shape;
    const feeds = {
      x: randomArray(new Random(1), "f32", [1, 256, 3, 3]),
      w: randomArray(new Random(2), "f32", [256, 1, 3, 3]),
    };
    expect(gradientsOf(options, [3, 3], feeds, false).graph.nodes.length).toBeLessThan(128);
  });
});
