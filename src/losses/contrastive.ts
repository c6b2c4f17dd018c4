/**
 * Contrastive losses between pictures and texts: the softmax loss of CLIP (arXiv 2103.00020) and the sigmoid loss of
 * SigLIP (arXiv 2303.15343).
 *
 * Both take features of unit length: the caller normalises them, once for all the losses that need them. Both know
 * that several samples of a batch may show one concept: with concept ids, every pair of one concept is a positive. The
 * softmax loss then has soft targets p_ij = [c_i = c_j] / n_i, n_i = |{j: c_j = c_i}|, as in UniCL (arXiv 2204.03610);
 * when all concepts differ, or none are given, p is the identity and the loss is CLIP's own. The reference knows only
 * the identity.
 *
 * Dim letters: B batch, D embedding width.
 */
import { ndarray } from "../core/index.ts";
import {
  add,
  cast,
  div,
  equal,
  exp,
  gemm,
  logSoftmax,
  mul,
  neg,
  reduceSum,
  reshape,
  softplus,
  sub,
  type Tensor,
  transpose,
} from "../graph/index.ts";
import { meanOf } from "./reduction.ts";

/** The range that the log of the logit scale is clamped to after every step: scales of 1 to 100 (arXiv 2103.00020). */
export const LOGIT_SCALE_RANGE: readonly [number, number] = [0, Math.log(100)];
/** Where the log of the sigmoid loss's scale begins: ln 10 (arXiv 2303.15343, section 3.2). */
export const SIGMOID_LOGIT_SCALE_INIT = Math.log(10);
/** Where the bias of the sigmoid loss begins: nearly every pair is a negative (arXiv 2303.15343, section 3.2). */
export const SIGMOID_LOGIT_BIAS_INIT = -10;

/** What both contrastive losses compare. */
export interface ContrastivePair {
  /** Features of pictures, (B, D), of unit length. */
  readonly imageFeatures: Tensor;
  /** Features of their texts, (B, D), of unit length. */
  readonly textFeatures: Tensor;
  /** The natural logarithm of the scale, a scalar (). */
  readonly logitScale: Tensor;
  /** Concept ids i32 (B): samples with equal ids are positives of each other. Absent: every sample is its own. */
  readonly concepts?: Tensor;
}

/** exp(logitScale) * cosine of every picture (rows) with every text (columns), (B, B). */
function similarities({ imageFeatures, textFeatures, logitScale }: ContrastivePair): Tensor {
  return mul(gemm(imageFeatures, textFeatures, undefined, { transB: true }), exp(logitScale));
}

/** 1 where two samples show the same concept, 0 elsewhere, f32 (B, B). */
function positives({ imageFeatures, concepts }: ContrastivePair): Tensor {
  const batch = imageFeatures.shape[0] as number;
  const ownConcepts = () =>
    ndarray(
      "i32",
      [batch],
      Int32Array.from({ length: batch }, (_, i) => i),
    );
  const ids = concepts ?? imageFeatures.graph.constant(ownConcepts());
  return cast(equal(reshape(ids, [batch, 1]), reshape(ids, [1, batch])), "f32");
}

/** mean_i -sum_j p_ij log softmax(logits_i)_j. */
function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return neg(meanOf(reduceSum(mul(targets, logSoftmax(logits, -1)), [-1])));
}

/**
 * The softmax loss, a scalar: (CE(s I T^t, p) + CE(s T I^t, p)) / 2 with s = exp(logitScale). The batch is static.
 * @see https://arxiv.org/abs/2103.00020 figure 3, https://arxiv.org/abs/2204.03610 equations 1 to 3
 */
export function softmaxContrastiveLoss(pair: ContrastivePair): Tensor {
  const logits = similarities(pair);
  const same = positives(pair);
  const targets = div(same, reduceSum(same, [-1])); // symmetric before the division, so the rows of texts are the same
  return mul(add(crossEntropy(logits, targets), crossEntropy(transpose(logits, [1, 0]), targets)), 0.5);
}

/**
 * The sigmoid loss, a scalar: -1/B sum_ij log sigmoid(z_ij (s x_i . y_j + b)), z_ij = 1 for a pair of one concept and
 * -1 otherwise, s = exp(logitScale), b = `logitBias`, a scalar (). The batch is static.
 * @see https://arxiv.org/abs/2303.15343 equation 1
 */
export function sigmoidContrastiveLoss(pair: ContrastivePair, logitBias: Tensor): Tensor {
  const logits = add(similarities(pair), logitBias);
  const signs = sub(mul(positives(pair), 2), 1);
  return meanOf(reduceSum(softplus(neg(mul(signs, logits))), [-1])); // -log sigmoid(x) = softplus(-x)
}
