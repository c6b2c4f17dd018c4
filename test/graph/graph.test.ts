// Tracing, verifying, rewriting and simplifying graphs.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray, ToklipError } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { maxDifference } from "../goldens.ts";

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    return thrown instanceof ToklipError ? thrown.code : String(thrown);
  }
  return "nothing thrown";
}

describe("dimensions", () => {
  test("products of symbols have one form", () => {
    expect(g.dimProduct(["B", 4, 64])).toBe("256*B");
    expect(g.dimProduct(["T", "B", 2])).toBe(g.dimProduct([2, "B", "T"]));
    expect(g.dimProduct(["B", 0])).toBe(0);
  });
  test("a product bound is the product of what is bound", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom("B", "T", "3*B"))), (dims) => {
        const bindings = new Map([
          ["B", 5],
          ["T", 7],
        ]);
        const bound = g.bindShape(dims, bindings).reduce((product, dim) => product * dim, 1);
        expect(g.bindDim(g.dimProduct(dims), bindings)).toBe(bound);
      }),
    );
  });
});

describe("tracing", () => {
  test("shapes that do not fit are refused where they are written", () => {
    const graph = new g.Graph();
    const x = graph.input("x", "f32", ["B", 3]);
    const y = graph.input("y", "f32", ["B", 4]);
    expect(() => g.add(x, y)).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: shapes (B, 3) and (B, 4) do not broadcast [SHAPE_MISMATCH]]",
    );
    expect(() => g.matmul(x, y)).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: matmul: (B, 3) does not multiply (B, 4) [SHAPE_MISMATCH]]",
    );
    expect(() => g.reshape(x, ["B", 4])).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: reshape: (B, 3) has not the size of (B, 4) [SHAPE_MISMATCH]]",
    );
    expect(codeOf(() => g.add(x, graph.input("i", "i32", ["B", 3])))).toBe("DTYPE_MISMATCH");
    expect(codeOf(() => graph.input("x", "f32", [1]))).toBe("GRAPH_INVALID");
    expect(codeOf(() => g.add(x, new g.Graph().input("x", "f32", ["B", 3])))).toBe("GRAPH_INVALID");
  });
  test("a parameter named twice is one tensor, and its shapes must agree", () => {
    const graph = new g.Graph();
    expect(graph.parameter("w", [2, 3])).toBe(graph.parameter("w", [2, 3]));
    expect(codeOf(() => graph.parameter("w", [3, 2]))).toBe("GRAPH_INVALID");
  });
  test("feeding another shape than declared is refused", () => {
    const graph = new g.Graph();
    graph.output("y", g.neg(graph.input("x", "f32", ["B", 3])));
    const wrong = () => g.interpretGraph(graph, { x: ndarray("f32", [2, 4]) });
    expect(wrong).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: input x: expected (B, 3), got (2, 4) [SHAPE_MISMATCH]]",
    );
  });
});

describe("the verifier", () => {
  test("names the node whose declared type is wrong", () => {
    const graph = new g.Graph();
    const y = g.neg(graph.input("x", "f32", ["B", 3]));
    graph.output("y", y);
    (y as { shape: unknown }).shape = ["B", 4];
    expect(() => g.verifyGraph(graph)).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: node 1 (neg): is declared f32 (B, 4) but is f32 (B, 3) [GRAPH_INVALID]]",
    );
  });
  test("refuses nodes out of order and graphs without outputs", () => {
    const graph = new g.Graph();
    g.neg(graph.input("x", "f32", [1]));
    expect(codeOf(() => g.verifyGraph(graph))).toBe("GRAPH_INVALID");
    graph.output("y", graph.nodes[1]!.outputs[0]!);
    g.verifyGraph(graph);
    graph.nodes.reverse();
    expect(codeOf(() => g.verifyGraph(graph))).toBe("GRAPH_INVALID");
  });
});

describe("the simplifier", () => {
  function trace(): g.Graph {
    const graph = new g.Graph();
    const x = graph.input("x", "f32", ["B", 2, 3]);
    const twice = g.transpose(g.transpose(x, [0, 2, 1]), [0, 2, 1]);
    const a = g.mul(g.reshape(g.reshape(twice, ["B", 6]), ["B", 3, 2]), 2);
    const b = g.mul(g.reshape(x, ["B", 3, 2]), 2);
    g.exp(a);
    graph.output("y", g.add(a, b));
    graph.output("z", g.transpose(g.transpose(x, [2, 0, 1]), [2, 1, 0]));
    return graph;
  }
  test("drops dead nodes, merges equal ones, removes moves that do nothing", () => {
    const ops = g.simplifyGraph(trace()).nodes.flatMap((node) => (node.kind === "op" ? [node.op] : []));
    expect(ops.toSorted()).toEqual(["add", "mul", "reshape", "transpose"]);
  });
  test("changes no result", () => {
    const x = ndarray(
      "f32",
      [2, 2, 3],
      Float32Array.from({ length: 12 }, (_, i) => i / 7),
    );
    const [plain, simple] = [trace(), g.simplifyGraph(trace())].map((graph) => g.interpretGraph(graph, { x }));
    for (const name of ["y", "z"]) {
      expect(simple!.get(name)!.shape).toEqual(plain!.get(name)!.shape);
      expect(maxDifference(simple!.get(name)!.data, plain!.get(name)!.data)).toBe(0);
    }
  });
  test("keeps inputs that nothing uses, so that callers feed the same", () => {
    const graph = new g.Graph();
    graph.input("unused", "f32", ["B"]);
    graph.output("y", g.neg(graph.input("x", "f32", ["B"])));
    expect([...g.simplifyGraph(graph).inputs.keys()]).toEqual(["unused", "x"]);
  });
});
