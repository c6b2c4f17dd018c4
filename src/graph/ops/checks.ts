/** The checks that the shape and dtype rules of the op table share. */
import { type DType, ToklipError } from "../../core/index.ts";
import { formatShape, isStatic, type Shape } from "../dim.ts";
import type { TensorType } from "../op.ts";

const FLOATS: readonly DType[] = ["f32", "f64", "f16", "bf16"];
const INTEGERS: readonly DType[] = ["i32", "i64"];

/** Whether a dtype is one of fractions, through which gradients flow. */
export function isFloat(dtype: DType): boolean {
  return FLOATS.includes(dtype);
}

/** @throws DTYPE_MISMATCH unless every input has a float dtype, the same one. */
export function requireFloat(op: string, ...inputs: readonly TensorType[]): DType {
  const dtype = requireSameDtype(op, ...inputs);
  if (!isFloat(dtype)) throw new ToklipError("DTYPE_MISMATCH", `${op}: expected a float dtype, got ${dtype}`);
  return dtype;
}

/** @throws DTYPE_MISMATCH unless every input has the same dtype. */
export function requireSameDtype(op: string, ...inputs: readonly TensorType[]): DType {
  const dtype = inputs[0]!.dtype;
  const other = inputs.find((input) => input.dtype !== dtype);
  if (other) throw new ToklipError("DTYPE_MISMATCH", `${op}: operands have dtypes ${dtype} and ${other.dtype}`);
  return dtype;
}

/** @throws DTYPE_MISMATCH unless the input has an index dtype. */
export function requireInteger(op: string, input: TensorType): void {
  if (!INTEGERS.includes(input.dtype)) {
    throw new ToklipError("DTYPE_MISMATCH", `${op}: expected i32 or i64, got ${input.dtype}`);
  }
}

/** @throws SHAPE_MISMATCH unless the input has this rank. */
export function requireRank(op: string, input: TensorType, rank: number): void {
  if (input.shape.length !== rank) {
    throw new ToklipError("SHAPE_MISMATCH", `${op}: expected rank ${rank}, got ${formatShape(input.shape)}`);
  }
}

/** @throws SHAPE_MISMATCH unless the input has this shape. */
export function requireShape(op: string, what: string, input: TensorType, shape: Shape): void {
  if (formatShape(input.shape) !== formatShape(shape)) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `${op}: ${what} expected ${formatShape(shape)}, got ${formatShape(input.shape)}`,
    );
  }
}

/** The size of an axis that must be known. @throws SHAPE_MISMATCH when it is symbolic. */
export function staticDim(op: string, shape: Shape, axis: number): number {
  const dim = shape.at(axis);
  if (dim === undefined || !isStatic(dim)) {
    throw new ToklipError("SHAPE_MISMATCH", `${op}: axis ${axis} of ${formatShape(shape)} must be a known number`);
  }
  return dim;
}
