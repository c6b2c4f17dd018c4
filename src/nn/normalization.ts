/** Normalisation layers `{weight, bias}`. */
import { groupNorm as normalizeGroups, layerNorm as normalizeLast, type Tensor } from "../graph/index.ts";
import type { Scope } from "./scope.ts";

/** x (..., D) -> the same shape. */
export function layerNorm(scope: Scope, x: Tensor, eps: number): Tensor {
  const width = [x.shape.at(-1) as number];
  return normalizeLast(x, scope.parameter("weight", width), scope.parameter("bias", width), eps);
}

/** x (B, C, H, W) -> the same shape. */
export function groupNorm(scope: Scope, x: Tensor, { groups = 32, eps = 1e-6 } = {}): Tensor {
  const channels = [x.shape[1] as number];
  return normalizeGroups(x, scope.parameter("weight", channels), scope.parameter("bias", channels), groups, eps);
}
