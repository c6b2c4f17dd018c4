// Whole models in a graph: gradients through them, shapes that models compute, what is refused, and hostile models.
import { describe, expect, test } from "vitest";
import { bytesOf, type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import { perceptualDistance } from "../../src/models/lpips.ts";
import { importOnnx, type OnnxModel, type OnnxNode, onnxWeights, readOnnx, writeOnnx } from "../../src/onnx/index.ts";
import { maxDifference } from "../goldens.ts";
import { randomArray } from "../graph/op-cases.ts";
import { f32, i64, initializer, node, smallCnn } from "./small-models.ts";

/** A model of some nodes that reads x and gives y. */
function modelOf(nodes: readonly OnnxNode[], constants: Readonly<Record<string, NDArray>> = {}): OnnxModel {
  return {
    name: "net",
    inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 4, 4] }],
    outputs: [{ name: "y", dtype: "f32", shape: [] }],
    nodes,
    initializers: Object.entries(constants).map(([name, value]) => initializer(name, value)),
    metadata: {},
    opsets: { "": 17 },
  };
}

const pixels = (graph: g.Graph, ...shape: g.Dim[]) => graph.input("x", "f32", shape);
const importInto = (model: OnnxModel, ...shape: g.Dim[]) =>
  importOnnx(model, pixels(new g.Graph(), ...(shape.length > 0 ? shape : [1, 3, 4, 4]))).outputs;

