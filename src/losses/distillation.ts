/**
 * Distillation: the student's features drawn towards a teacher's (TokLIP, arXiv 2505.05422, section 3). The teacher is
 * fed to the graph or held still: no gradient reaches it.
 *
 * Follows the reference's `DistillSimpleClipLoss`. Its other loss class has a term on token features that its training
 * cannot reach; here it can be used. The reference's distillation of text logits is not here: it never enters the loss.
 *
 * Dim letters: B batch, N image tokens, D width.
 */
import { mul, stopGradient, type Tensor } from "../graph/index.ts";
import { meanSquaredError } from "./reduction.ts";

/** The reference's weight of image features. */
export const IMAGE_DISTILLATION_WEIGHT = 1000;
/** The reference's weight of token features. */
export const TOKEN_DISTILLATION_WEIGHT = 10;

function distill(student: Tensor, teacher: Tensor, weight: number): Tensor {
  return mul(meanSquaredError(student, stopGradient(teacher)), weight);
}

/** weight * mean((student - teacher)^2) over image features (B, D), both of unit length: the caller normalises them. */
export function imageDistillationLoss(student: Tensor, teacher: Tensor, weight = IMAGE_DISTILLATION_WEIGHT): Tensor {
  return distill(student, teacher, weight);
}

/** weight * mean((student - teacher)^2) over token features (B, N, D), as they are. */
export function tokenDistillationLoss(student: Tensor, teacher: Tensor, weight = TOKEN_DISTILLATION_WEIGHT): Tensor {
  return distill(student, teacher, weight);
}
