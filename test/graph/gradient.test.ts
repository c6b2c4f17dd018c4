// The gradient column of the op table against finite differences in float64, and what `gradients` does around it.
import { describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { CASES, randomArray } from "./op-cases.ts";

const WITHOUT_RULE = [
  "argmax",
  "equal",
  "less",
  "linearBlock8",
  "linearRow8",
  "maxPool2dGradient",
  "maxPool2x2Gradient",
  "reduceMax",
];
/** Ops with a rule that says that nothing flows. */
const FLAT = ["sign", "stopGradient", "cast"];

type Arrays = Record<string, NDArray>;

const f64 = ({ shape, data }: NDArray): NDArray => ndarray("f64", shape, Float64Array.from(data as Float32Array));

function moved(arrays: Arrays, directions: ReadonlyMap<string, Float64Array>, by: number): Arrays {
  const step = (name: string, array: NDArray) => {
    const direction = directions.get(name);
    if (direction === undefined) return array;
    return ndarray(
      "f64",
      array.shape,
      (array.data as Float64Array).map((x, i) => x + by * direction[i]!),
    );
  };
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, step(name, array)]));
}

/** The directional derivative of a graph's `loss` by finite differences, and by its gradients `d.<name>`. */
function derivatives(graph: g.Graph, feeds: Arrays, wrt: readonly string[], random: Random) {
  const directions = new Map(
    wrt.map((name) => [name, Float64Array.from({ length: sizeOf(feeds[name]!.shape) }, () => random.normal())]),
  );
  const h = 1e-5;
  const loss = (arrays: Arrays) => g.interpretGraph(graph, arrays).get("loss")!.data[0]!;
  const differences = (loss(moved(feeds, directions, h)) - loss(moved(feeds, directions, -h))) / (2 * h);
  const values = g.interpretGraph(graph, feeds);
  let along = 0;
  for (const [name, direction] of directions) {
    const gradient = values.get(`d.${name}`)!.data;
    along += direction.reduce((sum, x, i) => sum + x * gradient[i]!, 0);
  }
  return { differences, along };
}

/** A loss that weighs every element of some results, with weights that are fed as `w0`, `w1`, ... */
function weightedSum(results: readonly g.Tensor[]): g.Tensor {
  const sums = results.map((result, i) => {
    const weights = result.graph.input(`w${i}`, "f32", result.shape);
    const axes = result.shape.map((_, axis) => axis);
    return g.reshape(g.reduceSum(g.mul(result, weights), axes), []);
  });
  return sums.reduce(g.add);
}

describe("each gradient rule agrees with finite differences", () => {
  const names = g.opNames().filter((name) => !WITHOUT_RULE.includes(name) && !FLAT.includes(name));

  test.each(names)("%s", (name) => {
    for (let seed = 0; seed < 12; seed++) {
      const random = new Random(seed + 1);
      const { shapes, operands = [], build, differentiable } = CASES[name](random);
      const graph = new g.Graph();
      const bindings = new Map([["B", 1 + random.integer(3)]]);
      const feeds: Arrays = {};
      const inputs = shapes.map((shape, i) => {
        const { dtype = "f32" as const, low, high } = operands[i] ?? {};
        const array = randomArray(random, dtype, g.bindShape(shape, bindings), low, high);
        feeds[`x${i}`] = dtype === "f32" ? f64(array) : array;
        return graph.input(`x${i}`, dtype, shape);
      });
      const built = build(...inputs);
      const all = "graph" in built ? [built] : built;
      const results = seed % 3 === 2 ? all.slice(0, 1) : all; // some results may be of no use
      const loss = weightedSum(results);
      for (const [i, { shape }] of results.entries()) {
        feeds[`w${i}`] = f64(randomArray(random, "f32", g.bindShape(shape, bindings)));
      }
      graph.output("loss", loss);
      const wrt = inputs.filter(({ dtype }, i) => dtype === "f32" && (differentiable?.includes(i) ?? true));
      const found = g.gradients(loss, wrt);
      const wanted = wrt.map(({ node }) => (node as { name: string }).name);
      for (const [i, gradient] of found.entries()) graph.output(`d.${wanted[i]}`, gradient);
      const simple = g.simplifyGraph(graph);
      g.verifyGraph(simple);
      const { differences, along } = derivatives(simple, feeds, wanted, random);
      const size = Math.max(1, Math.abs(along));
      expect(Math.abs(differences - along) / size, `${name} seed ${seed}: ${differences} and ${along}`).toBeLessThan(
        2e-7,
      );
    }
  });
});

