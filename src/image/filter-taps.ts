/**
 * Which input samples make an output sample of an antialiased bicubic resize, and how much each weighs.
 *
 * Keys' cubic convolution kernel with a = -0.5, widened by the scale when shrinking, as Pillow's resampling has it:
 * R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
 */

const A = -0.5;
const SUPPORT = 2;

/** For each output position: the inputs `start[i]` to `start[i] + count[i]`, and their weights from `i * stride`. */
export interface FilterTaps<W extends Int32Array | Float64Array = Float64Array> {
  readonly start: Int32Array;
  readonly count: Int32Array;
  readonly weights: W;
  readonly stride: number;
}

/** The part of an output axis that is wanted. */
export interface Span {
  readonly first: number;
  readonly length: number;
}

/** Taps for the outputs in `span`, of an axis resized from `inputLength` to `outputLength`. Weights of each sum to 1. */
export function filterTaps(inputLength: number, outputLength: number, span: Span): FilterTaps {
  const scale = inputLength / outputLength;
  const widening = Math.max(scale, 1);
  const support = SUPPORT * widening;
  const stride = Math.ceil(support) * 2 + 1;
  const start = new Int32Array(span.length);
  const count = new Int32Array(span.length);
  const weights = new Float64Array(span.length * stride);
  for (let i = 0; i < span.length; i++) {
    const center = (span.first + i + 0.5) * scale;
    const begin = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), inputLength);
    start[i] = begin;
    count[i] = end - begin;
    fillWeights(weights.subarray(i * stride, i * stride + end - begin), begin - center + 0.5, 1 / widening);
  }
  return { start, count, weights, stride };
}

/** The kernel at `offset`, `offset + 1`, ... (in input samples, times `scale` in the kernel's), normalised. */
function fillWeights(weights: Float64Array, offset: number, scale: number): void {
  let sum = 0;
  for (let j = 0; j < weights.length; j++) {
    const weight = cubic((j + offset) * scale);
    weights[j] = weight;
    sum += weight;
  }
  if (sum === 0) return;
  for (let j = 0; j < weights.length; j++) weights[j]! /= sum;
}

function cubic(x: number): number {
  const distance = Math.abs(x);
  if (distance < 1) return ((A + 2) * distance - (A + 3)) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * A;
  return 0;
}

/** Fraction bits of a fixed-point weight: 8 bits of sample and 2 of overshoot remain in 32. */
export const PRECISION_BITS = 22;

/** The same taps with fixed-point weights, for 8-bit samples. */
export function fixedPointTaps(taps: FilterTaps): FilterTaps<Int32Array> {
  const unit = 2 ** PRECISION_BITS;
  // Rounds halves away from zero.
  const weights = Int32Array.from(taps.weights, (weight) => Math.trunc(weight * unit + (weight < 0 ? -0.5 : 0.5)));
  return { ...taps, weights };
}
