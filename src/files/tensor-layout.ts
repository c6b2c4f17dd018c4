/**
 * Shapes and strides as files declare them: checked before anything is allocated or read by them.
 * Strides are in elements. The order everywhere else in the project is dense row-major.
 */
import { ToklipError } from "../core/index.ts";

/** More dimensions than any framework makes; a file that claims more is not a tensor file. */
const MAX_RANK = 64;

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}

/**
 * A list of whole numbers in [0, 2^53), as a shape, a list of strides or a pair of offsets must be.
 * @param what what to call it in the message: the format, the tensor, the field, the file.
 * @throws FILE_CORRUPT for anything else (fractions, NaN, negative, beyond 2^53, more than 64 numbers).
 */
export function checkCounts(value: unknown, what: string): number[] {
  if (!Array.isArray(value) || value.length > MAX_RANK || !value.every(isCount)) {
    throw new ToklipError("FILE_CORRUPT", `${what} is not a list of at most ${MAX_RANK} whole numbers below 2^53`);
  }
  return [...value];
}

/**
 * The number of elements of a shape.
 * @throws FILE_CORRUPT when it is not below 2^53.
 */
export function elementCount(shape: readonly number[], what: string): number {
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (!isCount(count)) throw new ToklipError("FILE_CORRUPT", `${what} [${shape}] has more than 2^53 elements`);
  return count;
}

/** The strides of dense row-major elements of this shape. */
export function denseStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis]!;
  }
  return strides;
}

/** Whether elements with these strides lie dense and row-major. Strides of dimensions of size 1 do not matter. */
export function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  const dense = denseStrides(shape);
  return shape.includes(0) || shape.every((dim, axis) => dim === 1 || strides[axis] === dense[axis]);
}

/** How many elements of storage a tensor spans, from its first element to one past its furthest. */
export function storageSpan(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((span, dim, axis) => span + (dim - 1) * strides[axis]!, 1);
}

/** The places in storage of the row-major elements `first` to `first + count`, relative to the tensor's first element. */
export function storagePlaces(
  shape: readonly number[],
  strides: readonly number[],
  first: number,
  count: number,
): Float64Array {
  const dense = denseStrides(shape);
  const index = shape.map((dim, axis) => Math.floor(first / dense[axis]!) % dim);
  let place = index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0);
  const places = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    places[i] = place;
    // Counts up like an odometer: the last axis turns fastest.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      place -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return places;
}
