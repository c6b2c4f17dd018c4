/** Ops that act on each element: unary maps, broadcasting binary maps, selection, casts. */
import { type DType, ToklipError } from "../../core/index.ts";
import { broadcastShapes } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";
import { type NoAttrs, type Op, op, type Value } from "../op.ts";
import { isFloat, requireFloat, requireSameDtype } from "./checks.ts";
import { broadcastStrides, offsets } from "./indexing.ts";

function map(input: Value, f: (x: number) => number): Value {
  return { shape: input.shape, data: Float64Array.from(input.data, f) };
}

/** A float op of one input whose ONNX form is one node of the same shape; `gradient` gives dx. */
function unary(
  name: string,
  onnxType: string,
  f: (x: number) => number,
  gradient: (dy: Tensor, x: Tensor, y: Tensor) => Tensor | undefined,
): Op<NoAttrs> {
  return op({
    infer: ([x]) => [{ dtype: requireFloat(name, x!), shape: x!.shape }],
    lower: (onnx, inputs) => onnx.node(onnxType, inputs),
    evaluate: ([x]) => [map(x!, f)],
    gradient: ([dy], { inputs: [x], outputs: [y] }) => [gradient(dy!, x!, y!)],
  });
}

function zip(a: Value, b: Value, shape: readonly number[], f: (x: number, y: number) => number): Value {
  const left = offsets(shape, broadcastStrides(a.shape, shape));
  const right = offsets(shape, broadcastStrides(b.shape, shape));
  return { shape, data: Float64Array.from(left, (offset, i) => f(a.data[offset]!, b.data[right[i]!]!)) };
}

/** A broadcasting op of two inputs of one dtype; `gradient` gives both gradients before they are summed to shape. */
function binary(
  name: string,
  onnxType: string,
  f: (x: number, y: number) => number,
  gradient: (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => readonly [Tensor, Tensor],
): Op<NoAttrs> {
  return op({
    ...broadcasting(name, onnxType, f),
    gradient: ([dy], { inputs: [a, b], outputs: [y] }) => {
      const [da, db] = gradient(dy!, a!, b!, y!);
      return [g.sumTo(da, a!.shape), g.sumTo(db, b!.shape)];
    },
  });
}

/** The columns of a broadcasting op but for its gradient. `result` is the dtype of the result where it is another. */
function broadcasting(
  name: string,
  onnxType: string,
  f: (x: number, y: number) => number,
  result?: DType,
): Op<NoAttrs> {
  return op({
    infer: ([a, b]) => {
      const dtype = requireSameDtype(name, a!, b!);
      return [{ dtype: result ?? dtype, shape: broadcastShapes(a!.shape, b!.shape) }];
    },
    lower: (onnx, inputs) => onnx.node(onnxType, inputs),
    evaluate: ([a, b], _, [out]) => [zip(a!, b!, out!.shape, f)],
  });
}

/**
 * The error function to double precision: its Maclaurin series near zero, the continued fraction of erfc beyond
 * (Abramowitz and Stegun 7.1.5 and 7.1.14).
 */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z < 2.5) {
    let term = z;
    let sum = z;
    for (let n = 1; n < 80; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let tail = 0;
  for (let n = 60; n >= 1; n--) tail = n / 2 / (z + tail);
  return Math.sign(x) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * (z + tail)));
}

