// What our own writer writes, read back and imported, computes the same in the float64 interpreter.
import { describe, expect, test } from "vitest";
import { type DType, type NDArray, ndarray, Random } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { parseConfig, traceGraph, vqOf } from "../../src/models/index.ts";
import * as vq from "../../src/models/vq.ts";
import { Scope } from "../../src/nn/index.ts";
import { importOnnx, lowerGraph, onnxWeights, readOnnx, writeOnnx } from "../../src/onnx/index.ts";
import { goldenJson, maxDifference } from "../goldens.ts";
import { CASES, randomArray } from "../graph/op-cases.ts";

/** A graph that applies what the ONNX form of another graph holds. */
function throughOnnx(
  graph: g.Graph,
  weights: ReadonlyMap<string, NDArray>,
): { graph: g.Graph; weights: (name: string) => NDArray | undefined } {
  const simple = g.simplifyGraph(graph);
  const lowered = lowerGraph(simple, "trip", (name) => ({ kind: "embedded", value: weights.get(name)! }));
  const bytes = writeOnnx(lowered);
  const model = readOnnx(bytes);
  expect(Buffer.compare(writeOnnx(model), bytes), "written again").toBe(0);
  const back = new g.Graph();
  const inputs = [...simple.inputs].map(([name, { dtype, shape }]) => [name, back.input(name, dtype, shape)] as const);
  const { outputs } = importOnnx(model, Object.fromEntries(inputs), { prefix: "p." });
  for (const [name, tensor] of Object.entries(outputs)) back.output(name, tensor);
  g.verifyGraph(back);
  return { graph: back, weights: onnxWeights(model, { prefix: "p." }) };
}

function expectEqual(actual: Map<string, g.Value>, expected: Map<string, g.Value>, tolerance = 1e-6): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, value] of expected) {
    expect(actual.get(name)!.shape, name).toEqual(value.shape);
    const largest = value.data.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
    expect(maxDifference(actual.get(name)!.data, value.data) / largest, name).toBeLessThan(tolerance);
  }
}

/** Rows whose ONNX form the importer does not take: those of gradients, of quantised weights and of the order of a run. */
const NOT_IMPORTED = [
  "after",
  "convTranspose2d",
  "linearBlock8",
  "linearRow8",
  "maxPool2dGradient",
  "maxPool2x2Gradient",
  "scatterRows",
];

describe("each row of the op table comes back from its ONNX form", () => {
  test.each(g.opNames())("%s", (name) => {
    for (let seed = 0; seed < 4; seed++) {
      const random = new Random(seed + 1);
      const { shapes, operands = [], build } = CASES[name](random);
      const graph = new g.Graph();
      const bindings = new Map([["B", 2]]);
      const feeds: Record<string, NDArray> = {};
      const inputs = shapes.map((shape, i) => {
        const { dtype = "f32" as DType, low, high } = operands[i] ?? {};
        feeds[`x${i}`] = randomArray(random, dtype, g.bindShape(shape, bindings), low, high);
        return graph.input(`x${i}`, dtype, shape);
      });
      const built = build(...inputs);
      for (const [i, result] of ("graph" in built ? [built] : built).entries()) graph.output(`y${i}`, result);
      if (NOT_IMPORTED.includes(name)) {
        expect(() => throughOnnx(graph, new Map())).toThrow(expect.objectContaining({ code: "OP_UNSUPPORTED" }));
      } else {
        const back = throughOnnx(graph, new Map());
        expectEqual(g.interpretGraph(back.graph, feeds, back.weights), g.interpretGraph(graph, feeds));
      }
    }
  });
});

describe("each part of the tiny model comes back from its ONNX form", () => {
  const config = parseConfig(goldenJson("tiny/tiny.json"), "tiny");
  const parts: Record<string, () => g.Graph> = {
    // Pictures of fewer pixels than the model's: the interpreter is slow.
    "VQ encoder": () => {
      const graph = new g.Graph();
      const pixels = graph.input("pixels", "f32", ["B", 3, 32, 16]);
      graph.output("vectors", vq.encodeVectors(new Scope(graph), pixels, vqOf(config)));
      graph.output("ids", vq.encodeIds(new Scope(graph), pixels, vqOf(config)));
      return graph;
    },
    "VQ decoder": () => {
      const graph = new g.Graph();
      graph.output("pixels", vq.decodeIds(new Scope(graph), graph.input("ids", "i32", ["B", 1, 1]), vqOf(config)));
      return graph;
    },
    "token encoder": () => traceGraph("token_encoder", config),
    "text encoder": () => traceGraph("text_encoder", config),
  };

  test.each(Object.entries(parts))("%s", (_, trace) => {
    const random = new Random(3);
    const graph = trace();
    const weights = new Map(
      [...graph.parameters].map(([key, { shape }]) => [key, randomArray(random, "f32", shape as number[], -0.3, 0.3)]),
    );
    const back = throughOnnx(graph, weights);
    const feeds: Record<string, NDArray> = {};
    for (const [key, { dtype, shape }] of graph.inputs) {
      feeds[key] = randomArray(random, dtype, g.bindShape(shape, new Map([["B", 1]])), 0, dtype === "f32" ? 1 : 30);
    }
    expectEqual(
      g.interpretGraph(back.graph, feeds, back.weights),
      g.interpretGraph(graph, feeds, (key) => weights.get(key)),
    );
  });
});

test("half and double precision weights are given as f32", () => {
  const graph = new g.Graph();
  const x = graph.input("x", "f32", [2, 2]);
  graph.output("y", g.add(g.matmul(x, graph.parameter("half", [2, 2])), graph.parameter("double", [2])));
  const weights = new Map<string, NDArray>([
    ["half", ndarray("f16", [2, 2], Uint16Array.of(0x3c00, 0, 0x4000, 0xbc00))],
    ["double", ndarray("f64", [2], Float64Array.of(0.25, -8))],
  ]);
  const lowered = lowerGraph(graph, "mixed", (name) => ({ kind: "embedded", value: weights.get(name)! }));
  const model = readOnnx(writeOnnx(lowered));
  const values = onnxWeights(model);
  expect(values("half")).toEqual(ndarray("f32", [2, 2], Float32Array.of(1, 0, 2, -1)));
  expect(values("double")).toEqual(ndarray("f32", [2], Float32Array.of(0.25, -8)));
  expect(values("neither")).toBeUndefined();
});
