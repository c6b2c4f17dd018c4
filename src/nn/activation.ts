/** Activation functions by the names that configurations use. */
import { gelu, mul, sigmoid, type Tensor } from "../graph/index.ts";

/** The activation functions of transformer blocks. */
export type Activation = "gelu" | "gelu_tanh";

const ACTIVATIONS: Record<Activation, (x: Tensor) => Tensor> = {
  gelu: (x) => gelu(x, "none"),
  gelu_tanh: (x) => gelu(x, "tanh"),
};

/** Applies an activation by name. */
export function activate(x: Tensor, name: Activation): Tensor {
  return ACTIVATIONS[name](x);
}

/** x * sigmoid(x) (Ramachandran et al. 2017), also called SiLU. */
export function swish(x: Tensor): Tensor {
  return mul(x, sigmoid(x));
}
