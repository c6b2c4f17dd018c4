/** The reductions that losses end in. */
import { reduceMean, reduceSum, reshape, square, sub, type Tensor } from "../graph/index.ts";

const allAxes = ({ shape }: Tensor): number[] => shape.map((_, axis) => axis);

/** The sum of all elements, as a scalar (). */
export function sumOf(x: Tensor): Tensor {
  return reshape(reduceSum(x, allAxes(x)), []);
}

/** The mean over all elements, as a scalar (). */
export function meanOf(x: Tensor): Tensor {
  return reshape(reduceMean(x, allAxes(x)), []);
}

/** mean((a - b)^2) over all elements, as a scalar (). The shapes are equal. */
export function meanSquaredError(a: Tensor, b: Tensor): Tensor {
  return meanOf(square(sub(a, b)));
}
