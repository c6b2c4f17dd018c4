/**
 * The losses of a vector quantiser with a codebook of unit rows: codebook and commitment (VQ-VAE, arXiv 1711.00937,
 * equation 3), and the entropy term of MaskGIT's tokenizer (arXiv 2310.05737, equation 5) as LlamaGen has it.
 *
 * Follows LlamaGen's `VectorQuantizer` in training mode. Differs in leaving |z|^2 + |e|^2 = 2 out of the distances of
 * the entropy term, which moves no softmax and whose gradient the normalisation of z and e removes. How the vectors are
 * made, and the straight-through estimator, are in `models/vq.ts`. Codebook usage is counted from the ids by the
 * trainer: it is no loss.
 *
 * Dim letters: M vectors of a batch (B*h*w), D embedding width, K codebook size.
 */
import {
  add,
  exp,
  gemm,
  log,
  logSoftmax,
  mul,
  neg,
  reduceMean,
  reduceSum,
  stopGradient,
  type Tensor,
} from "../graph/index.ts";
import { meanOf, meanSquaredError, sumOf } from "./reduction.ts";

/** LlamaGen's weight of the commitment loss. */
export const COMMITMENT_BETA = 0.25;
/** LlamaGen's temperature of the entropy term. */
export const ENTROPY_TEMPERATURE = 0.01;

/** What quantisation leaves for the losses; `quantizeForTraining` of `models/vq.ts` gives it. */
export interface QuantizedVectors {
  /** The encoder's vectors, (M, D), of unit length. */
  readonly vectors: Tensor;
  /** The codebook row of each, (M, D). */
  readonly codes: Tensor;
  /** The whole codebook, (K, D), rows of unit length. */
  readonly codebook: Tensor;
}

/** mean((e - sg z)^2): draws the codebook's rows to the vectors, through the normalisation of the rows. */
export function codebookLoss({ vectors, codes }: QuantizedVectors): Tensor {
  return meanSquaredError(codes, stopGradient(vectors));
}

/** beta * mean((sg e - z)^2): draws the vectors to their rows. */
export function commitmentLoss({ vectors, codes }: QuantizedVectors, beta = COMMITMENT_BETA): Tensor {
  return mul(meanSquaredError(stopGradient(codes), vectors), beta);
}

/**
 * S - A with p = softmax(-|z - e_k|^2 / temperature) over the whole codebook, (M, K): S = mean entropy of a vector's p,
 * A = -sum_k q_k ln(q_k + 1e-5) for the mean q of p over the batch. Low when each vector is certain and the batch uses
 * all codes; at least -ln K. Gradients reach vectors and codebook.
 */
export function entropyLoss(
  { vectors, codebook }: QuantizedVectors,
  { temperature = ENTROPY_TEMPERATURE }: { readonly temperature?: number } = {},
): Tensor {
  const affinities = mul(gemm(vectors, codebook, undefined, { transB: true }), 2 / temperature); // (M, D) (K, D) -> (M, K)
  const logP = logSoftmax(affinities, -1);
  const p = exp(logP);
  const sampleEntropy = neg(meanOf(reduceSum(mul(p, logP), [-1])));
  const q = reduceMean(p, [0]); // (M, K) -> (1, K)
  return add(sampleEntropy, sumOf(mul(q, log(add(q, 1e-5)))));
}

/** How the three terms are weighted. */
export interface QuantizationLossOptions {
  /** Weight of the commitment loss; 0.25. */
  readonly beta?: number;
  /** Weight of the entropy term; 0 leaves it out of the graph, with its (M, K) softmax. */
  readonly entropyRatio?: number;
  /** Temperature of the entropy term; 0.01. */
  readonly temperature?: number;
}

/** The terms of a quantiser, already weighted. */
export interface QuantizationLosses {
  readonly codebook: Tensor;
  readonly commitment: Tensor;
  readonly entropy?: Tensor;
  readonly total: Tensor;
}

/** All terms of a quantiser, each weighted, and their sum. */
export function quantizationLosses(
  quantized: QuantizedVectors,
  { beta = COMMITMENT_BETA, entropyRatio = 0, temperature = ENTROPY_TEMPERATURE }: QuantizationLossOptions = {},
): QuantizationLosses {
  const codebook = codebookLoss(quantized);
  const commitment = commitmentLoss(quantized, beta);
  const both = add(codebook, commitment);
  if (entropyRatio === 0) return { codebook, commitment, total: both };
  const entropy = mul(entropyLoss(quantized, { temperature }), entropyRatio);
  return { codebook, commitment, entropy, total: add(both, entropy) };
}
