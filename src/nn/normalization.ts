/** Normalisation layers `{weight, bias}`; those by the root mean square have no bias. */
import {
  groupNorm as normalizeGroups,
  layerNorm as normalizeLast,
  rmsNorm as normalizeRoot,
  type Tensor,
} from "../graph/index.ts";
import type { Scope } from "./scope.ts";

/** x (..., D) -> the same shape. */
export function layerNorm(scope: Scope, x: Tensor, eps: number): Tensor {
  const width = [x.shape.at(-1) as number];
  return normalizeLast(x, scope.parameter("weight", width), scope.parameter("bias", width), eps);
}

/** x (..., D) -> the same shape (arXiv 1910.07467). */
export function rmsNorm(scope: Scope, x: Tensor, eps: number): Tensor {
  return normalizeRoot(x, scope.parameter("weight", [x.shape.at(-1) as number]), eps);
}

/** x (B, C, H, W) -> the same shape. */
export function groupNorm(scope: Scope, x: Tensor, { groups = 32, eps = 1e-6 } = {}): Tensor {
  const channels = [x.shape[1] as number];
  return normalizeGroups(x, scope.parameter("weight", channels), scope.parameter("bias", channels), groups, eps);
}
