/** Ops that act on each element: unary maps, broadcasting binary maps, selection, casts. */
import { type DType, ToklipError } from "../../core/index.ts";
import { broadcastShapes } from "../dim.ts";
import { type NoAttrs, type Op, op, type Value } from "../op.ts";
import { requireFloat, requireSameDtype } from "./checks.ts";
import { broadcastStrides, offsets } from "./indexing.ts";

function map(input: Value, f: (x: number) => number): Value {
  return { shape: input.shape, data: Float64Array.from(input.data, f) };
}

/** A float op of one input whose ONNX form is one node of the same shape. */
function unary(name: string, onnxType: string, f: (x: number) => number): Op<NoAttrs> {
  return op({
    infer: ([x]) => [{ dtype: requireFloat(name, x!), shape: x!.shape }],
    lower: (onnx, inputs) => onnx.node(onnxType, inputs),
    evaluate: ([x]) => [map(x!, f)],
  });
}

function zip(a: Value, b: Value, shape: readonly number[], f: (x: number, y: number) => number): Value {
  const left = offsets(shape, broadcastStrides(a.shape, shape));
  const right = offsets(shape, broadcastStrides(b.shape, shape));
  return { shape, data: Float64Array.from(left, (offset, i) => f(a.data[offset]!, b.data[right[i]!]!)) };
}

/** A broadcasting op of two inputs of one dtype. */
function binary(name: string, onnxType: string, f: (x: number, y: number) => number, result?: DType): Op<NoAttrs> {
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

export const elementwiseOps = {
  neg: unary("neg", "Neg", (x) => -x),
  exp: unary("exp", "Exp", Math.exp),
  log: unary("log", "Log", Math.log),
  sqrt: unary("sqrt", "Sqrt", Math.sqrt),
  tanh: unary("tanh", "Tanh", Math.tanh),
  sigmoid: unary("sigmoid", "Sigmoid", (x) => 1 / (1 + Math.exp(-x))),
  add: binary("add", "Add", (x, y) => x + y),
  sub: binary("sub", "Sub", (x, y) => x - y),
  mul: binary("mul", "Mul", (x, y) => x * y),
  div: binary("div", "Div", (x, y) => x / y),
  max: binary("max", "Max", Math.max),
  min: binary("min", "Min", Math.min),
  less: binary("less", "Less", (x, y) => Number(x < y), "bool"),
  equal: binary("equal", "Equal", (x, y) => Number(x === y), "bool"),
  /** Gaussian error linear unit, exact or by tanh. */
  gelu: op<{ readonly approximate: "none" | "tanh" }>({
    infer: ([x]) => [{ dtype: requireFloat("gelu", x!), shape: x!.shape }],
    lower: (onnx, inputs, { approximate }) => onnx.node("Gelu", inputs, { approximate }),
    evaluate: ([x], { approximate }) => [map(x!, GELU[approximate])],
  }),
  cast: op<{ readonly to: DType }>({
    infer: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
    lower: (onnx, inputs, { to }) => onnx.node("Cast", inputs, { to: onnxDtype(to) }),
    evaluate: ([x], { to }) => [to.startsWith("i") ? map(x!, Math.trunc) : x!],
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
  }),
};
