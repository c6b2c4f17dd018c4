/** The ops as functions over symbolic tensors: what layers and models are written in. */
import { type DType, ndarray, ToklipError } from "../core/index.ts";
import { dimProduct, isStatic, type Shape, sameShape } from "./dim.ts";
import type { Tensor } from "./graph.ts";
import type { AttrsOf, OpName } from "./op-table.ts";

/** A tensor, or a number that takes the other operand's dtype. */
export type Operand = Tensor | number;

function one<K extends OpName>(name: K, inputs: readonly Tensor[], attrs: AttrsOf<K>): Tensor {
  return inputs[0]!.graph.apply(name, inputs, attrs)[0]!;
}

/** A scalar constant. Only f32, i32 and i64 scalars are ever needed. */
function scalar(like: Tensor, value: number): Tensor {
  const make: Partial<Record<DType, () => Tensor>> = {
    f32: () => like.graph.constant(ndarray("f32", [], Float32Array.of(value))),
    i32: () => like.graph.constant(ndarray("i32", [], Int32Array.of(value))),
    i64: () => like.graph.constant(ndarray("i64", [], BigInt64Array.of(BigInt(value)))),
  };
  const made = make[like.dtype]?.();
  if (made === undefined) throw new ToklipError("DTYPE_MISMATCH", `a number cannot be combined with ${like.dtype}`);
  return made;
}

type BinaryName = "add" | "sub" | "mul" | "div" | "max" | "min" | "less" | "equal";

function operands(name: OpName, a: Operand, b: Operand): readonly [Tensor, Tensor] {
  if (typeof a === "number" && typeof b === "number") {
    throw new ToklipError("GRAPH_INVALID", `${name}: one operand must be a tensor`);
  }
  const left = typeof a === "number" ? scalar(b as Tensor, a) : a;
  const right = typeof b === "number" ? scalar(a as Tensor, b) : b;
  return [left, right];
}

function binary(name: BinaryName, a: Operand, b: Operand): Tensor {
  return one(name, operands(name, a, b), {});
}

/** Elementwise a + b, broadcast. */
export const add = (a: Operand, b: Operand): Tensor => binary("add", a, b);
/** Elementwise a - b, broadcast. */
export const sub = (a: Operand, b: Operand): Tensor => binary("sub", a, b);
/** Elementwise a * b, broadcast. */
export const mul = (a: Operand, b: Operand): Tensor => binary("mul", a, b);
/** Elementwise a / b, broadcast. */
export const div = (a: Operand, b: Operand): Tensor => binary("div", a, b);
/** The larger of each two elements. */
export const maximum = (a: Operand, b: Operand): Tensor => binary("max", a, b);
/** The smaller of each two elements. */
export const minimum = (a: Operand, b: Operand): Tensor => binary("min", a, b);
/** Whether a < b, as bool. */
export const less = (a: Operand, b: Operand): Tensor => binary("less", a, b);
/** Whether a = b, as bool. */
export const equal = (a: Operand, b: Operand): Tensor => binary("equal", a, b);

/** -x. */
export const neg = (x: Tensor): Tensor => one("neg", [x], {});
/** e to the power of x. */
export const exp = (x: Tensor): Tensor => one("exp", [x], {});
/** The natural logarithm. */
export const log = (x: Tensor): Tensor => one("log", [x], {});
/** The square root. */
export const sqrt = (x: Tensor): Tensor => one("sqrt", [x], {});
/** The hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => one("tanh", [x], {});
/** 1 / (1 + e^-x). */
export const sigmoid = (x: Tensor): Tensor => one("sigmoid", [x], {});
/** |x|. */
export const abs = (x: Tensor): Tensor => one("abs", [x], {});
/** -1, 0 or 1. */
export const sign = (x: Tensor): Tensor => one("sign", [x], {});
/** The error function. */
export const erf = (x: Tensor): Tensor => one("erf", [x], {});
/** log(1 + e^x), without overflow. */
export const softplus = (x: Tensor): Tensor => one("softplus", [x], {});
/** x where it is positive, slope * x elsewhere. */
export const leakyRelu = (x: Tensor, slope: number): Tensor => one("leakyRelu", [x], { slope });
/** The positive part of x. */
export const relu = (x: Tensor): Tensor => leakyRelu(x, 0);
/** x * x. */
export const square = (x: Tensor): Tensor => mul(x, x);
/** x times the normal distribution function of x, exact or by tanh. */
export const gelu = (x: Tensor, approximate: "none" | "tanh" = "none"): Tensor => one("gelu", [x], { approximate });
/** Elements of `a` where the condition is true, of `b` elsewhere. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return one("where", [condition, ...operands("where", a, b)], {});
}

/** The same values in another dtype; fractions are cut off. */
export const cast = (x: Tensor, to: DType): Tensor => (x.dtype === to ? x : one("cast", [x], { to }));

