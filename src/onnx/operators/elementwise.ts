/** Elementwise operators of ONNX as calls of our ops. */
import { ToklipError } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import { dtypeOfOnnx } from "../tensor-reader.ts";
import { foldBinary, foldUnary, foldWhere } from "./arithmetic.ts";
import type { Call, Row } from "./call.ts";
import { isKnown, toTensor } from "./value.ts";

const unary =
  (f: (x: g.Tensor, call: Call) => g.Tensor): Row =>
  (call) =>
    foldUnary(call.node.opType, call.value(0)) ?? f(call.tensor(0), call);

/** An operator of two operands, or of more that are combined from left to right. */
const binary =
  (f: (a: g.Tensor, b: g.Tensor) => g.Tensor): Row =>
  (call) =>
    call
      .values()
      .reduce((a, b) => foldBinary(call.node.opType, a, b) ?? f(toTensor(call.graph, a), toTensor(call.graph, b)));

/** An operator that only known values have. */
const knownOnly: Row = (call) => {
  const [a, b] = call.values();
  const folded = b === undefined ? foldUnary(call.node.opType, a!) : foldBinary(call.node.opType, a!, b);
  return folded ?? call.refuse("an operand that is not a constant");
};

/** x to the power of a whole number, by squaring. */
function wholePower(x: g.Tensor, exponent: number): g.Tensor {
  if (exponent === 1) return x;
  const half = wholePower(x, exponent >> 1);
  const squared = g.square(half);
  return exponent % 2 === 0 ? squared : g.mul(squared, x);
}

/** Products beyond this make more of a graph than the exponential does. */
const LARGEST_WHOLE_POWER = 64;

/** x to a constant power: by products and roots where it can be, else e^(p log x), for positive x. */
function power(x: g.Tensor, exponent: number): g.Tensor {
  if (exponent === 0) return g.add(g.mul(x, 0), 1);
  if (exponent < 0) return g.div(1, power(x, -exponent));
  if (exponent === 0.5) return g.sqrt(x);
  if (Number.isInteger(exponent)) {
    if (exponent <= LARGEST_WHOLE_POWER) return wholePower(x, exponent);
    throw new ToklipError("OP_UNSUPPORTED", `the exponent ${exponent} is too large`);
  }
  return g.exp(g.mul(g.log(x), exponent));
}

const pow: Row = (call) => {
  const folded = foldBinary("Pow", call.value(0), call.value(1));
  return folded ?? power(call.tensor(0), call.number(1));
};

/** Clip: limits are attributes up to version 6, inputs that may be left out since 11. */
const clip: Row = (call) => {
  const limit = (name: string, index: number, none: number) =>
    call.has(index) ? call.number(index) : call.float(name, none);
  const [least, most] = [limit("min", 1, -Infinity), limit("max", 2, Infinity)];
  const raised = least > -Infinity ? g.maximum(call.tensor(0), least) : call.tensor(0);
  return most < Infinity ? g.minimum(raised, most) : raised;
};

/** max(0, min(1, alpha x + beta)). */
function hardSigmoid(x: g.Tensor, alpha: number, beta: number): g.Tensor {
  return g.minimum(g.maximum(g.add(g.mul(x, alpha), beta), 0), 1);
}

function gelu(x: g.Tensor, call: Call): g.Tensor {
  const approximate = call.text("approximate", "none");
  if (approximate !== "none" && approximate !== "tanh") return call.refuse(`approximate ${approximate}`);
  return g.gelu(x, approximate);
}

/** x where it is positive; slope x elsewhere, the slope a tensor. */
const prelu: Row = (call) => {
  const x = call.tensor(0);
  return g.where(g.less(0, x), x, g.mul(x, call.tensor(1)));
};

/** x where it is positive, alpha (e^x - 1) elsewhere. The exponent is cut at 0, so that it does not overflow there. */
function elu(x: g.Tensor, call: Call): g.Tensor {
  return g.where(g.less(0, x), x, g.mul(g.sub(g.exp(g.minimum(x, 0)), 1), call.float("alpha", 1)));
}

/** Floats are f32 all through; other casts are of what is known, or of conditions and indices. */
const cast: Row = (call) => {
  const value = call.value(0);
  const named = dtypeOfOnnx(call.int("to", 0), "Cast");
  const isFloat = ["f32", "f16", "bf16", "f64"].includes(named);
  const to = isFloat ? "f32" : named === "bool" ? "bool" : "i64";
  if (value.dtype === to) return value;
  if (!isKnown(value)) return to === "bool" ? call.refuse("a cast to bool") : g.cast(value, to);
  const convert = (item: number) => (to === "bool" ? Number(item !== 0) : to === "i64" ? Math.trunc(item) : item);
  return { ...value, dtype: to, items: value.items.map((item) => (g.isStatic(item) ? convert(item) : item)) };
};

const where: Row = (call) => {
  const folded = foldWhere(call.value(0), call.value(1), call.value(2));
  return folded ?? g.where(call.tensor(0), call.tensor(1), call.tensor(2));
};

export const elementwiseOperators: Readonly<Record<string, Row>> = {
  Abs: unary(g.abs),
  Add: binary(g.add),
  And: knownOnly,
  Cast: cast,
  Ceil: knownOnly,
  Clip: clip,
  Div: binary(g.div),
  Dropout: (call) => call.value(0), // as in inference
  Elu: unary(elu),
  Equal: binary(g.equal),
  Erf: unary(g.erf),
  Exp: unary(g.exp),
  Floor: knownOnly,
  Gelu: unary(gelu),
  Greater: binary((a, b) => g.less(b, a)),
  GreaterOrEqual: knownOnly,
  HardSigmoid: unary((x, call) => hardSigmoid(x, call.float("alpha", 0.2), call.float("beta", 0.5))),
  HardSwish: unary((x) => g.mul(x, hardSigmoid(x, 1 / 6, 0.5))),
  Identity: (call) => call.value(0),
  LeakyRelu: unary((x, call) => g.leakyRelu(x, call.float("alpha", 0.01))),
  Less: binary(g.less),
  LessOrEqual: knownOnly,
  Log: unary(g.log),
  Max: binary(g.maximum),
  Min: binary(g.minimum),
  Mish: unary((x) => g.mul(x, g.tanh(g.softplus(x)))),
  Mod: knownOnly,
  Mul: binary(g.mul),
  Neg: unary(g.neg),
  Not: knownOnly,
  Or: knownOnly,
  PRelu: prelu,
  Pow: pow,
  Reciprocal: unary((x) => g.div(1, x)),
  Relu: unary(g.relu),
  Round: knownOnly,
  Sigmoid: unary(g.sigmoid),
  Sign: unary(g.sign),
  Softplus: unary(g.softplus),
  Sqrt: unary(g.sqrt),
  Sub: binary(g.sub),
  Sum: binary(g.add),
  Tanh: unary(g.tanh),
  Where: where,
};
