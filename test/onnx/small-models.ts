// ONNX models for the tests, as plain data.
import { bytesOf, type NDArray, ndarray, Random } from "../../src/core/index.ts";
import type { OnnxAttribute, OnnxInitializer, OnnxModel, OnnxNode } from "../../src/onnx/index.ts";
import { randomArray } from "../graph/op-cases.ts";

export function initializer(name: string, { dtype, shape, data }: NDArray): OnnxInitializer {
  return { name, dtype, shape, data: bytesOf(data) };
}

export const i64 = (values: readonly number[], shape: readonly number[] = [values.length]): NDArray =>
  ndarray("i64", shape, BigInt64Array.from(values, BigInt));
export const f32 = (values: readonly number[], shape: readonly number[] = [values.length]): NDArray =>
  ndarray("f32", shape, Float32Array.from(values));

export function node(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, OnnxAttribute>> = {},
): OnnxNode {
  return { name: `/${outputs[0]}`, opType, domain: "", inputs, outputs, attributes };
}

/** Convolution, batch normalisation, pooling of both kinds, a depthwise convolution and a linear layer: (B, 3, 9, 8) -> (B, 5). */
export function smallCnn(): OnnxModel {
  const random = new Random(7);
  const weight = (name: string, shape: readonly number[], low = -1, high = 1) =>
    initializer(name, randomArray(random, "f32", shape, low, high));
  const norm = (name: string, channels: number) => [
    weight(`${name}.weight`, [channels], 0.5, 1.5),
    weight(`${name}.bias`, [channels]),
    weight(`${name}.mean`, [channels]),
    weight(`${name}.var`, [channels], 0.5, 1.5),
  ];
  const normInputs = (name: string) => ["weight", "bias", "mean", "var"].map((part) => `${name}.${part}`);
  return {
    name: "small",
    inputs: [{ name: "x", dtype: "f32", shape: ["N", 3, 9, 8] }],
    outputs: [{ name: "y", dtype: "f32", shape: ["N", 5] }],
    metadata: { origin: "test" },
    opsets: { "": 17 },
    initializers: [
      weight("conv.weight", [4, 3, 3, 3]),
      weight("conv.bias", [4]),
      ...norm("norm", 4),
      weight("depth.weight", [4, 1, 3, 3]),
      weight("head.weight", [5, 4]),
      weight("head.bias", [5]),
    ],
    nodes: [
      node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }),
      node("BatchNormalization", ["a", ...normInputs("norm")], ["b"], { epsilon: { float: 1e-5 } }),
      node("Relu", ["b"], ["c"]),
      node("MaxPool", ["c"], ["d"], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
      node("Conv", ["d", "depth.weight"], ["e"], { group: 4, strides: [2, 1], pads: [1, 0, 1, 0] }),
      node("GlobalAveragePool", ["e"], ["f"]),
      node("Flatten", ["f"], ["g"]),
      node("Gemm", ["g", "head.weight", "head.bias"], ["y"], { transB: 1 }),
    ],
  };
}
