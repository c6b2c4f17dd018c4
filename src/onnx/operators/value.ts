/**
 * What passes between the operators of a model that is being imported: tensors of our graph, and what is known already.
 * Exporters compute shapes by operators (Shape, Gather, Concat, ...); those are computed here while importing, with
 * symbolic sizes such as "B" carried along, so that they end as attributes of our ops.
 */
import { type DType, type NDArray, ndarray, sizeOf, ToklipError, toF32 } from "../../core/index.ts";
import { type Dim, dimSymbols, type Graph, isStatic, type Tensor } from "../../graph/index.ts";

/** Elements that are known while importing, in row-major order; booleans are 0 and 1. All floats count as f32. */
export interface Known {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly items: readonly Dim[];
}

/** A result of an operator, or one of its inputs. */
export type Value = Tensor | Known;

/** Whether the elements are there already. */
export function isKnown(value: Value): value is Known {
  return "items" in value;
}

/** More elements than shapes, index tables and masks need; a limit, because a small file can ask for many. */
const MOST_KNOWN = 2 ** 20;

/** @throws OP_UNSUPPORTED when so many elements are not to be computed while importing. */
export function checkKnownSize(size: number): void {
  if (!(size <= MOST_KNOWN)) throw new ToklipError("OP_UNSUPPORTED", `${size} elements are too many to compute here`);
}

/** Whole numbers as a vector, as shapes are. */
export function knownVector(items: readonly Dim[]): Known {
  return { dtype: "i64", shape: [items.length], items };
}

/** An array of a file as known elements. @throws OP_UNSUPPORTED when there are too many. */
export function knownArray({ dtype, shape, data }: NDArray): Known {
  checkKnownSize(data.length);
  const isFloat = dtype === "f16" || dtype === "bf16" || dtype === "f64" || dtype === "f32";
  const items = Array.from((isFloat ? toF32(dtype, data) : data) as ArrayLike<number | bigint>, Number);
  return { dtype: isFloat ? "f32" : dtype, shape, items };
}

/** Known elements written into a graph. @throws OP_UNSUPPORTED for sizes that only a run tells. */
export function toTensor(graph: Graph, value: Value): Tensor {
  if (!isKnown(value)) return value;
  const { dtype, shape, items } = value;
  const symbol = items.find((item) => !isStatic(item));
  if (symbol !== undefined) {
    throw new ToklipError("OP_UNSUPPORTED", `the size ${symbol}, which only a run tells, is used as a number`);
  }
  const numbers = items as readonly number[];
  if (dtype === "f32") return graph.constant(ndarray("f32", shape, Float32Array.from(numbers)));
  if (dtype === "bool") return graph.constant(ndarray("bool", shape, Uint8Array.from(numbers)));
  return graph.constant(ndarray("i64", shape, BigInt64Array.from(numbers, toInt64)));
}

function toInt64(value: number): bigint {
  if (!Number.isInteger(value)) throw new ToklipError("FILE_CORRUPT", `${value} is used as a whole number`);
  return BigInt.asIntN(64, BigInt(value));
}

/** The quotient of two sizes, where it is one. */
export function divideDims(total: Dim, by: Dim): Dim | undefined {
  const [above, below] = [dimSymbols(total), dimSymbols(by)];
  const symbols = [...above.symbols];
  for (const symbol of below.symbols) {
    const at = symbols.indexOf(symbol);
    if (at < 0) return undefined;
    symbols.splice(at, 1);
  }
  const factor = above.factor / below.factor;
  if (!Number.isInteger(factor)) return undefined;
  return symbols.length === 0 ? factor : [...(factor === 1 ? [] : [factor]), ...symbols].join("*");
}

/** The element offsets, in row-major order of `shape`, of a walk with the given strides. */
export function walk(shape: readonly number[], strides: readonly number[], start = 0): number[] {
  checkKnownSize(sizeOf(shape));
  return shape.reduce<number[]>(
    (offsets, size, axis) =>
      offsets.flatMap((offset) => Array.from({ length: size }, (_, i) => offset + i * strides[axis]!)),
    [start],
  );
}

/** Row-major strides, in elements. */
export function rowMajor(shape: readonly number[]): number[] {
  return shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
}

/** Strides that read `shape` as if it were broadcast to `to`: 0 along the axes that repeat. */
export function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
  const strides = rowMajor(shape);
  const lead = to.length - shape.length;
  return to.map((_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : strides[axis - lead]!));
}
