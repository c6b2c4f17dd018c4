// Every operator that the importer takes, in float64, against ONNX Runtime on the same model.
import ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { type NDArray, Random } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";
import {
  importedOperators,
  importOnnx,
  type OnnxModel,
  onnxWeights,
  readOnnx,
  writeOnnx,
} from "../../src/onnx/index.ts";
import { maxDifference } from "../goldens.ts";
import { randomArray } from "../graph/op-cases.ts";
import { KNOWN_CASES, OPERATOR_CASES, type OperatorCase } from "./operator-cases.ts";
import { initializer, node } from "./small-models.ts";

/** A model of one operator. What it reads from constants is named c0, c1, ... behind the inputs x0, x1, ... */
function modelOf(
  { type, inputs, constants = [], attributes = {}, opset = 17, outputs = 1 }: OperatorCase,
  random: Random,
): OnnxModel {
  const held = constants.map((item) => {
    if (item === undefined || !("weights" in item)) return item;
    return randomArray(random, "f32", item.weights, item.positive ? 0.5 : -1, 1.5);
  });
  const fed = inputs.map((shape, i) => ({ name: `x${i}`, dtype: "f32" as const, shape }));
  const made = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const names = [...fed.map(({ name }) => name), ...held.map((item, i) => (item === undefined ? "" : `c${i}`))];
  return {
    name: type,
    inputs: fed,
    outputs: made.map((name) => ({ name, dtype: "f32", shape: [] })),
    nodes: [node(type, names, made, attributes)],
    initializers: held.flatMap((item, i) => (item === undefined ? [] : [initializer(`c${i}`, item)])),
    metadata: {},
    opsets: { "": opset },
  };
}

/** What ONNX Runtime computes. The outputs' declared types are taken away: they are the operator's affair. */
async function runtimeOutputs(model: OnnxModel, feeds: Readonly<Record<string, NDArray>>) {
  const session = await ort.InferenceSession.create(withoutOutputTypes(model), { logSeverityLevel: 3 });
  const tensors = Object.entries(feeds).map(([name, { shape, data }]) => [
    name,
    new ort.Tensor("float32", data as Float32Array, shape),
  ]);
  const results = await session.run(Object.fromEntries(tensors));
  await session.release();
  return new Map(
    Object.entries(results).map(([name, { dims, data }]) => [
      name,
      { shape: [...dims], data: Float64Array.from(data as ArrayLike<number | bigint>, Number) },
    ]),
  );
}

/** The bytes of a model whose graph outputs have a name only: an output without a type is inferred. */
function withoutOutputTypes(model: OnnxModel): Uint8Array {
  const bytes = writeOnnx({ ...model, outputs: [] });
  const outputs = model.outputs.map(({ name }) =>
    Uint8Array.of(12 * 8 + 2, name.length + 2, 10, name.length, ...new TextEncoder().encode(name)),
  );
  // A message that is written twice is merged: this adds the outputs to the graph, field 7 of the model.
  const graph = outputs.flatMap((output) => [...output]);
  return Uint8Array.from([...bytes, 7 * 8 + 2, graph.length, ...graph]);
}

function imported(model: OnnxModel, feeds: Readonly<Record<string, NDArray>>): Map<string, g.Value> {
  const graph = new g.Graph();
  const inputs = model.inputs.map(({ name, shape }) => [name, graph.input(name, "f32", shape)] as const);
  const driver = inputs.length > 0 ? {} : { unused: graph.input("unused", "f32", []) };
  const read = readOnnx(
    writeOnnx({
      ...model,
      inputs: [...model.inputs, ...(inputs.length > 0 ? [] : [{ name: "unused", dtype: "f32" as const, shape: [] }])],
    }),
  );
  const { outputs } = importOnnx(read, { ...Object.fromEntries(inputs), ...driver });
  for (const [name, tensor] of Object.entries(outputs)) graph.output(name, tensor);
  const simple = g.simplifyGraph(graph);
  g.verifyGraph(simple);
  const all = inputs.length > 0 ? feeds : { unused: randomArray(new Random(1), "f32", []) };
  return g.interpretGraph(simple, simple.inputs.size > 0 ? all : {}, onnxWeights(read));
}

function expectClose(actual: Map<string, g.Value>, expected: Map<string, g.Value>): void {
  for (const [name, value] of expected) {
    expect(actual.get(name)!.shape, name).toEqual(value.shape);
    const largest = value.data.reduce((max, x) => Math.max(max, Math.abs(x)), 1);
    expect(maxDifference(actual.get(name)!.data, value.data) / largest, name).toBeLessThan(2e-6);
  }
}

const title = ({ type, attributes, opset }: Omit<OperatorCase, "inputs" | "constants">) =>
  `${type} ${JSON.stringify(attributes ?? {})}${opset === undefined ? "" : ` of set ${opset}`}`;

describe("operators on tensors equal ONNX Runtime", () => {
  test.each(OPERATOR_CASES.map((item) => [title(item), item] as const))("%s", async (_, item) => {
    const random = new Random(5);
    const model = modelOf(item, random);
    const feeds = Object.fromEntries(
      model.inputs.map(({ name, shape }) => [
        name,
        randomArray(random, "f32", shape as number[], item.low ?? -2, item.high ?? 2),
      ]),
    );
    expectClose(imported(model, feeds), await runtimeOutputs(model, feeds));
  });
});

describe("operators on constants are computed while importing, as ONNX Runtime computes them", () => {
  test.each(KNOWN_CASES.map((item) => [title(item), item] as const))("%s", async (_, item) => {
    const model = modelOf({ ...item, inputs: [] }, new Random(5));
    expectClose(imported(model, {}), await runtimeOutputs(model, {}));
  });
});

test("every operator of the importer is in one of the tables", () => {
  const tested = new Set([...OPERATOR_CASES, ...KNOWN_CASES].map(({ type }) => type));
  // Constant is in the models of import.test.ts.
  expect(importedOperators().filter((type) => !tested.has(type))).toEqual(["Constant"]);
});
