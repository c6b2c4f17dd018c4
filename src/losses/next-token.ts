/**
 * The loss of a language model: cross entropy of each token given those before it, as LlamaGen (arXiv 2406.06525) trains
 * with it: no label smoothing, no ignored index.
 *
 * Dim letters: B batch, N tokens, V vocabulary, M = B N.
 */
import { ndarray } from "../core/index.ts";
import { add, div, gather, logSoftmax, maximum, mul, neg, reduceSum, reshape, type Tensor } from "../graph/index.ts";
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
