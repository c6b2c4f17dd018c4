/** Layer, root-mean-square and group normalisation. */
import { ndarray, sizeOf, ToklipError } from "../../core/index.ts";
import type { Dim } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";
import { op } from "../op.ts";
import { requireFloat, requireRank, requireShape, staticDim } from "./checks.ts";

/** (values - mean) / sqrt(variance + eps), in place. */
function standardize(values: Float64Array, eps: number): void {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const scale = 1 / Math.sqrt(variance + eps);
  for (let i = 0; i < values.length; i++) values[i] = (values[i]! - mean) * scale;
}

/** The last axis as it is after standardising, and 1 / sqrt(variance + eps): computed again, which is cheaper than kept. */
function standardized(x: Tensor, eps: number): { readonly normal: Tensor; readonly inverse: Tensor } {
  const centred = g.sub(x, g.reduceMean(x, [-1]));
  const inverse = g.div(1, g.sqrt(g.add(g.reduceMean(g.square(centred), [-1]), eps)));
  return { normal: g.mul(centred, inverse), inverse };
}

/** With n the standardised last axis of x and s its inverse deviation: dx = s (dn - mean(dn) - n mean(dn n)). */
function throughStandardization(dn: Tensor, normal: Tensor, inverse: Tensor): Tensor {
  const along = g.mul(normal, g.reduceMean(g.mul(dn, normal), [-1]));
  return g.mul(inverse, g.sub(g.sub(dn, g.reduceMean(dn, [-1])), along));
}

