/** How far a reconstruction is from its picture, pixel by pixel. Both are (B, 3, H, W); results are scalars (). */
import { abs, sub, type Tensor } from "../graph/index.ts";
import { meanOf, meanSquaredError } from "./reduction.ts";

/** The names of the pixel losses. */
export type ReconstructionLoss = "l1" | "l2";

/** The pixel losses by name: the mean absolute and the mean squared difference. */
export const RECONSTRUCTION_LOSSES: Readonly<
  Record<ReconstructionLoss, (reconstruction: Tensor, pixels: Tensor) => Tensor>
> = {
  l1: (reconstruction, pixels) => meanOf(abs(sub(reconstruction, pixels))),
  l2: meanSquaredError,
};