describe("gradients", () => {
  const scalar = (x: g.Tensor) => g.reshape(g.reduceSum(x, [0]), []);

  test("a table row without a rule is named when a gradient would pass through it", () => {
    for (const name of WITHOUT_RULE) expect(g.opRow(name as g.OpName).gradient, name).toBeUndefined();
    const graph = new g.Graph();
    const x = graph.input("x", "f32", [3]);
    const loss = scalar(g.reduceMax(g.mul(x, 2), [0]));
    expect(() => g.gradients(loss, [x])).toThrow("gradient: op reduceMax has no rule [OP_UNSUPPORTED]");
  });

  test("a parameter that the loss does not depend on is named", () => {
    const graph = new g.Graph();
    const x = graph.parameter("a.weight", [3]);
    const unused = graph.parameter("b.weight", [3]);
    const message = "gradients: the loss does not depend on parameter b.weight [GRAPH_INVALID]";
    expect(() => g.gradients(scalar(x), [x, unused])).toThrow(message);
    expect(() => g.gradients(scalar(g.mul(x, g.stopGradient(unused))), [unused])).toThrow(message);
  });

  test("a loss is one number", () => {
    const graph = new g.Graph();
    const x = graph.parameter("x", [3]);
    expect(() => g.gradients(x, [x])).toThrow("gradients: a loss is one number, got (3) [GRAPH_INVALID]");
  });

  test("nothing flows through stopGradient, and straightThrough goes around what it stands for", () => {
    const graph = new g.Graph();
    const x = graph.parameter("x", [3]);
    const rounded = g.cast(g.cast(g.mul(x, 10), "i32"), "f32");
    const loss = scalar(g.mul(g.straightThrough(rounded, x), g.stopGradient(g.mul(x, 2))));
    graph.output("value", g.straightThrough(rounded, x));
    graph.output("dx", g.gradients(loss, [x])[0]!);
    const values = g.interpretGraph(graph, {}, () => ndarray("f64", [3], Float64Array.of(0.25, -0.5, 1)));
    expect([...values.get("value")!.data]).toEqual([2, -5, 10]);
    expect([...values.get("dx")!.data]).toEqual([0.5, -1, 2]);
  });

  test("a norm of zero has the gradient zero", () => {
    const graph = new g.Graph();
    const x = graph.parameter("x", [1, 2]);
    const loss = g.reshape(g.reduceSum(g.l2Normalize(x), [0, 1]), []);
    graph.output("dx", g.gradients(loss, [x])[0]!);
    const values = g.interpretGraph(graph, {}, () => ndarray("f64", [1, 2], Float64Array.of(0, 0)));
    expect([...values.get("dx")!.data].every(Number.isFinite)).toBe(true);
  });

  test("recomputation repeats the inside of blocks, and changes no gradient", () => {
    const trace = (recompute: boolean) => {
      const graph = new g.Graph();
      const w = ["w0", "w1", "w2"].map((name) => graph.parameter(name, [4, 4]));
      let x = g.boundary(graph.input("x", "f32", [2, 4]));
      for (const weight of w) x = g.boundary(g.add(x, g.tanh(g.gemm(g.gelu(g.gemm(x, weight)), weight))));
      const loss = g.reshape(g.reduceMean(g.square(x), [0, 1]), []);
      g.gradients(loss, w, { recompute }).forEach((gradient, i) => {
        graph.output(`d${i}`, gradient);
      });
      return g.simplifyGraph(graph);
    };
    const [plain, again] = [trace(false), trace(true)];
    const random = new Random(5);
    const weights = new Map(["w0", "w1", "w2"].map((name) => [name, f64(randomArray(random, "f32", [4, 4]))]));
    const x = f64(randomArray(random, "f32", [2, 4]));
    const count = (graph: g.Graph, op: string) =>
      graph.nodes.filter((node) => node.kind === "op" && node.op === op).length;
    expect([count(plain, "gelu"), count(again, "gelu")]).toEqual([3, 6]);
    const [expected, got] = [plain, again].map((graph) => g.interpretGraph(graph, { x }, (name) => weights.get(name)));
    for (const [name, { data }] of expected!) expect([...got!.get(name)!.data], name).toEqual([...data]);
  });
});