export const normalizationOps = {
  /** Normalises the last axis (D), then scales and shifts: weight (D), bias (D). */
  layerNorm: op<{ readonly eps: number }>({
    infer: ([x, weight, bias]) => {
      const dtype = requireFloat("layerNorm", x!, weight!, bias!);
      const width = staticDim("layerNorm", x!.shape, -1);
      requireShape("layerNorm", "weight", weight!, [width]);
      requireShape("layerNorm", "bias", bias!, [width]);
      return [{ dtype, shape: x!.shape }];
    },
    lower: (onnx, inputs, { eps }) => onnx.node("LayerNormalization", inputs, { axis: -1, epsilon: { float: eps } }),
    evaluate: ([x, weight, bias], { eps }) => {
      const data = x!.data.slice();
      const width = weight!.data.length;
      for (let start = 0; start < data.length; start += width) standardize(data.subarray(start, start + width), eps);
      return [{ shape: x!.shape, data: data.map((v, i) => v * weight!.data[i % width]! + bias!.data[i % width]!) }];
    },
    // y = n w + b: dw = sum(dy n), db = sum(dy), dn = dy w
    gradient: ([dy], { inputs: [x, weight, bias], attrs: { eps } }) => {
      const { normal, inverse } = standardized(x!, eps);
      return [
        throughStandardization(g.mul(dy!, weight!), normal, inverse),
        g.sumTo(g.mul(dy!, normal), weight!.shape),
        g.sumTo(dy!, bias!.shape),
      ];
    },
  }),
  /** Divides the last axis (D) by its root mean square, then scales: weight (D) (Zhang and Sennrich 2019). */
  rmsNorm: op<{ readonly eps: number }>({
    infer: ([x, weight]) => {
      const dtype = requireFloat("rmsNorm", x!, weight!);
      requireShape("rmsNorm", "weight", weight!, [staticDim("rmsNorm", x!.shape, -1)]);
      return [{ dtype, shape: x!.shape }];
    },
    // The form, with Pow, that ONNX Runtime fuses to one kernel; an operator of its own there is only from version 23 on.
    lower: (onnx, [x, weight], { eps }) => {
      const number = (value: number) => onnx.constant(ndarray("f32", [], Float32Array.of(value)));
      const [squares] = onnx.node("Pow", [x!, number(2)]);
      const axes = onnx.constant(ndarray("i64", [1], BigInt64Array.of(-1n)));
      const [mean] = onnx.node("ReduceMean", [squares!, axes], { keepdims: 1 });
      const [root] = onnx.node("Sqrt", onnx.node("Add", [mean!, number(eps)]));
      return onnx.node("Mul", [onnx.node("Div", [x!, root!])[0]!, weight!]);
    },
    evaluate: ([x, weight], { eps }) => {
      const data = x!.data.slice();
      const width = weight!.data.length;
      for (let start = 0; start < data.length; start += width) {
        const row = data.subarray(start, start + width);
        const root = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / width + eps);
        for (let i = 0; i < width; i++) row[i] = (row[i]! / root) * weight!.data[i]!;
      }
      return [{ shape: x!.shape, data }];
    },
    // With s = 1 / root and n = x s: dw = sum(dy n), dn = dy w, dx = s (dn - n mean(dn n))
    gradient: ([dy], { inputs: [x, weight], attrs: { eps } }) => {
      const inverse = g.div(1, g.sqrt(g.add(g.reduceMean(g.square(x!), [-1]), eps)));
      const normal = g.mul(x!, inverse);
      const dn = g.mul(dy!, weight!);
      const along = g.mul(normal, g.reduceMean(g.mul(dn, normal), [-1]));
      return [g.mul(inverse, g.sub(dn, along)), g.sumTo(g.mul(dy!, normal), weight!.shape)];
    },
  }),
  /** Normalises each group of channels of (B, C, H, W), then scales and shifts each channel (Wu and He 2018). */
  groupNorm: op<{ readonly groups: number; readonly eps: number }>({
    infer: ([x, weight, bias], { groups }) => {
      const dtype = requireFloat("groupNorm", x!, weight!, bias!);
      requireRank("groupNorm", x!, 4);
      const channels = staticDim("groupNorm", x!.shape, 1);
      requireShape("groupNorm", "weight", weight!, [channels]);
      requireShape("groupNorm", "bias", bias!, [channels]);
      if (channels % groups !== 0) {
        throw new ToklipError("SHAPE_MISMATCH", `groupNorm: ${channels} channels do not divide into ${groups} groups`);
      }
      return [{ dtype, shape: x!.shape }];
    },
    // InstanceNormalization over (B, groups, rest): the form that every provider of ONNX Runtime has a kernel for.
    lower: (onnx, [x, weight, bias], { groups, eps }, { inputs }) => {
      const [, channels, height, width] = inputs[0]!.shape as [unknown, number, number, number];
      const ints = (...values: number[]) =>
        onnx.constant(ndarray("i64", [values.length], BigInt64Array.from(values, BigInt)));
      const ones = onnx.constant(ndarray("f32", [groups], new Float32Array(groups).fill(1)));
      const zeros = onnx.constant(ndarray("f32", [groups], new Float32Array(groups)));
      const [grouped] = onnx.node("Reshape", [x!, ints(0, groups, -1)]);
      const [normal] = onnx.node("InstanceNormalization", [grouped!, ones, zeros], { epsilon: { float: eps } });
      const [back] = onnx.node("Reshape", [normal!, ints(-1, channels, height, width)]);
      const [scale, shift] = [weight!, bias!].map((name) => onnx.node("Reshape", [name, ints(channels, 1, 1)])[0]!);
      const [scaled] = onnx.node("Mul", [back!, scale!]);
      return onnx.node("Add", [scaled!, shift!]);
    },
    evaluate: ([x, weight, bias], { groups, eps }) => {
      const data = x!.data.slice();
      const [batch, channels] = x!.shape as [number, number];
      const area = sizeOf(x!.shape.slice(2));
      const run = (channels / groups) * area;
      for (let g = 0; g < batch * groups; g++) standardize(data.subarray(g * run, (g + 1) * run), eps);
      const channel = (i: number) => Math.floor(i / area) % channels;
      return [{ shape: x!.shape, data: data.map((v, i) => v * weight!.data[channel(i)]! + bias!.data[channel(i)]!) }];
    },
    // As layerNorm over (B, groups, rest), with weight and bias for each channel.
    gradient: ([dy], { inputs: [x, weight], attrs: { groups, eps } }) => {
      const [batch, channels, height, width] = x!.shape as [Dim, number, number, number];
      const grouped = (t: Tensor) => g.reshape(t, [batch, groups, (channels / groups) * height * width]);
      const { normal, inverse } = standardized(grouped(x!), eps);
      const dn = grouped(g.mul(dy!, g.reshape(weight!, [channels, 1, 1])));
      const perChannel = (t: Tensor) => g.reshape(g.reduceSum(t, [0, 2, 3]), [channels]);
      return [
        g.reshape(throughStandardization(dn, normal, inverse), x!.shape),
        perChannel(g.mul(dy!, g.reshape(normal, x!.shape))),
        perChannel(dy!),
      ];
    },
  }),
};
