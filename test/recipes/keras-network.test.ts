import { describe, expect, test } from "vitest";
import { readWeights, trunkOf } from "../../recipes/toklip-mini/keras-network.mjs";
import { ndarray } from "../../src/core/index.ts";
import { Graph, interpretGraph, valueToArray } from "../../src/graph/index.ts";
import { importOnnx, onnxWeights, readOnnx, writeOnnx } from "../../src/onnx/index.ts";

const layer = (class_name: string, name: string, config: object, ...inputs: string[]) => ({
  class_name,
  name,
  config,
  inbound_nodes: inputs.length === 0 ? [] : [inputs.map((input): [string, number, number] => [input, 0, 0])],
});

const convolution = { activation: "linear", use_bias: false, dilation_rate: [1, 1], padding: "valid", strides: [1, 1] };
const norm = { epsilon: 0.5 };
const pool = { padding: "valid", strides: [2, 2], pool_size: [2, 2] };

/** A convolution of 2 channels to 1, normalised; a depthwise one over its concatenation with itself; a pooling. */
const layers = [
  layer("InputLayer", "in", { batch_input_shape: [null, 3, 3, 2] }),
  layer("Conv2D", "c", { ...convolution, filters: 1, kernel_size: [1, 1] }, "in"),
  layer("BatchNormalization", "n", norm, "c"),
  layer("ReLU", "r", { max_value: 6 }, "n"),
  layer("Concatenate", "cat", { axis: 3 }, "r", "r"),
  layer(
    "ZeroPadding2D",
    "z",
    {
      padding: [
        [0, 1],
        [0, 1],
      ],
    },
    "cat",
  ),
  layer("DepthwiseConv2D", "d", { ...convolution, strides: [2, 2], kernel_size: [1, 2] }, "z"),
  layer("Add", "a", {}, "d", "d"),
  layer("Activation", "relu", { activation: "relu" }, "a"),
  layer("AveragePooling2D", "p", pool, "relu"),
  layer("Flatten", "f", {}, "p"),
  layer("Dense", "classes", {}, "f"),
];

const specs = [
  { name: "c/kernel", shape: [1, 1, 2, 1], quantization: { min: -1, scale: 0.5, dtype: "uint8" } },
  { name: "n/gamma", shape: [1] },
  { name: "n/beta", shape: [1] },
  { name: "n/moving_mean", shape: [1] },
  { name: "n/moving_variance", shape: [1] },
  { name: "d/depthwise_kernel", shape: [1, 2, 2, 1] },
];
const floats = (...values: number[]) => [...new Uint8Array(Float32Array.from(values).buffer)];
// c = [-1 + 0.5 * 4, -1 + 0.5 * 6] = [1, 2]; gamma 3, beta 1, mean 2, variance 3.5, so that n = 1.5 (c - 2) + 1.
const bytes = Uint8Array.from([4, 6, ...floats(3), ...floats(1), ...floats(2), ...floats(3.5), ...floats(1, 2, 3, -4)]);

const keras = (own: readonly object[]) => ({
  modelTopology: { config: { layers: own } },
  weightsManifest: [{ paths: [], weights: specs }],
});

test("a trunk computes what its Keras layers say", () => {
  const model = readOnnx(writeOnnx(trunkOf("small", keras(layers), bytes)));
  const graph = new Graph();
  const pixels = graph.input("pixels", "f32", [1, 2, 3, 3]);
  graph.output("features", importOnnx(model, pixels).outputs.features!);
  const x = ndarray(
    "f32",
    [1, 2, 3, 3],
    Float32Array.from({ length: 18 }, (_, i) => (i * 5) % 7),
  );
  const features = valueToArray(interpretGraph(graph, { pixels: x }, onnxWeights(model)).get("features")!, "f64");

  const r = Array.from({ length: 9 }, (_, i) =>
    Math.min(6, Math.max(0, 1.5 * (x.data[i]! + 2 * x.data[9 + i]! - 2) + 1)),
  );
  const at = (row: number, column: number) => (row < 3 && column < 3 ? r[3 * row + column]! : 0);
  // The depthwise kernel is (h, w, in, 1): [[1, 2], [3, -4]] is 1 and 3 for the first channel, 2 and -4 for the second.
  const mean = (left: number, right: number) => {
    const places = [0, 2].flatMap((row) =>
      [0, 2].map((column) => left * at(row, column) + right * at(row, column + 1)),
    );
    return places.reduce((sum, value) => sum + Math.max(0, 2 * value), 0) / 4;
  };
  expect(Array.from(features.data, Number)).toEqual([expect.closeTo(mean(1, 3), 5), expect.closeTo(mean(2, -4), 5)]);
});

describe("what a network cannot be made of", () => {
  test("layers that are not known are named", () => {
    const odd = [...layers.slice(0, 2), layer("LSTM", "memory", {}, "c")];
    expect(() => trunkOf("small", keras(odd), bytes)).toThrow("memory: the layer LSTM");
  });

  test("a network without a pooling before its classes is refused", () => {
    expect(() => trunkOf("small", keras(layers.slice(0, 4)), bytes)).toThrow("no Flatten");
  });

  test("weights that end early, or go on, are refused", () => {
    expect(() => readWeights(specs, bytes.slice(0, -1))).toThrow("d/depthwise_kernel");
    expect(() => readWeights(specs, Uint8Array.from([...bytes, 0]))).toThrow("1 bytes are left over");
  });
});