describe("a small convolutional network", () => {
  const model = readOnnx(writeOnnx(smallCnn()));
  const names = ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.mean", "norm.var"];
  const f64 = ({ shape, data }: NDArray) => ndarray("f64", shape, Float64Array.from(data as Float32Array));

  test("has the gradients that finite differences give, for its pixels and for its weights", () => {
    const random = new Random(3); // no element is so near to a kink that a step crosses it
    const graph = new g.Graph();
    const x = pixels(graph, "B", 3, 9, 8);
    const { y, d } = importOnnx(model, x, { prefix: "vgg.", outputs: ["d", "y"] }).outputs;
    const shares = [y!, d!].map((map) =>
      g.reduceSum(
        g.square(map),
        map.shape.map((_, axis) => axis),
      ),
    );
    const loss = g.reshape(g.add(g.reshape(shares[0]!, []), g.reshape(shares[1]!, [])), []);
    graph.output("loss", loss);
    const parameters = names.map((name) => graph.parameters.get(`vgg.${name}`)!);
    for (const [i, gradient] of g.gradients(loss, [x, ...parameters]).entries()) graph.output(`d${i}`, gradient);

    const weights = onnxWeights(model, { prefix: "vgg." });
    const at = new Map<string, NDArray>([["x", f64(randomArray(random, "f32", [2, 3, 9, 8]))]]);
    for (const name of graph.parameters.keys()) at.set(name, f64(weights(name)!));
    const run = (values: ReadonlyMap<string, NDArray>) =>
      g.interpretGraph(graph, { x: values.get("x")! }, (name) => values.get(name));
    const gradients = run(at);
    const moved = ["x", ...names.map((name) => `vgg.${name}`)];
    for (const [i, name] of moved.entries()) {
      const { shape, data } = at.get(name)!;
      const direction = Float64Array.from({ length: sizeOf(shape) }, () => random.normal());
      const step = (h: number) => {
        const shifted = (data as Float64Array).map((value, j) => value + h * direction[j]!);
        return run(new Map(at).set(name, ndarray("f64", shape, shifted))).get("loss")!.data[0]!;
      };
      const differences = (step(1e-6) - step(-1e-6)) / 2e-6;
      const along = gradients.get(`d${i}`)!.data.reduce((sum, value, j) => sum + value * direction[j]!, 0);
      expect(
        Math.abs(differences - along) / Math.max(1, Math.abs(along)),
        `${name}: ${differences} ${along}`,
      ).toBeLessThan(1e-7);
    }
  });

  test("shares its parameters when it is applied twice, as a perceptual loss does", () => {
    const graph = new g.Graph();
    const x = pixels(graph, "B", 3, 9, 8);
    const [once, again] = [x, g.neg(x)].map((t) => importOnnx(model, t, { prefix: "p.", outputs: ["c"] }).outputs.c!);
    expect(once!.shape).toEqual(["B", 4, 9, 8]);
    expect(again!.shape).toEqual(once!.shape);
    expect([...graph.parameters.keys()]).toEqual(names.map((name) => `p.${name}`));
  });

  test("serves as the network of a perceptual distance", () => {
    const graph = new g.Graph();
    const [a, b] = ["a", "b"].map((name) => graph.input(name, "f32", ["B", 3, 9, 8])) as [g.Tensor, g.Tensor];
    const maps = ["c", "d", "e"];
    const network = (t: g.Tensor) => {
      const { outputs } = importOnnx(model, t, { prefix: "p.", outputs: maps });
      return maps.map((name) => outputs[name]!);
    };
    const distance = perceptualDistance(network, a, b);
    graph.output("distance", distance);
    graph.output("gradient", g.gradients(g.reshape(g.reduceSum(distance, [0]), []), [a])[0]!);
    const random = new Random(6);
    const first = randomArray(random, "f32", [2, 3, 9, 8]);
    const second = ndarray("f32", first.shape, (first.data as Float32Array).slice());
    second.data.set(randomArray(random, "f32", [3, 9, 8]).data as Float32Array); // the first picture differs
    const outputs = g.interpretGraph(graph, { a: first, b: second }, onnxWeights(model, { prefix: "p." }));
    const [other, same] = outputs.get("distance")!.data;
    expect(same).toBe(0);
    expect(other).toBeGreaterThan(0.1);
    const slopes = outputs.get("gradient")!.data;
    expect(slopes.subarray(0, 3 * 72).every((slope) => slope === 0)).toBe(false);
    expect(slopes.subarray(3 * 72).every((slope) => slope === 0)).toBe(true);
  });

  test("gives the same with its weights written into the graph", () => {
    const feeds = { x: randomArray(new Random(4), "f32", [2, 3, 9, 8]) };
    const [inGraph, beside] = (["constants", "parameters"] as const).map((weights) => {
      const graph = new g.Graph();
      graph.output("y", importOnnx(model, pixels(graph, 2, 3, 9, 8), { weights }).outputs.y!);
      expect(graph.parameters.size).toBe(weights === "constants" ? 0 : 9);
      return g.interpretGraph(graph, feeds, onnxWeights(model)).get("y")!.data;
    });
    expect(maxDifference(inGraph!, beside!)).toBe(0);
  });

  test("needs only what the wanted values need", () => {
    const broken = {
      ...model,
      nodes: [...model.nodes.slice(0, 3), node("Loop", ["c"], ["z"]), ...model.nodes.slice(3)],
    };
    expect(Object.keys(importInto(broken, 1, 3, 9, 8))).toEqual(["y"]);
  });

  test("takes pictures of another size, and says for which it was exported where they do not fit", () => {
    const shape = importOnnx(model, pixels(new g.Graph(), 2, 3, 32, 33), { outputs: ["d"] }).outputs.d!.shape;
    expect(shape).toEqual([2, 4, 16, 17]);
    expect(() => importInto(model, 2, 4, 9, 8)).toThrow(
      /^Conv \/a: .* does not multiply .*; the model was exported for x of \(N, 3, 9, 8\), and got \(2, 4, 9, 8\) \[SHAPE_MISMATCH\]$/,
    );
  });
});