const GELU = {
  /** x * Phi(x) (Hendrycks and Gimpel 2016). */
  none: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  /** 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
  tanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

const ONNX_DTYPES: Partial<Record<DType, number>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
};

/** The number ONNX gives a dtype. @throws OP_UNSUPPORTED for the few that ONNX Runtime's kernels do not take. */
export function onnxDtype(dtype: DType): number {
  const code = ONNX_DTYPES[dtype];
  if (code === undefined) throw new ToklipError("OP_UNSUPPORTED", `dtype ${dtype} has no ONNX form`);
  return code;
}

/** phi(x) = e^(-x^2/2) / sqrt(2 pi), the density of the normal distribution. */
function normalDensity(x: Tensor): Tensor {
  return g.mul(g.exp(g.mul(g.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
}

const GELU_GRADIENTS: Record<keyof typeof GELU, (x: Tensor) => Tensor> = {
  // y' = Phi(x) + x phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2
  none: (x) => g.add(g.mul(g.add(g.erf(g.mul(x, Math.SQRT1_2)), 1), 0.5), g.mul(x, normalDensity(x))),
  // y = x s with s = sigmoid(2u), 2u = c (x + k x^3), c = 2 sqrt(2/pi), k = 0.044715; y' = s + x s (1 - s) c (1 + 3 k x^2)
  tanh: (x) => {
    const c = 2 * Math.sqrt(2 / Math.PI);
    const k = 0.044715;
    const squared = g.square(x);
    const s = g.sigmoid(g.mul(x, g.add(g.mul(squared, c * k), c)));
    const slope = g.mul(x, g.add(g.mul(squared, 3 * c * k), c));
    return g.mul(s, g.add(g.mul(g.sub(1, s), slope), 1));
  },
};

/** Below this a square root counts as this in its derivative, so that the gradient of a zero norm is 0 and not NaN. */
const SMALLEST_ROOT = 1e-30;

export const elementwiseOps = {
  // dx = -dy
  neg: unary("neg", "Neg", (x) => -x, g.neg),
  // dx = dy y
  exp: unary("exp", "Exp", Math.exp, (dy, _, y) => g.mul(dy, y)),
  // dx = dy / x
  log: unary("log", "Log", Math.log, (dy, x) => g.div(dy, x)),
  // dx = dy / (2 y)
  sqrt: unary("sqrt", "Sqrt", Math.sqrt, (dy, _, y) => g.div(g.mul(dy, 0.5), g.maximum(y, SMALLEST_ROOT))),
  // dx = dy (1 - y^2)
  tanh: unary("tanh", "Tanh", Math.tanh, (dy, _, y) => g.mul(dy, g.sub(1, g.square(y)))),
  // dx = dy y (1 - y)
  sigmoid: unary(
    "sigmoid",
    "Sigmoid",
    (x) => 1 / (1 + Math.exp(-x)),
    (dy, _, y) => g.mul(dy, g.mul(y, g.sub(1, y))),
  ),
  // dx = dy sign(x), 0 at 0
  abs: unary("abs", "Abs", Math.abs, (dy, x) => g.mul(dy, g.sign(x))),
  // dx = 0
  sign: unary("sign", "Sign", Math.sign, () => undefined),
  // dx = dy 2/sqrt(pi) e^(-x^2)
  erf: unary("erf", "Erf", erf, (dy, x) => g.mul(dy, g.mul(g.exp(g.neg(g.square(x))), 2 / Math.sqrt(Math.PI)))),
  // dx = dy sigmoid(x)
  softplus: unary(
    "softplus",
    "Softplus",
    (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    (dy, x) => g.mul(dy, g.sigmoid(x)),
  ),
  // da = dy, db = dy
  add: binary(
    "add",
    "Add",
    (x, y) => x + y,
    (dy) => [dy, dy],
  ),
  // da = dy, db = -dy
  sub: binary(
    "sub",
    "Sub",
    (x, y) => x - y,
    (dy) => [dy, g.neg(dy)],
  ),
  // da = dy b, db = dy a
  mul: binary(
    "mul",
    "Mul",
    (x, y) => x * y,
    (dy, a, b) => [g.mul(dy, b), g.mul(dy, a)],
  ),
  // da = dy / b, db = -dy y / b
  div: binary(
    "div",
    "Div",
    (x, y) => x / y,
    (dy, _, b, y) => {
      const da = g.div(dy, b);
      return [da, g.neg(g.mul(da, y))];
    },
  ),
  // da = dy [a >= b], db = dy [a < b]
  max: binary("max", "Max", Math.max, (dy, a, b) => {
    const second = g.less(a, b);
    return [g.where(second, 0, dy), g.where(second, dy, 0)];
  }),
  // da = dy [a <= b], db = dy [a > b]
  min: binary("min", "Min", Math.min, (dy, a, b) => {
    const second = g.less(b, a);
    return [g.where(second, 0, dy), g.where(second, dy, 0)];
  }),
  less: broadcasting("less", "Less", (x, y) => Number(x < y), "bool"),
  equal: broadcasting("equal", "Equal", (x, y) => Number(x === y), "bool"),
  /** x where it is positive, slope * x elsewhere. */
  leakyRelu: op<{ readonly slope: number }>({
    infer: ([x]) => [{ dtype: requireFloat("leakyRelu", x!), shape: x!.shape }],
    lower: (onnx, inputs, { slope }) =>
      slope === 0 ? onnx.node("Relu", inputs) : onnx.node("LeakyRelu", inputs, { alpha: { float: slope } }),
    evaluate: ([x], { slope }) => [map(x!, (value) => (value > 0 ? value : slope * value))],
    // dx = dy where x > 0, slope dy elsewhere
    gradient: ([dy], { inputs: [x], attrs: { slope } }) => [
      g.where(g.less(0, x!), dy!, slope === 0 ? 0 : g.mul(dy!, slope)),
    ],
  }),
  /** Gaussian error linear unit, exact or by tanh. */
  gelu: op<{ readonly approximate: "none" | "tanh" }>({
    infer: ([x]) => [{ dtype: requireFloat("gelu", x!), shape: x!.shape }],
    lower: (onnx, inputs, { approximate }) => onnx.node("Gelu", inputs, { approximate }),
    evaluate: ([x], { approximate }) => [map(x!, GELU[approximate])],
    // dx = dy y', with y' as in GELU_GRADIENTS
    gradient: ([dy], { inputs: [x], attrs: { approximate } }) => [g.mul(dy!, GELU_GRADIENTS[approximate](x!))],
  }),
  cast: op<{ readonly to: DType }>({
    infer: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
    lower: (onnx, inputs, { to }) => onnx.node("Cast", inputs, { to: onnxDtype(to) }),
    evaluate: ([x], { to }) => [to.startsWith("i") ? map(x!, Math.trunc) : x!],
    // dx = dy between floats; nothing flows through whole numbers
    gradient: ([dy], { inputs: [x] }) => [isFloat(x!.dtype) ? g.cast(dy!, x!.dtype) : undefined],
  }),
  /** Elements of the second input where the first is true, of the third elsewhere. */
  where: op<NoAttrs>({
    infer: ([condition, a, b]) => {
      if (condition!.dtype !== "bool") {
        throw new ToklipError("DTYPE_MISMATCH", `where: the condition must be bool, got ${condition!.dtype}`);
      }
      const dtype = requireSameDtype("where", a!, b!);
      return [{ dtype, shape: broadcastShapes(condition!.shape, broadcastShapes(a!.shape, b!.shape)) }];
    },
    lower: (onnx, inputs) => onnx.node("Where", inputs),
    evaluate: ([condition, a, b], _, [out]) => {
      const [at, left, right] = [condition!, a!, b!].map(({ shape }) =>
        offsets(out!.shape, broadcastStrides(shape, out!.shape)),
      );
      const pick = (offset: number, i: number) =>
        condition!.data[offset] ? a!.data[left![i]!]! : b!.data[right![i]!]!;
      return [{ shape: out!.shape, data: Float64Array.from(at!, pick) }];
    },
    // da = dy where the condition holds, db = dy elsewhere
    gradient: ([dy], { inputs: [condition, a, b] }) => [
      undefined,
      g.sumTo(g.where(condition!, dy!, 0), a!.shape),
      g.sumTo(g.where(condition!, 0, dy!), b!.shape),
    ],
  }),
};
