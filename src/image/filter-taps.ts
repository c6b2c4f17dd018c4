/**
 * Which input samples make an output sample of an antialiased resize, and how much each weighs, as Pillow's resampling
 * has it: a kernel, widened by the scale when shrinking.
 *
 * `bicubic` is Keys' cubic convolution kernel with a = -0.5 (R. Keys, "Cubic convolution interpolation for digital image
 * processing", 1981); `box` takes the mean of the inputs that an output covers.
 */

/** How far a kernel reaches to each side, in samples, and its height at a distance. */
interface Kernel {
  readonly support: number;
  at(x: number): number;
}

const KERNELS = {
  bicubic: { support: 2, at: cubic },
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
} as const satisfies Record<string, Kernel>;

/** The name of a kernel. */
export type Filter = keyof typeof KERNELS;

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
export function filterTaps(inputLength: number, outputLength: number, span: Span, filter: Filter): FilterTaps {
  const kernel = KERNELS[filter];
  const scale = inputLength / outputLength;
  const widening = Math.max(scale, 1);
  const perInput = 1 / widening;
  const support = kernel.support * widening;
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
    let sum = 0;
    for (let j = begin; j < end; j++) {
      const weight = kernel.at((j - center + 0.5) * perInput);
      weights[i * stride + j - begin] = weight;
      sum += weight;
    }
    if (sum === 0) continue;
    for (let k = i * stride; k < i * stride + end - begin; k++) weights[k]! /= sum;
  }
  return { start, count, weights, stride };
}

function cubic(x: number): number {
  const a = -0.5;
  const distance = Math.abs(x);
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
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