describe("shapes that a model computes", () => {
  /** view(x.size(0), -1), as PyTorch's exporter writes it for any batch. */
  const flattenNodes = [
    node("Shape", ["x"], ["shape"]),
    node("Gather", ["shape", "zero"], ["batch"]),
    node("Unsqueeze", ["batch"], ["batch1"], { axes: [0] }),
    node("Concat", ["batch1", "rest"], ["target"], { axis: 0 }),
    node("Reshape", ["x", "target"], ["y"]),
  ];
  const constants = { zero: i64([0], []), rest: i64([-1]) };

  test.each([["B"], [1], [5]])("of a batch of %s are known while importing", (batch) => {
    const model = { ...modelOf(flattenNodes, constants), opsets: { "": 11 } };
    expect(importInto(model, batch, 3, 4, 4).y!.shape).toEqual([batch, 48]);
    expect(importInto(model, batch, 3, 4, 4).y!.graph.nodes.map(({ kind }) => kind)).toEqual(["input", "op"]);
  });

  test("are compared with -1, as for the class token of a vision transformer", () => {
    const model = modelOf(
      [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        node("Concat", ["batch1", "open", "open"], ["wanted"], { axis: 0 }),
        node("Shape", ["wanted"], ["rank"]),
        node("ConstantOfShape", ["rank"], ["ones"], { value: { tensor: initializer("", i64([1])) } }),
        node("Mul", ["ones", "minus"], ["minuses"]),
        node("Equal", ["wanted", "minuses"], ["is"]),
        node("Where", ["is", "ones", "wanted"], ["target"]),
        node("Expand", ["token", "target"], ["y"]),
      ],
      { zero: i64([0], []), axis: i64([0]), open: i64([-1]), minus: i64([-1], []), token: f32([1, 2, 3], [1, 1, 3]) },
    );
    expect(importInto(model, "B", 3, 4, 4).y!.shape).toEqual(["B", 1, 3]);
  });

  test("divide where they can, and are refused as numbers where only a run tells", () => {
    const halves = (divisor: number) =>
      modelOf(
        [
          node("Shape", ["x"], ["shape"]),
          node("Slice", ["shape", "start", "end"], ["batch"]),
          node("Mul", ["batch", "four"], ["more"]),
          node("Div", ["more", "divisor"], ["part"]),
          node("Concat", ["part", "rest"], ["target"], { axis: 0 }),
          node("Reshape", ["x", "target"], ["y"]),
        ],
        { start: i64([0]), end: i64([1]), four: i64([4]), divisor: i64([divisor]), rest: i64([-1]) },
      );
    expect(importInto(halves(2), "B", 3, 4, 4).y!.shape).toEqual(["2*B", 24]);
    expect(() => importInto(halves(3), "B", 3, 4, 4)).toThrow(
      "Div /part: the size 4*B, which only a run tells, is used as a number [OP_UNSUPPORTED]",
    );
  });
});