/** The same elements in another shape of the same size. */
export const reshape = (x: Tensor, shape: Shape): Tensor => one("reshape", [x], { shape });
/** Axis i of the result is axis `perm[i]` of x. */
export const transpose = (x: Tensor, perm: readonly number[]): Tensor => one("transpose", [x], { perm });
/** Repeats axes of size 1 to a larger shape. */
export const expand = (x: Tensor, shape: Shape): Tensor => one("expand", [x], { shape });
/** Joins tensors along one axis. */
export const concat = (parts: readonly Tensor[], axis: number): Tensor => one("concat", parts, { axis });
/** Rows of x along `axis`, named by an integer tensor whose shape replaces that axis. */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor => one("gather", [x, indices], { axis });

/**
 * The sum of the rows that go to each place: indices i32 (...I) in [0, rows), updates (...I, D) -> (rows, D).
 * The reverse of `gather` along the first axis.
 */
export function scatterRows(indices: Tensor, updates: Tensor, rows: number): Tensor {
  const flat = reshape(indices, [dimProduct(indices.shape)]);
  return one("scatterRows", [flat, flattenRows(updates)], { rows });
}

/** Repeats each row and column of (B, C, H, W) so many times. */
export function upsampleNearest(x: Tensor, scale: readonly [number, number] = [2, 2]): Tensor {
  return one("upsampleNearest", [x], { scale });
}

/** Elements `start` to `end` (exclusive), every `step`th, along one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number, step = 1): Tensor {
  return one("slice", [x], { axis, start, end, step });
}

/** Cuts one axis into parts of the given sizes. */
export function split(x: Tensor, axis: number, sizes: readonly number[]): readonly Tensor[] {
  return x.graph.apply("split", [x], { axis, sizes });
}

/** Adds `before[i]` and `after[i]` elements of `value` around axis i. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[], value = 0): Tensor {
  return one("pad", [x], { before, after, value });
}

/** (..., M, K) (..., K, N) -> (..., M, N), leading axes broadcast. */
export const matmul = (a: Tensor, b: Tensor): Tensor => one("matmul", [a, b], {});

/** op(a) op(b) + bias for two matrices. */
export function gemm(a: Tensor, b: Tensor, bias?: Tensor, { transA = false, transB = false } = {}): Tensor {
  return one("gemm", bias ? [a, b, bias] : [a, b], { transA, transB });
}

/** How a convolution moves over its input. */
export interface Conv2dOptions {
  readonly stride?: readonly [number, number];
  /** Zeros at the top, left, bottom, right. */
  readonly pads?: readonly [number, number, number, number];
  readonly dilations?: readonly [number, number];
  readonly groups?: number;
}

/** Cross-correlation of (B, C, H, W) with a weight (O, C/groups, kH, kW). */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: Conv2dOptions = {}): Tensor {
  const { stride = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1 } = options;
  return one("conv2d", bias ? [x, weight, bias] : [x, weight], { strides: stride, pads, dilations, groups });
}

/** How a transposed convolution moves over its output. */
export interface ConvTranspose2dOptions extends Omit<Conv2dOptions, "groups"> {
  /** The height and width of the result. */
  readonly size: readonly [number, number];
}

/** The adjoint of `conv2d` in its first operand: (B, O, h, w) with a weight (O, C, kH, kW) -> (B, C, H, W). */
export function convTranspose2d(x: Tensor, weight: Tensor, options: ConvTranspose2dOptions): Tensor {
  const { stride = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], size } = options;
  return one("convTranspose2d", [x, weight], { strides: stride, pads, dilations, size });
}

/** The largest element of each 2x2 window of (B, C, H, W); an odd last row or column is left out. */
export const maxPool2x2 = (x: Tensor): Tensor => one("maxPool2x2", [x], {});
/** dy (B, C, H/2, W/2) at the largest element of each 2x2 window of x (B, C, H, W), the first on ties; 0 elsewhere. */
export const maxPool2x2Gradient = (x: Tensor, dy: Tensor): Tensor => one("maxPool2x2Gradient", [x, dy], {});

