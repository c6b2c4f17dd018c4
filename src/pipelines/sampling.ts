/**
 * From logits to the next id, in LlamaGen's order (arXiv 2406.06525): guidance, temperature, top-k, top-p, one draw. Plain
 * functions over typed arrays, which work in buffers of their caller: nothing is allocated for an id.
 *
 * Differs from LlamaGen in the draw: an inverse distribution function over a uniform number of ours, in float64, instead
 * of PyTorch's multinomial. Top-p keeps ties of its last value as top-k does; LlamaGen leaves that to its sort.
 */
import { ToklipError } from "../core/index.ts";

/** How ids are chosen. */
export interface SamplingOptions {
  /** What logits are divided by, at least 1e-5; 1. */
  readonly temperature?: number | undefined;
  /** The number of likeliest ids that may be drawn, more where they are tied; 0, the default, allows all. */
  readonly topK?: number | undefined;
  /** Allows the likeliest ids up to this probability together, and at least one; 1, the default, allows all. */
  readonly topP?: number | undefined;
}

/** Classifier-free guidance (arXiv 2207.12598). */
export interface GuidanceOptions {
  /** s in l_u + s (l_c - l_u); up to 1 there is none. */
  readonly scale: number;
  /** The last step after the first id that is guided; -1, the default, guides all. */
  readonly interval?: number | undefined;
}

const LEAST_TEMPERATURE = 1e-5;

/** What a draw is computed in. */
export interface SamplingBuffers {
  readonly values: Float32Array;
  readonly weights: Float64Array;
}

/** Buffers for a vocabulary. */
export function samplingBuffers(vocabulary: number): SamplingBuffers {
  return { values: new Float32Array(vocabulary), weights: new Float64Array(vocabulary) };
}

/** @throws ARGUMENT_INVALID for an option outside of its range */
export function checkSampling({ temperature = 1, topK = 0, topP = 1 }: SamplingOptions): void {
  const fail = (message: string): never => {
    throw new ToklipError("ARGUMENT_INVALID", message);
  };
  if (!(temperature >= 0 && Number.isFinite(temperature))) fail(`temperature ${temperature}: expected 0 or more`);
  if (!Number.isInteger(topK) || topK < 0) fail(`top-k ${topK}: expected a whole number, 0 or more`);
  if (!(topP > 0 && topP <= 1)) fail(`top-p ${topP}: expected a number above 0 and up to 1`);
}

/** Whether id `step` of a sequence (from 0) is guided. The interval counts from the second id on, as LlamaGen's does. */
export function isGuided(step: number, { scale, interval = -1 }: GuidanceOptions): boolean {
  return scale > 1 && (interval < 0 || step - 1 <= interval);
}

/** out = l_u + scale (l_c - l_u). All of one length. */
export function guide(conditional: Float32Array, unconditional: Float32Array, scale: number, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = unconditional[i]! + scale * (conditional[i]! - unconditional[i]!);
}

/**
 * The index of the largest logit, the first on ties.
 * @throws LOGITS_INVALID where a logit is no number, or none is finite
 */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (Number.isNaN(logits[i])) throw new ToklipError("LOGITS_INVALID", `the logit of id ${i} is not a number`);
    if (logits[i]! > logits[best]!) best = i;
  }
  if (Number.isFinite(logits[best])) return best;
  throw new ToklipError("LOGITS_INVALID", `the largest logit is ${logits[best]}, of id ${best}`);
}

/** The k-th largest of some values, which are put into another order (Hoare's selection). */
function kthLargest(values: Float32Array, k: number): number {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1]!;
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i]! > pivot) i++;
      while (values[j]! < pivot) j--;
      if (i > j) break;
      const held = values[i]!;
      values[i++] = values[j]!;
      values[j--] = held;
    }
    // Now low..j are at least the pivot, i..high at most; what lies between is the pivot.
    if (k - 1 <= j) high = j;
    else if (k - 1 >= i) low = i;
    else return pivot;
  }
  return values[k - 1]!;
}

function removeBelow(logits: Float32Array, threshold: number): void {
  for (let i = 0; i < logits.length; i++) if (logits[i]! < threshold) logits[i] = Number.NEGATIVE_INFINITY;
}

/** The smallest logit among the likeliest whose probability together is more than p. */
function nucleusThreshold(logits: Float32Array, largest: number, p: number, values: Float32Array): number {
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  // All that are less likely than this have less than 1 - p together: they need not be sorted.
  const least = largest + Math.log(((1 - p) * total) / logits.length);
  let count = 0;
  for (const logit of logits) if (logit >= least) values[count++] = logit;
  const sorted = values.subarray(0, count).sort();
  let cumulative = 0;
  let at = count - 1;
  for (; at > 0; at--) {
    cumulative += Math.exp(sorted[at]! - largest);
    if (cumulative > p * total) break;
  }
  return sorted[at]!;
}

/**
 * Divides logits by the temperature and sets those that may not be drawn to -Infinity, in place: first all below the k-th
 * largest, then, of what is left, each one before which the likelier have more than `topP` together.
 * @throws LOGITS_INVALID where a logit is no number, or none is finite
 */
export function filterLogits(
  logits: Float32Array,
  { temperature = 1, topK = 0, topP = 1 }: SamplingOptions,
  { values }: SamplingBuffers,
): void {
  const divisor = Math.max(temperature, LEAST_TEMPERATURE);
  if (divisor !== 1) for (let i = 0; i < logits.length; i++) logits[i]! /= divisor;
  const largest = logits[argmax(logits)]!;
  if (topK > 0 && topK < logits.length) {
    values.set(logits);
    removeBelow(logits, kthLargest(values, topK));
  }
  if (topP < 1) removeBelow(logits, nucleusThreshold(logits, largest, topP, values));
}

/** out = softmax(logits), in float64. */
export function softmax(logits: Float32Array, out: Float64Array): void {
  const largest = logits[argmax(logits)]!;
  let total = 0;
  for (let i = 0; i < logits.length; i++) {
    out[i] = Math.exp(logits[i]! - largest);
    total += out[i]!;
  }
  for (let i = 0; i < logits.length; i++) out[i]! /= total;
}

/**
 * log(sum(e^logit)), in float64: what a logit is less to be the logarithm of its probability.
 * @throws LOGITS_INVALID where a logit is no number, or none is finite
 */
export function logSumExp(logits: Float32Array): number {
  const largest = logits[argmax(logits)]!;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  return largest + Math.log(total);
}

/** The index at u of the distribution function: how many of its values, in the order of the indices, are at most u. */
export function inverseCdf(probabilities: Float64Array, u: number): number {
  let cumulative = 0;
  for (let i = 0; i < probabilities.length; i++) {
    cumulative += probabilities[i]!;
    if (cumulative > u) return i;
  }
  // By rounding the whole may be a little less than u: then it is the last that can be drawn.
  return probabilities.findLastIndex((probability) => probability > 0);
}

/**
 * Draws an id. The logits are overwritten.
 * @param u uniform in [0, 1)
 * @throws LOGITS_INVALID where a logit is no number, or none is finite
 */
export function drawId(logits: Float32Array, u: number, options: SamplingOptions, buffers: SamplingBuffers): number {
  filterLogits(logits, options, buffers);
  softmax(logits, buffers.weights);
  return inverseCdf(buffers.weights, u);
}