describe("what is refused", () => {
  test("an operator that is not known, by its name and its node's", () => {
    const named = (opType: string, domain = "") => modelOf([{ ...node(opType, ["x"], ["y"]), domain }]);
    expect(() => importInto(named("LSTM"))).toThrow("LSTM /y: the operator is not supported [OP_UNSUPPORTED]");
    expect(() => importInto(named("constructor"))).toThrow("constructor /y: the operator is not supported");
    expect(() => importInto(named("Relu", "com.acme"))).toThrow("Relu /y: the operator of com.acme is not supported");
  });

  test("a form of an operator that is not known", () => {
    const forms: readonly OnnxNode[] = [
      node("MaxPool", ["x"], ["y", "places"], { kernel_shape: [2, 2] }),
      node("BatchNormalization", ["x", "v", "v", "v", "v"], ["y"], { training_mode: 1 }),
      node("Pow", ["x", "x"], ["y"]),
      node("Reshape", ["x", "x"], ["y"]),
      node("Pad", ["x", "v"], ["y"], { mode: "sideways" }),
      node("Conv", ["x", "v"], ["y"], { auto_pad: "toString" }),
      node("Cast", ["x"], ["y"], { to: 9 }),
      node("Resize", ["x", "", "v"], ["y"], { mode: "cubic" }),
      node("Ceil", ["x"], ["y"]),
    ];
    for (const form of forms) {
      const model = modelOf([form], { v: f32([1, 1, 1]) });
      expect(() => importInto(model), form.opType).toThrow(expect.objectContaining({ code: "OP_UNSUPPORTED" }));
    }
  });

  test("a model that contradicts itself", () => {
    const broken: Record<string, readonly OnnxNode[]> = {
      "Relu /y: input 0 is missing": [node("Relu", [], ["y"])],
      "Relu /y: nothing before it makes its input later": [
        node("Relu", ["later"], ["y"]),
        node("Relu", ["x"], ["later"]),
      ],
      "Relu /y: nothing before it makes its input y": [node("Relu", ["y"], ["y"])],
      "Relu /y: y is made twice": [node("Abs", ["x"], ["z"]), node("Relu", ["z"], ["y"]), node("Relu", ["x"], ["y"])],
      "LeakyRelu /y: attribute alpha is not a number": [node("LeakyRelu", ["x"], ["y"], { alpha: "much" })],
      "Concat /y: attribute axis is not a whole number": [node("Concat", ["x", "x"], ["y"], { axis: { float: 1 } })],
      "Gather /y: index 9 is outside an axis of 4": [node("Gather", ["x", "nine"], ["y"], { axis: 3 })],
      "Conv /y: 0 groups": [node("Conv", ["x", "kernel"], ["y"], { group: 0 })],
    };
    for (const [message, nodes] of Object.entries(broken)) {
      const model = modelOf(nodes, { nine: i64([9]), kernel: f32([1, 1, 1], [1, 3, 1, 1]) });
      // Both makers of a value are needed only where one is asked for through the other.
      if (message.includes("twice")) {
        const both = { ...model, nodes: [...nodes, node("Add", ["y", "z"], ["sum"])] };
        expect(() => importOnnx(both, pixels(new g.Graph(), 1, 3, 4, 4), { outputs: ["sum"] })).not.toThrow();
        continue;
      }
      expect(() => importInto(model), message).toThrow(
        expect.objectContaining({ code: "FILE_CORRUPT", reason: message }),
      );
    }
  });

  test("names that the model lacks, inputs that are not told apart, weights that are not loaded", () => {
    const model = modelOf([node("Relu", ["x"], ["y"])]);
    const graph = new g.Graph();
    const x = pixels(graph, 1, 3, 4, 4);
    expect(() => importOnnx(model, { pixels: x })).toThrow("net has no input pixels (it has x) [ARGUMENT_INVALID]");
    expect(() => importOnnx(model, {})).toThrow("net: no input is given [ARGUMENT_INVALID]");
    expect(() => importOnnx(model, x, { outputs: ["z"] })).toThrow("net has no value z [ARGUMENT_INVALID]");
    const two = { ...model, inputs: [...model.inputs, { ...model.inputs[0]!, name: "other" }] };
    expect(() => importOnnx(two, x)).toThrow("net: name its inputs (x, other) [ARGUMENT_INVALID]");
    const away = {
      ...modelOf([node("Add", ["x", "w"], ["y"])]),
      initializers: [
        { name: "w", dtype: "f32" as const, shape: [4], data: { location: "w.bin", offset: 0, length: 16 } },
      ],
    };
    expect(importOnnx(away, x).outputs.y!.shape).toEqual([1, 3, 4, 4]);
    expect(() => importOnnx(away, x, { weights: "constants" })).toThrow(
      /w\.bin, which is not loaded .*\[ARGUMENT_INVALID\]/,
    );
  });

  test("operator sets that are too old or not yet known", () => {
    for (const version of [1, 6, 25, -3]) {
      const model = { ...modelOf([node("Relu", ["x"], ["y"])]), opsets: { "": version } };
      expect(() => importInto(model)).toThrow(`net: operator set ${version} is not within 7 to 24 [OP_UNSUPPORTED]`);
    }
  });
});