/** How a pooling window moves over its input. */
export interface Pool2dOptions {
  readonly kernel: readonly [number, number];
  readonly stride?: readonly [number, number];
  /** Rows and columns at the top, left, bottom, right that never count. */
  readonly pads?: readonly [number, number, number, number];
  readonly dilations?: readonly [number, number];
}

function poolAttrs({ kernel, stride = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1] }: Pool2dOptions) {
  return { kernel, strides: stride, pads, dilations };
}

/** The largest element of each window of (B, C, H, W); windows may overlap. */
export const maxPool2d = (x: Tensor, options: Pool2dOptions): Tensor => one("maxPool2d", [x], poolAttrs(options));
/** dy at the largest element of each window of x, the first on ties, summed where windows share one; 0 elsewhere. */
export function maxPool2dGradient(x: Tensor, dy: Tensor, options: Pool2dOptions): Tensor {
  return one("maxPool2dGradient", [x, dy], poolAttrs(options));
}

/** The sum over some axes, which stay with size 1. */
export const reduceSum = (x: Tensor, axes: readonly number[]): Tensor => one("reduceSum", [x], { axes });
/** The mean over some axes, which stay with size 1. */
export const reduceMean = (x: Tensor, axes: readonly number[]): Tensor => one("reduceMean", [x], { axes });
/** The largest element over some axes, which stay with size 1. */
export const reduceMax = (x: Tensor, axes: readonly number[]): Tensor => one("reduceMax", [x], { axes });
/** e^x over the sum of e^x along one axis. */
export const softmax = (x: Tensor, axis = -1): Tensor => one("softmax", [x], { axis });
/** The logarithm of the softmax along one axis. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => one("logSoftmax", [x], { axis });
/** The i32 index of the largest element of the last axis, the first on ties; the axis is dropped. */
export const argmax = (x: Tensor): Tensor => one("argmax", [x], {});

/** Normalises the last axis, then scales and shifts it. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  return one("layerNorm", [x, weight, bias], { eps });
}

/** Divides the last axis by the square root of its mean square plus eps, then scales it. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return one("rmsNorm", [x, weight], { eps });
}

/** Normalises groups of channels of (B, C, H, W), then scales and shifts each channel. */
export function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, groups: number, eps: number): Tensor {
  return one("groupNorm", [x, weight, bias], { groups, eps });
}

/** The last axis divided by its Euclidean norm, which is taken as at least `eps`. */
export function l2Normalize(x: Tensor, eps = 1e-12): Tensor {
  return div(x, maximum(sqrt(reduceSum(mul(x, x), [-1])), eps));
}

/** All leading axes as one: (..., D) -> (M, D). */
export function flattenRows(x: Tensor): Tensor {
  const width = x.shape.at(-1)!;
  return x.shape.length === 2 ? x : reshape(x, [dimProduct(x.shape.slice(0, -1)), width]);
}

/** The sum over all axes along which a tensor of `shape` would be repeated to x: the reverse of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) => axis < lead || shape[axis - lead] !== x.shape[axis]);
  const sums = axes.length > 0 ? reduceSum(x, axes) : x;
  return lead > 0 ? reshape(sums, shape) : sums;
}

/** Zeros of the type of x. */
export function zerosLike(x: Tensor): Tensor {
  if (!x.shape.every(isStatic)) return mul(x, 0);
  return expand(
    reshape(
      scalar(x, 0),
      x.shape.map(() => 1),
    ),
    x.shape,
  );
}

/** x, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => one("stopGradient", [x], {});

/**
 * `value` forwards, the gradient to `through` backwards: through + stopGradient(value - through), the straight-through
 * estimator (Bengio et al. 2013). It differs from `value` by rounding.
 */
export function straightThrough(value: Tensor, through: Tensor): Tensor {
  return add(through, stopGradient(sub(value, through)));
}

/**
 * x, marked as an edge of a part of the model (a block) whose inner values may be computed again for the gradient
 * instead of being kept: see `recompute` of `gradients`.
 */
export const boundary = (x: Tensor): Tensor => one("boundary", [x], {});

/** x, but not before `trigger` is there. What is computed from it is not merged with what is computed from x. */
export const after = (x: Tensor, trigger: Tensor): Tensor => one("after", [x, trigger], {});
