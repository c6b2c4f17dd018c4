/** Ops that summarise an axis: sum, mean, largest, its index, softmax. */
import { ndarray, sizeOf } from "../../core/index.ts";
import { resolveAxis } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";
import { type Differentiated, type Op, op, type Value } from "../op.ts";
import { requireFloat, staticDim } from "./checks.ts";
import { aroundAxis } from "./indexing.ts";

/** The attributes of a reduction. */
export interface ReduceAttrs {
  /** Axes to reduce; they stay with size 1. */
  readonly axes: readonly number[];
}

function reduceAxis(x: Value, axis: number, combine: (values: Float64Array) => number): Value {
  const { outer, size, inner } = aroundAxis(x.shape, axis);
  const data = new Float64Array(outer * inner);
  const line = new Float64Array(size);
  for (let i = 0; i < data.length; i++) {
    const start = Math.floor(i / inner) * size * inner + (i % inner);
    for (let j = 0; j < size; j++) line[j] = x.data[start + j * inner]!;
    data[i] = combine(line);
  }
  return { shape: x.shape.with(axis, 1), data };
}

/** A reduction whose ONNX form takes the axes as an input. Reducing axis after axis gives the same value. */
function reduce(
  name: string,
  onnxType: string,
  combine: (values: Float64Array) => number,
  gradient?: (dy: Tensor, x: Tensor, axes: readonly number[]) => Tensor,
): Op<ReduceAttrs> {
  return op({
    ...(gradient && {
      gradient: (
        [dy]: readonly (Tensor | undefined)[],
        { inputs: [x], attrs: { axes } }: Differentiated<ReduceAttrs>,
      ) => [gradient(dy!, x!, axes)],
    }),
    infer: ([x], { axes }) => {
      const dtype = requireFloat(name, x!);
      const at = axes.map((axis) => resolveAxis(axis, x!.shape.length));
      return [{ dtype, shape: x!.shape.map((dim, i) => (at.includes(i) ? 1 : dim)) }];
    },
    lower: (onnx, [x], { axes }) =>
      onnx.node(onnxType, [x!, onnx.constant(ndarray("i64", [axes.length], BigInt64Array.from(axes, BigInt)))], {
        keepdims: 1,
      }),
    evaluate: ([x], { axes }) => [
      axes.reduce((value, axis) => reduceAxis(value, resolveAxis(axis, value.shape.length), combine), x!),
    ],
  });
}

const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);

function softmaxLine(values: Float64Array): Float64Array {
  const largest = Math.max(...values);
  const exps = values.map((value) => Math.exp(value - largest));
  const total = sum(exps);
  return exps.map((value) => value / total);
}

/** An op that maps each line along one axis to a line of the same length; its gradient needs the result only. */
function lineOp(
  name: string,
  onnxType: string,
  f: (line: Float64Array) => Float64Array,
  gradient: (dy: Tensor, y: Tensor, axis: number) => Tensor,
): Op<{ readonly axis: number }> {
  return op({
    infer: ([x], { axis }) => {
      resolveAxis(axis, x!.shape.length);
      return [{ dtype: requireFloat(name, x!), shape: x!.shape }];
    },
    lower: (onnx, inputs, { axis }) => onnx.node(onnxType, inputs, { axis }),
    evaluate: ([x], { axis }) => {
      const { outer, size, inner } = aroundAxis(x!.shape, resolveAxis(axis, x!.shape.length));
      const data = new Float64Array(sizeOf(x!.shape));
      for (let i = 0; i < outer * inner; i++) {
        const start = Math.floor(i / inner) * size * inner + (i % inner);
        f(Float64Array.from({ length: size }, (_, j) => x!.data[start + j * inner]!)).forEach((value, j) => {
          data[start + j * inner] = value;
        });
      }
      return [{ shape: x!.shape, data }];
    },
    gradient: ([dy], { outputs: [y], attrs: { axis } }) => [gradient(dy!, y!, axis)],
  });
}

export const reductionOps = {
  // dx = dy, repeated
  reduceSum: reduce("reduceSum", "ReduceSum", sum, (dy, x) => g.expand(dy, x.shape)),
  // dx = dy / count, repeated
  reduceMean: reduce(
    "reduceMean",
    "ReduceMean",
    (values) => sum(values) / values.length,
    (dy, x, axes) => {
      const count = axes.reduce((product, axis) => product * staticDim("reduceMean", x.shape, axis), 1);
      return g.expand(g.mul(dy, 1 / count), x.shape);
    },
  ),
  reduceMax: reduce("reduceMax", "ReduceMax", (values) => Math.max(...values)),
  softmax: lineOp("softmax", "Softmax", softmaxLine, (dy, y, axis) =>
    // dx = y (dy - sum(dy y))
    g.mul(y, g.sub(dy, g.reduceSum(g.mul(dy, y), [axis]))),
  ),
  /** The logarithm of the softmax, written out: WebGPU has no kernel for it as a whole. */
  logSoftmax: op<{ readonly axis: number }>({
    ...lineOp(
      "logSoftmax",
      "LogSoftmax",
      (values) => softmaxLine(values).map(Math.log),
      // dx = dy - e^y sum(dy)
      (dy, y, axis) => g.sub(dy, g.mul(g.exp(y), g.reduceSum(dy, [axis]))),
    ),
    // d - log(sum(e^d)) with d = x - max(x)
    lower: (onnx, [x], { axis }) => {
      const axes = onnx.constant(ndarray("i64", [1], BigInt64Array.of(BigInt(axis))));
      const [largest] = onnx.node("ReduceMax", [x!, axes], { keepdims: 1 });
      const [below] = onnx.node("Sub", [x!, largest!]);
      const [total] = onnx.node("ReduceSum", [onnx.node("Exp", [below!])[0]!, axes], { keepdims: 1 });
      return onnx.node("Sub", [below!, onnx.node("Log", [total!])[0]!]);
    },
  }),
  /** The i32 index of the largest element of the last axis, the first on ties; the axis is dropped. */
  argmax: op<Readonly<Record<never, never>>>({
    infer: ([x]) => {
      requireFloat("argmax", x!);
      staticDim("argmax", x!.shape, -1);
      return [{ dtype: "i32", shape: x!.shape.slice(0, -1) }];
    },
    // TopK rather than ArgMax: the same speed on a CPU, and it has a WebGPU kernel.
    lower: (onnx, [x]) => {
      const one = onnx.constant(ndarray("i64", [1], BigInt64Array.of(1n)));
      const [, index] = onnx.node("TopK", [x!, one], { axis: -1, largest: 1, sorted: 1 }, { outputs: 2 });
      const last = onnx.constant(ndarray("i64", [1], BigInt64Array.of(-1n)));
      const [flat] = onnx.node("Squeeze", [index!, last]);
      return onnx.node("Cast", [flat!], { to: 6 });
    },
    evaluate: ([x], _, [out]) => {
      const size = x!.shape.at(-1)!;
      const best = (_: unknown, row: number) => {
        const line = x!.data.subarray(row * size, (row + 1) * size);
        return line.indexOf(Math.max(...line));
      };
      return [{ shape: out!.shape, data: Float64Array.from({ length: sizeOf(out!.shape) }, best) }];
    },
  }),
};
