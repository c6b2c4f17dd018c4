// Every row of the op table: ONNX Runtime against the float64 interpreter, on random shapes with a symbolic batch.
import { afterAll, describe, expect, test } from "vitest";
import { type DType, type NDArray, Random } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { maxDifference } from "../goldens.ts";
import { CASES, randomArray } from "./op-cases.ts";

describe("each op computes the same on ONNX Runtime and in float64", () => {
  const backend = createOrtBackend({ threads: 1 });
  afterAll(() => backend.dispose());

  test.each(g.opNames())("%s", async (name) => {
    for (let seed = 0; seed < 6; seed++) {
      const random = new Random(seed + 1);
      const { shapes, operands = [], build, tolerance = 2e-6 } = CASES[name](random);
      const graph = new g.Graph();
      const bindings = new Map([["B", 1 + random.integer(3)]]);
      const feeds: Record<string, NDArray> = {};
      const weights: Record<string, NDArray> = {};
      const inputs = shapes.map((shape, i) => {
        const { dtype = "f32" as DType, low, high } = operands[i] ?? {};
        const array = randomArray(random, dtype, g.bindShape(shape, bindings), low, high);
        // 8-bit operands are weights: their kernels want them at load time.
        if (dtype === "u8" || dtype === "i8" || (name.startsWith("linear") && i > 0)) {
          weights[`x${i}`] = array;
          return graph.parameter(`x${i}`, array.shape, dtype);
        }
        feeds[`x${i}`] = array;
        return graph.input(`x${i}`, dtype, shape);
      });
      const built = build(...inputs);
      const results = "graph" in built ? [built] : built;
      for (const [i, result] of results.entries()) graph.output(`y${i}`, result);
      g.verifyGraph(graph);
      const expected = g.interpretGraph(graph, feeds, (key) => weights[key]);
      const session = await backend.compile({
        name,
        graph,
        weight: async (key) => ({ kind: "array", value: weights[key]! }),
      });
      const outputs = await session.run(feeds);
      await session.dispose();
      for (const [key, value] of expected) {
        const got = outputs[key]!;
        expect(got.shape, `${name} ${key} seed ${seed}`).toEqual(value.shape);
        const largest = value.data.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
        const difference = maxDifference(got.data as Float32Array, value.data);
        expect(difference / largest, `${name} ${key} seed ${seed}`).toBeLessThanOrEqual(tolerance);
      }
    }
  });
});
