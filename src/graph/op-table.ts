/** The one table of ops. A new op is one row here and one line in the test of every row. */
import type { Op } from "./op.ts";
import { elementwiseOps } from "./ops/elementwise.ts";
import { linearOps } from "./ops/linear.ts";
import { markOps } from "./ops/marks.ts";
import { normalizationOps } from "./ops/normalization.ts";
import { poolingOps } from "./ops/pooling.ts";
import { quantizedOps } from "./ops/quantized.ts";
import { reductionOps } from "./ops/reduction.ts";
import { shapingOps } from "./ops/shaping.ts";
import { windowPoolingOps } from "./ops/window-pooling.ts";

/** Every op by name. */
export const OPS = {
  ...elementwiseOps,
  ...shapingOps,
  ...linearOps,
  ...normalizationOps,
  ...reductionOps,
  ...quantizedOps,
  ...markOps,
  ...poolingOps,
  ...windowPoolingOps,
};

/** The name of an op. */
export type OpName = keyof typeof OPS;
/** The attributes that an op takes. */
export type AttrsOf<K extends OpName> = (typeof OPS)[K] extends Op<infer A> ? A : never;

/** The row of an op, for code that treats all ops alike. */
export function opRow(name: OpName): Op<unknown> {
  return OPS[name] as Op<unknown>;
}

/** The names of all ops. */
export function opNames(): OpName[] {
  return Object.keys(OPS) as OpName[];
}
