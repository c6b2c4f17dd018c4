/** Plain arrays with a shape: what goes in and out of every public call. */
import { allocate, type DataOf, type DType } from "./dtype.ts";
import { ToklipError } from "./errors.ts";

/** A dense row-major array. `data.length` is the product of `shape`. */
export interface NDArray<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DataOf<D>;
}

/** The number of elements of a shape (1 for a scalar). */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/**
 * Makes an array of `data`, or of zeros.
 * @throws SHAPE_MISMATCH when `data` has another length than the shape.
 */
export function ndarray<D extends DType>(dtype: D, shape: readonly number[], data?: DataOf<D>): NDArray<D> {
  const size = sizeOf(shape);
  const held = data ?? allocate(dtype, size);
  if (held.length !== size) {
    throw new ToklipError("SHAPE_MISMATCH", `ndarray: shape [${shape}] needs ${size} elements, got ${held.length}`);
  }
  return { dtype, shape: [...shape], data: held };
}

/** Rows `begin` to `end` (exclusive) along the first axis, as a view of the same data. */
export function rows<D extends DType>(array: NDArray<D>, begin: number, end: number): NDArray<D> {
  const stride = sizeOf(array.shape.slice(1));
  const data = (array.data as Float32Array).subarray(begin * stride, end * stride) as unknown as DataOf<D>;
  return { dtype: array.dtype, shape: [end - begin, ...array.shape.slice(1)], data };
}

/** Joins arrays along the first axis. They must agree in dtype and in every other dimension. */
export function concatRows<D extends DType>(arrays: readonly NDArray<D>[]): NDArray<D> {
  const first = arrays[0];
  if (first === undefined) throw new ToklipError("ARGUMENT_INVALID", "concatRows: no arrays given");
  const tail = first.shape.slice(1);
  for (const { shape, dtype } of arrays) {
    if (dtype !== first.dtype || shape.slice(1).join() !== tail.join()) {
      throw new ToklipError(
        "SHAPE_MISMATCH",
        `concatRows: ${dtype} [${shape}] does not continue ${first.dtype} [${first.shape}]`,
      );
    }
  }
  const count = arrays.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const out = allocate(first.dtype, count * sizeOf(tail));
  let offset = 0;
  for (const { data } of arrays) {
    (out as Float32Array).set(data as Float32Array, offset);
    offset += data.length;
  }
  return { dtype: first.dtype, shape: [count, ...tail], data: out };
}

/** Each row of an f32 `(B, D)` array divided by its Euclidean norm (at least 1e-12). */
export function normalizeRows(array: NDArray<"f32">): NDArray<"f32"> {
  const width = array.shape.at(-1) ?? 1;
  const out = new Float32Array(array.data.length);
  for (let start = 0; start < out.length; start += width) {
    let sum = 0;
    for (let i = start; i < start + width; i++) sum += array.data[i]! ** 2;
    const scale = 1 / Math.max(Math.sqrt(sum), 1e-12);
    for (let i = start; i < start + width; i++) out[i] = array.data[i]! * scale;
  }
  return { dtype: "f32", shape: array.shape, data: out };
}
