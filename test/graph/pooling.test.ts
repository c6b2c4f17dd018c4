// 2x2 pooling: which element is taken, and where its gradient goes, in the interpreter.
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph, maxPool2x2, reduceSum, square } from "../../src/graph/index.ts";

describe("2x2 pooling", () => {
  function run(shape: number[], values: number[]) {
    const graph = new Graph();
    const x = graph.input("x", "f32", shape);
    const pooled = maxPool2x2(x);
    graph.output("pooled", pooled);
    graph.output("gradient", gradients(reduceSum(square(pooled), [0, 1, 2, 3]), [x])[0]!);
    const outputs = interpretGraph(graph, { x: ndarray("f64", shape, Float64Array.from(values)) });
    return [Array.from(outputs.get("pooled")!.data), Array.from(outputs.get("gradient")!.data)];
  }

  test("takes the largest of each window, and the gradient goes there", () => {
    // biome-ignore format: pictures
    expect(run([1, 1, 4, 4], [
      1, 2,  0, -1,
      3, 0, -2, -3,
      5, 1,  7,  8,
      1, 1,  9,  2,
    ])).toEqual([[3, 0, 5, 9], [
      0, 0,  0, 0,
      6, 0,  0, 0,
      10, 0, 0, 0,
      0, 0, 18, 0,
    ]]);
  });

  test("gives the gradient of equal elements to the first in reading order", () => {
    expect(run([1, 1, 2, 2], [4, 4, 4, 4])).toEqual([[4], [8, 0, 0, 0]]);
    expect(run([1, 1, 2, 2], [1, 4, 4, 4])).toEqual([[4], [0, 8, 0, 0]]);
    expect(run([1, 1, 2, 2], [1, 1, 4, 4])).toEqual([[4], [0, 0, 8, 0]]);
  });

  test("leaves out an odd last row and column", () => {
    expect(run([1, 1, 3, 3], [1, 2, 9, 3, 4, 9, 9, 9, 9])).toEqual([[4], [0, 0, 0, 0, 8, 0, 0, 0, 0]]);
  });

  test("refuses pictures that no window fits into", () => {
    const graph = new Graph();
    const x = graph.input("x", "f32", [1, 1, 1, 4]);
    expect(() => maxPool2x2(x)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  });
});
