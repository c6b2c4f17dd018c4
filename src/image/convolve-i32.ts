/** The two passes of a separable filter over int32 grey samples, summed in double precision and rounded each pass. */
import type { FilterTaps } from "./filter-taps.ts";

/** Filters along rows: `(height, inputWidth)` to `(height, outputWidth)`. */
export function convolveRowsI32(input: Int32Array, height: number, taps: FilterTaps): Int32Array {
  const inputWidth = input.length / height;
  const outputWidth = taps.start.length;
  const output = new Int32Array(height * outputWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < outputWidth; x++) {
      output[y * outputWidth + x] = weightedSum(input, y * inputWidth + taps.start[x]!, 1, taps, x);
    }
  }
  return output;
}

/** Filters along columns: rows of `width` samples, `taps.start.length` rows out. */
export function convolveColumnsI32(input: Int32Array, width: number, taps: FilterTaps): Int32Array {
  const output = new Int32Array(taps.start.length * width);
  for (let y = 0; y < taps.start.length; y++) {
    for (let x = 0; x < width; x++) {
      output[y * width + x] = weightedSum(input, taps.start[y]! * width + x, width, taps, y);
    }
  }
  return output;
}

function weightedSum(input: Int32Array, begin: number, step: number, taps: FilterTaps, index: number): number {
  const first = index * taps.stride;
  const last = first + taps.count[index]!;
  let sum = 0;
  let at = begin;
  for (let k = first; k < last; k++) {
    sum += input[at]! * taps.weights[k]!;
    at += step;
  }
  // Halves away from zero.
  return sum >= 0 ? Math.floor(sum + 0.5) : -Math.floor(0.5 - sum);
}