describe("hostile models end at once", () => {
  const million = i64([1 << 20]);
  const doubled = (times: number) =>
    Array.from({ length: times }, (_, i) =>
      node("Concat", i === 0 ? ["v", "v"] : [`t${i - 1}`, `t${i - 1}`], [i === times - 1 ? "y" : `t${i}`], { axis: 0 }),
    );
  const models: Record<string, OnnxModel> = {
    "a vector of 2^40 elements": modelOf([node("ConstantOfShape", ["n"], ["y"])], { n: i64([2 ** 40]) }),
    "a range that never ends": modelOf([node("Range", ["a", "b", "c"], ["y"])], {
      a: i64([0], []),
      b: i64([1], []),
      c: i64([0], []),
    }),
    "doubling a vector sixty times": modelOf(doubled(60), { v: i64([1, 2, 3]) }),
    "doubling known shapes on and on": modelOf(
      [
        ...Array.from({ length: 200 }, (_, i) => node("ConstantOfShape", ["n"], [`t${i}`])),
        node(
          "Sum",
          Array.from({ length: 200 }, (_, i) => `t${i}`),
          ["y"],
        ),
      ],
      { n: million },
    ),
    "a shape of a million axes": modelOf(
      [
        node("ConstantOfShape", ["n"], ["s"], { value: { tensor: initializer("", i64([1])) } }),
        node("Reshape", ["one", "s"], ["y"]),
      ],
      { n: i64([100_000]), one: i64([1]) },
    ),
    "copying an edge 2^40 times": modelOf([node("Pad", ["x", "p"], ["y"], { mode: "edge" })], {
      p: i64([0, 0, 0, 2 ** 40, 0, 0, 0, 0]),
    }),
    "a window of 2^40 pixels": modelOf([node("AveragePool", ["x"], ["y"], { kernel_shape: [2 ** 20, 2 ** 20] })]),
    "an exponent of 2^50": modelOf([node("Pow", ["x", "p"], ["y"])], { p: f32([2 ** 50], []) }),
    "splitting into nothing": modelOf([node("Split", ["x", "s"], ["y"])], { s: i64([0, 0, 1]) }),
    "tiles beyond counting": modelOf([node("Tile", ["v", "t"], ["y"])], { v: i64([1, 2]), t: i64([2 ** 50]) }),
  };

  test.each(Object.entries(models))("%s", (_, model) => {
    const before = process.memoryUsage().heapUsed;
    const started = performance.now();
    const graph = new g.Graph();
    expect(() => importOnnx(readOnnx(writeOnnx(model)), pixels(graph, 1, 3, 4, 4))).toThrow(
      expect.objectContaining({ name: "ToklipError" }),
    );
    expect(performance.now() - started).toBeLessThan(5000);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(2 ** 29);
  });

  test("a chain of ten thousand nodes is followed without recursion", () => {
    const nodes = Array.from({ length: 10_000 }, (_, i) =>
      node("Relu", [i === 0 ? "x" : `t${i - 1}`], [i === 9_999 ? "y" : `t${i}`]),
    );
    expect(importInto(modelOf(nodes)).y!.shape).toEqual([1, 3, 4, 4]);
  });
});

test("weights of a Constant node count as weights", () => {
  const kernel = randomArray(new Random(1), "f32", [2, 3, 1, 1]);
  const model = modelOf([
    node("Constant", [], ["k"], { value: { tensor: initializer("", kernel) } }),
    node("Conv", ["x", "k"], ["y"]),
  ]);
  const graph = new g.Graph();
  const read = readOnnx(writeOnnx(model));
  importOnnx(read, pixels(graph, 1, 3, 4, 4), { prefix: "f." });
  expect([...graph.parameters.keys()]).toEqual(["f.k"]);
  expect(bytesOf(onnxWeights(read, { prefix: "f." })("f.k")!.data)).toEqual(bytesOf(kernel.data));
});
