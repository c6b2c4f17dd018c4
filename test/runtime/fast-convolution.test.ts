// Convolutions in fewer multiplications: the same numbers as the plain ones, and the same ids.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import { conv2d, Graph, interpretGraph, simplifyGraph, upsampleNearest, verifyGraph } from "../../src/graph/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { accelerateConvolutions, type Program } from "../../src/runtime/index.ts";
import { maxDifference } from "../goldens.ts";

interface Layer {
  readonly channels: number;
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  readonly doubled: boolean;
  readonly bias: boolean;
}

function layerProgram({
  channels,
  outChannels,
  height,
  width,
  doubled,
  bias,
}: Layer): Program & { weights: Map<string, NDArray> } {
  const graph = new Graph();
  const x = graph.input("x", "f32", ["B", channels, height, width]);
  const weight = graph.parameter("conv.weight", [outChannels, channels, 3, 3]);
  const shift = bias ? graph.parameter("conv.bias", [outChannels]) : undefined;
  graph.output("y", conv2d(doubled ? upsampleNearest(x) : x, weight, shift, { pads: [1, 1, 1, 1] }));
  const random = new Random(channels * height + width);
  const fill = (size: number, scale: number) => Float32Array.from({ length: size }, () => random.normal() * scale);
  const weights = new Map<string, NDArray>([
    [
      "conv.weight",
      ndarray("f32", [outChannels, channels, 3, 3], fill(outChannels * channels * 9, Math.sqrt(2 / (9 * channels)))),
    ],
    ["conv.bias", ndarray("f32", [outChannels], fill(outChannels, 0.1))],
  ]);
  return { name: "layer", graph, weights, weight: async (name) => ({ kind: "array", value: weights.get(name)! }) };
}

const LAYERS: Layer[] = [
  { channels: 32, outChannels: 32, height: 8, width: 8, doubled: false, bias: true },
  { channels: 32, outChannels: 64, height: 4, width: 12, doubled: false, bias: false },
  { channels: 64, outChannels: 32, height: 12, width: 5, doubled: false, bias: true },
  { channels: 32, outChannels: 32, height: 128, width: 4, doubled: false, bias: true },
  { channels: 32, outChannels: 32, height: 6, width: 8, doubled: true, bias: true },
  { channels: 32, outChannels: 48, height: 64, width: 4, doubled: true, bias: false },
];

describe("a fast convolution", () => {
  const backend = createOrtBackend();
  afterAll(() => backend.dispose());

  test.each(LAYERS)(
    "of $channels -> $outChannels at $height x $width, doubled $doubled, rounds like a plain one",
    async (layer) => {
      const plain = layerProgram(layer);
      const fast = accelerateConvolutions(plain, async (name) => plain.weights.get(name)!);
      verifyGraph(fast.graph);
      expect(simplifyGraph(fast.graph).parameters.has("conv.weight")).toBe(false);
      const random = new Random(7);
      const size = 2 * layer.channels * layer.height * layer.width;
      const x = ndarray(
        "f32",
        [2, layer.channels, layer.height, layer.width],
        Float32Array.from({ length: size }, () => random.normal()),
      );
      const exact = interpretGraph(plain.graph, { x }, (name) => plain.weights.get(name)).get("y")!;
      const largest = exact.data.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const errors = [];
      for (const program of [plain, fast]) {
        const session = await backend.compile(program);
        const { y } = await session.run({ x });
        expect(y!.shape).toEqual(exact.shape);
        errors.push(maxDifference(y!.data as Float32Array, exact.data) / largest);
        await session.dispose();
      }
      expect(errors[0]).toBeLessThan(5e-7);
      expect(errors[1]).toBeLessThan(1e-6);
    },
  );

  test("leaves alone what it does not fit: strides, few channels, odd heights, other kernels", () => {
    const graph = new Graph();
    const x = graph.input("x", "f32", ["B", 32, 6, 8]);
    const few = graph.input("few", "f32", ["B", 3, 8, 8]);
    const w = (name: string, shape: number[]) => graph.parameter(name, shape);
    graph.output("odd", conv2d(x, w("a", [32, 32, 3, 3]), undefined, { pads: [1, 1, 1, 1] }));
    graph.output("few", conv2d(few, w("b", [32, 3, 3, 3]), undefined, { pads: [1, 1, 1, 1] }));
    graph.output("strided", conv2d(x, w("c", [32, 32, 3, 3]), undefined, { stride: [2, 2], pads: [1, 1, 1, 1] }));
    graph.output("pointwise", conv2d(x, w("d", [32, 32, 1, 1])));
    const program = { name: "others", graph, weight: () => Promise.reject(new Error("not read")) };
    const { graph: after } = accelerateConvolutions(program, () => Promise.reject(new Error("not read")));
    expect([...after.parameters.keys()]).toEqual(["a", "b", "c", "d"]);
    expect(after.nodes.length).toBe(graph.nodes.length);
  });
});
