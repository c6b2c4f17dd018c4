/**
 * The two passes of a separable filter over 8-bit samples, in 32-bit fixed point. Sums stay inside 32 bits: weights
 * have 22 fraction bits, and the kernel's overshoot is less than the 2 bits left. Results are rounded and clamped.
 *
 * This is where the time of preprocessing goes, so a SIMD module computes it where there is one, and the plain loops here
 * have one inner loop for each number of samples a pixel. Both give the same bytes.
 */
import { simdColumns, simdRows } from "./convolve-kernel.ts";
import { type FilterTaps, PRECISION_BITS } from "./filter-taps.ts";

const HALF = 1 << (PRECISION_BITS - 1);

type Samples = Uint8Array | Uint8ClampedArray;
/** Rows of pixels. */
interface RowsShape {
  readonly height: number;
  readonly samples: number;
}

type RowFilter = (row: Samples, taps: FilterTaps<Int32Array>, out: Uint8ClampedArray) => void;

/**
 * Filters along rows: `(height, inputWidth, samples)` to `(height, outputWidth, samples)`.
 * `input` holds exactly the `height` rows that are wanted.
 */
export function convolveRowsU8(input: Samples, shape: RowsShape, taps: FilterTaps<Int32Array>): Uint8Array {
  return simdRows(input, shape, taps) ?? plainRows(input, shape, taps);
}

/** As `convolveRowsU8`, without SIMD. */
export function plainRows(input: Samples, { height, samples }: RowsShape, taps: FilterTaps<Int32Array>): Uint8Array {
  const rowFilter = ROW_FILTERS[samples]!;
  const inputRow = input.length / height;
  const outputRow = taps.start.length * samples;
  const output = new Uint8ClampedArray(height * outputRow);
  for (let y = 0; y < height; y++) {
    const row = input.subarray(y * inputRow, (y + 1) * inputRow);
    rowFilter(row, taps, output.subarray(y * outputRow, (y + 1) * outputRow));
  }
  return new Uint8Array(output.buffer);
}

/** Filters along columns: rows of `rowLength` samples, `taps.start.length` rows out. */
export function convolveColumnsU8(input: Samples, rowLength: number, taps: FilterTaps<Int32Array>): Uint8Array {
  return simdColumns(input, rowLength, taps) ?? plainColumns(input, rowLength, taps);
}

/** As `convolveColumnsU8`, without SIMD. */
export function plainColumns(input: Samples, rowLength: number, taps: FilterTaps<Int32Array>): Uint8Array {
  const { start, count, weights, stride } = taps;
  const output = new Uint8ClampedArray(start.length * rowLength);
  for (let y = 0; y < start.length; y++) {
    const begin = start[y]! * rowLength;
    const first = y * stride;
    const last = first + count[y]!;
    for (let x = 0; x < rowLength; x++) {
      let sum = HALF;
      let at = begin + x;
      for (let k = first; k < last; k++) {
        sum = (sum + Math.imul(weights[k]!, input[at]!)) | 0;
        at += rowLength;
      }
      output[y * rowLength + x] = sum >> PRECISION_BITS;
    }
  }
  return new Uint8Array(output.buffer);
}

const ROW_FILTERS: Readonly<Record<number, RowFilter>> = {
  1: filterRow1,
  2: filterRow2,
  3: filterRow3,
  4: filterRow4,
};

function filterRow1(row: Samples, taps: FilterTaps<Int32Array>, out: Uint8ClampedArray): void {
  const { start, count, weights, stride } = taps;
  for (let x = 0; x < start.length; x++) {
    let a = HALF;
    let at = start[x]!;
    const first = x * stride;
    const last = first + count[x]!;
    for (let k = first; k < last; k++) a = (a + Math.imul(weights[k]!, row[at++]!)) | 0;
    out[x] = a >> PRECISION_BITS;
  }
}

function filterRow2(row: Samples, taps: FilterTaps<Int32Array>, out: Uint8ClampedArray): void {
  const { start, count, weights, stride } = taps;
  for (let x = 0; x < start.length; x++) {
    let a = HALF;
    let b = HALF;
    let at = start[x]! * 2;
    const first = x * stride;
    const last = first + count[x]!;
    for (let k = first; k < last; k++) {
      const weight = weights[k]!;
      a = (a + Math.imul(weight, row[at]!)) | 0;
      b = (b + Math.imul(weight, row[at + 1]!)) | 0;
      at += 2;
    }
    out[x * 2] = a >> PRECISION_BITS;
    out[x * 2 + 1] = b >> PRECISION_BITS;
  }
}

function filterRow3(row: Samples, taps: FilterTaps<Int32Array>, out: Uint8ClampedArray): void {
  const { start, count, weights, stride } = taps;
  for (let x = 0; x < start.length; x++) {
    let a = HALF;
    let b = HALF;
    let c = HALF;
    let at = start[x]! * 3;
    const first = x * stride;
    const last = first + count[x]!;
    for (let k = first; k < last; k++) {
      const weight = weights[k]!;
      a = (a + Math.imul(weight, row[at]!)) | 0;
      b = (b + Math.imul(weight, row[at + 1]!)) | 0;
      c = (c + Math.imul(weight, row[at + 2]!)) | 0;
      at += 3;
    }
    out[x * 3] = a >> PRECISION_BITS;
    out[x * 3 + 1] = b >> PRECISION_BITS;
    out[x * 3 + 2] = c >> PRECISION_BITS;
  }
}

function filterRow4(row: Samples, taps: FilterTaps<Int32Array>, out: Uint8ClampedArray): void {
  const { start, count, weights, stride } = taps;
  for (let x = 0; x < start.length; x++) {
    let a = HALF;
    let b = HALF;
    let c = HALF;
    let d = HALF;
    let at = start[x]! * 4;
    const first = x * stride;
    const last = first + count[x]!;
    for (let k = first; k < last; k++) {
      const weight = weights[k]!;
      a = (a + Math.imul(weight, row[at]!)) | 0;
      b = (b + Math.imul(weight, row[at + 1]!)) | 0;
      c = (c + Math.imul(weight, row[at + 2]!)) | 0;
      d = (d + Math.imul(weight, row[at + 3]!)) | 0;
      at += 4;
    }
    out[x * 4] = a >> PRECISION_BITS;
    out[x * 4 + 1] = b >> PRECISION_BITS;
    out[x * 4 + 2] = c >> PRECISION_BITS;
    out[x * 4 + 3] = d >> PRECISION_BITS;
  }
}
