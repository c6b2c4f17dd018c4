/**
 * The loss of a language model: cross entropy of each token given those before it, without label smoothing. Over all tokens,
 * as LlamaGen (arXiv 2406.06525) trains with it; or, where samples of several tasks are packed, over tokens of different
 * weights, some of which are only read.
 *
 * Dim letters: B batch, N tokens, V vocabulary, M = B N.
 */
import { ndarray } from "../core/index.ts";
import {
  add,
  cast,
  div,
  gather,
  less,
  logSoftmax,
  maximum,
  mul,
  neg,
  reduceSum,
  reshape,
  type Tensor,
  where,
} from "../graph/index.ts";
import { meanOf, sumOf } from "./reduction.ts";

/** -log softmax(logits)[target] of each token: logits (B, N, V), targets i32 (B, N), all static -> (B, N). */
export function tokenLosses(logits: Tensor, targets: Tensor): Tensor {
  const [batch, tokens, vocabulary] = logits.shape as [number, number, number];
  const rows = batch * tokens;
  // One element a row, by its place in all of them: its gradient touches those elements only.
  const starts = Int32Array.from({ length: rows }, (_, row) => row * vocabulary);
  const places = add(logits.graph.constant(ndarray("i32", [rows], starts)), reshape(targets, [rows]));
  const flat = reshape(logSoftmax(logits, -1), [rows * vocabulary, 1]);
  return neg(reshape(gather(flat, places), [batch, tokens]));
}

/**
 * The mean of `tokenLosses` over all tokens, a scalar ().
 * @param valid f32 (B), the weight of each sample: then the mean over those that count, sum_bn loss_bn valid_b /
 * max(N sum_b valid_b, 1)
 */
export function nextTokenLoss(logits: Tensor, targets: Tensor, valid?: Tensor): Tensor {
  const losses = tokenLosses(logits, targets);
  if (valid === undefined) return meanOf(losses);
  const [batch, tokens] = losses.shape as [number, number];
  const weighted = sumOf(mul(reduceSum(losses, [1]), reshape(valid, [batch, 1])));
  return div(weighted, maximum(mul(sumOf(valid), tokens), 1));
}

/** What a mean over tokens of different weights is made of, both scalars (). */
export interface WeightedLosses {
  /** The sum of weight times loss. */
  readonly loss: Tensor;
  /** The sum of the weights that count. */
  readonly weight: Tensor;
}

/** The sums of `weightedTokenLoss`, for a caller that has a mean over several graphs to take. */
export function weightedTokenSums(logits: Tensor, targets: Tensor, weights: Tensor): WeightedLosses {
  const counted = mul(weights, cast(less(-1, targets), "f32"));
  const losses = tokenLosses(logits, maximum(targets, 0));
  return { loss: sumOf(mul(losses, counted)), weight: sumOf(counted) };
}

/**
 * The mean of `tokenLosses` by weight, a scalar (): sum w loss / sum w, and 0 where nothing has a weight.
 * @param logits (B, N, V)
 * @param targets i32 (B, N), -1 where there is no loss
 * @param weights f32 (B, N), at least 0
 * @param total the sum of weights to divide by, where these tokens are a part of a batch; by default that of these
 */
export function weightedTokenLoss(logits: Tensor, targets: Tensor, weights: Tensor, total?: Tensor): Tensor {
  const { loss, weight } = weightedTokenSums(logits, targets, weights);
  const divisor = total ?? weight;
  return div(loss, where(less(0, divisor), divisor, 1));
}
