/** Matrix products, reductions and softmax of ONNX. */
import * as g from "../../graph/index.ts";
import { foldReduction } from "./arithmetic.ts";
import type { Call, Row } from "./call.ts";
import { reshape } from "./moves.ts";
import type { Value } from "./value.ts";

/** alpha op(a) op(b) + beta c, c broadcast. */
const gemm: Row = (call) => {
  const [a, b] = [call.tensor(0), call.tensor(1)];
  const [alpha, beta] = [call.float("alpha", 1), call.float("beta", 1)];
  const options = { transA: call.int("transA", 0) === 1, transB: call.int("transB", 0) === 1 };
  const bias = call.has(2) ? call.tensor(2) : undefined;
  const width = b.shape[options.transB ? 0 : 1];
  const isPlain = alpha === 1 && beta === 1 && bias?.shape.length === 1 && bias.shape[0] === width;
  if (isPlain) return g.gemm(a, b, bias, options);
  const product = g.gemm(a, b, undefined, options);
  const scaled = alpha === 1 ? product : g.mul(product, alpha);
  if (bias === undefined) return scaled;
  return g.add(scaled, beta === 1 ? bias : g.mul(bias, beta));
};

/** The axes of a reduction: an attribute in older operator sets, an input in newer; all where they are left out. */
function reducedAxes(call: Call, rank: number): readonly number[] {
  const axes = call.settings("axes", 1) ?? [];
  if (axes.length > 0) return axes.map((axis) => g.resolveAxis(axis, rank));
  return call.int("noop_with_empty_axes", 0) === 1 ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

/** A reduction; `none` is what it makes of each element where there is no axis to reduce. */
const reduction =
  (
    f: (x: g.Tensor, axes: readonly number[], call: Call) => g.Tensor,
    none: (call: Call) => Value = (call) => call.value(0),
  ): Row =>
  (call) => {
    const value = call.value(0);
    const axes = [...new Set(reducedAxes(call, value.shape.length))];
    if (axes.length === 0) return none(call);
    const reduced = foldReduction(call.node.opType, value, axes) ?? f(call.tensor(0), axes, call);
    if (call.int("keepdims", 1) === 1) return reduced;
    return reshape(
      reduced,
      reduced.shape.filter((_, axis) => !axes.includes(axis)),
    );
  };

/** Softmax: along one axis since version 13, before over all axes from one on. */
const alongAxis =
  (f: (x: g.Tensor, axis: number) => g.Tensor): Row =>
  (call) => {
    const x = call.tensor(0);
    const axis = g.resolveAxis(call.int("axis", call.opset < 13 ? 1 : -1), x.shape.length);
    if (call.opset >= 13 || axis === x.shape.length - 1) return f(x, axis);
    const flat = g.reshape(x, [...x.shape.slice(0, axis), g.dimProduct(x.shape.slice(axis))]);
    return g.reshape(f(flat, axis), x.shape);
  };

export const linearOperators: Readonly<Record<string, Row>> = {
  Gemm: gemm,
  LogSoftmax: alongAxis(g.logSoftmax),
  MatMul: (call) => g.matmul(call.tensor(0), call.tensor(1)),
  ReduceL2: reduction(
    (x, axes) => g.sqrt(g.reduceSum(g.square(x), axes)),
    (call) => g.abs(call.tensor(0)),
  ),
  ReduceMax: reduction(g.reduceMax),
  ReduceMean: reduction(g.reduceMean),
  ReduceProd: reduction((_, __, call) => call.refuse("a product of what is not constant")),
  ReduceSum: reduction(g.reduceSum),
  Softmax: alongAxis(g.softmax),
};
