/** The two-layer perceptron of a transformer block. */
import type { Tensor } from "../graph/index.ts";
import { type Activation, activate } from "./activation.ts";
import { linear } from "./linear.ts";
import type { Scope } from "./scope.ts";

/** How a perceptron is built. */
export interface MlpOptions {
  /** Names of the two linear layers: timm's `fc1`, `fc2`, or open_clip's `c_fc`, `c_proj`. */
  readonly layers: readonly [string, string];
  readonly ratio: number;
  readonly act: Activation;
}

/** x (..., D) -> hidden int(D * ratio) -> (..., D). */
export function mlp(scope: Scope, x: Tensor, { layers: [first, second], ratio, act }: MlpOptions): Tensor {
  const width = x.shape.at(-1) as number;
  const hidden = activate(linear(scope.at(first), x, Math.trunc(width * ratio)), act);
  return linear(scope.at(second), hidden, width);
}
