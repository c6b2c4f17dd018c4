/** Linear layers, in PyTorch's layout: weight (out, in), bias (out). */
import { flattenRows, gemm, reshape, type Tensor } from "../graph/index.ts";
import type { Scope } from "./scope.ts";

/** x (..., in), weight (out, in), bias (out) -> (..., out). */
export function applyLinear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const rows = gemm(flattenRows(x), weight, bias, { transB: true });
  return x.shape.length === 2 ? rows : reshape(rows, [...x.shape.slice(0, -1), weight.shape[0]!]);
}

/** A module `{weight, bias}`: x (..., in) -> (..., outWidth). */
export function linear(scope: Scope, x: Tensor, outWidth: number, { bias = true } = {}): Tensor {
  const inWidth = x.shape.at(-1) as number;
  const weight = scope.parameter("weight", [outWidth, inWidth]);
  return applyLinear(x, weight, bias ? scope.parameter("bias", [outWidth]) : undefined);
}
