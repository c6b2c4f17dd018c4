/** Moving elements of values, whether they are known or tensors: what the shaping operators are made of. */
import { ndarray, sizeOf, ToklipError } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import {
  broadcastStrides,
  checkKnownSize,
  isKnown,
  type Known,
  rowMajor,
  toTensor,
  type Value,
  walk,
} from "./value.ts";

function take(value: Known, shape: readonly number[], strides: readonly number[], start = 0): Known {
  return { dtype: value.dtype, shape, items: walk(shape, strides, start).map((offset) => value.items[offset]!) };
}

/** The sizes of a shape that must be known. @throws OP_UNSUPPORTED when one is symbolic. */
function staticShape(shape: g.Shape): readonly number[] {
  if (shape.every(g.isStatic)) return shape as readonly number[];
  throw new ToklipError("OP_UNSUPPORTED", `the shape ${g.formatShape(shape)} is not known`);
}

/** The size of an axis that must be known. */
export function sizeAt(value: Value, axis: number): number {
  return staticShape([value.shape[axis]!])[0]!;
}

/** The same elements in another shape. */
export function reshape(value: Value, shape: g.Shape): Value {
  if (!isKnown(value)) return g.reshape(value, shape);
  if (g.dimProduct(shape) !== value.items.length) {
    const shapes = `${g.formatShape(value.shape)} has not the size of ${g.formatShape(shape)}`;
    throw new ToklipError("SHAPE_MISMATCH", shapes);
  }
  return { ...value, shape: staticShape(shape) };
}

/** Axis i of the result is axis `perm[i]`. */
export function transpose(value: Value, perm: readonly number[]): Value {
  if (!isKnown(value)) return g.transpose(value, perm);
  const rank = value.shape.length;
  if (perm.length !== rank || new Set(perm).size !== rank || perm.some((axis) => value.shape[axis] === undefined)) {
    throw new ToklipError("GRAPH_INVALID", `[${perm}] does not permute ${g.formatShape(value.shape)}`);
  }
  const strides = rowMajor(value.shape);
  return take(
    value,
    perm.map((axis) => value.shape[axis]!),
    perm.map((axis) => strides[axis]!),
  );
}

/** Axes of size 1 repeated: to a shape that broadcasting with the value's own gives. */
export function expand(value: Value, to: g.Shape): Value {
  const shape = g.broadcastShapes(value.shape, to);
  if (!isKnown(value)) return g.expand(value, shape);
  const known = staticShape(shape);
  return take(value, known, broadcastStrides(value.shape, known));
}

/** Every `step`th of the elements from `first` on along an axis, `count` of them; `step` may be negative. */
export function slice(
  value: Value,
  axis: number,
  { first, count, step }: { readonly first: number; readonly count: number; readonly step: number },
): Value {
  if (isKnown(value)) {
    const strides = rowMajor(value.shape);
    const start = first * strides[axis]!;
    return take(value, value.shape.with(axis, count), strides.with(axis, strides[axis]! * step), start);
  }
  if (count === 0) throw new ToklipError("OP_UNSUPPORTED", "a slice is empty");
  if (step > 0) return g.slice(value, axis, first, first + (count - 1) * step + 1, step);
  return rows(value, axis, count, (i) => first + i * step);
}

/** The places `at(i)` along an axis, `count` of them. */
export function rows(x: g.Tensor, axis: number, count: number, at: (i: number) => number): g.Tensor {
  checkKnownSize(count);
  const indices = ndarray(
    "i32",
    [count],
    Int32Array.from({ length: count }, (_, i) => at(i)),
  );
  return g.gather(x, x.graph.constant(indices), axis);
}

/** Joins values along an axis. */
export function concat(graph: g.Graph, values: readonly Value[], axis: number): Value {
  if (!values.every(isKnown)) {
    return g.concat(
      values.map((value) => toTensor(graph, value)),
      axis,
    );
  }
  const first = values[0]!;
  const others = (shape: readonly number[]) => shape.with(axis, 0).join();
  if (values.some(({ shape }) => shape.length !== first.shape.length || others(shape) !== others(first.shape))) {
    throw new ToklipError("SHAPE_MISMATCH", "the shapes do not continue each other");
  }
  const total = values.reduce((sum, { shape }) => sum + shape[axis]!, 0);
  const shape = first.shape.with(axis, total);
  checkKnownSize(sizeOf(shape));
  const outer = sizeOf(shape.slice(0, axis));
  const items = Array.from({ length: outer }, (_, i) =>
    values.flatMap((value) => {
      const run = value.items.length / outer;
      return value.items.slice(i * run, (i + 1) * run);
    }),
  ).flat();
  return { dtype: first.dtype, shape, items };
}

/** The rows along `axis` that an array of whole numbers names; its shape replaces the axis. */
export function gather(graph: g.Graph, value: Value, indices: Value, axis: number): Value {
  const size = sizeAt(value, axis);
  if (isKnown(indices)) {
    const bad = indices.items.find((item) => !(Number.isInteger(item) && -size <= Number(item) && Number(item) < size));
    if (bad !== undefined) throw new ToklipError("FILE_CORRUPT", `index ${bad} is outside an axis of ${size}`);
  }
  if (!isKnown(value) || !isKnown(indices)) {
    if (isKnown(indices) && indices.items.length === 1) {
      // One place is a slice: its gradient needs no scattering.
      const first = (Number(indices.items[0]) + size) % size;
      const shape = [...value.shape.slice(0, axis), ...indices.shape, ...value.shape.slice(axis + 1)];
      return reshape(slice(value, axis, { first, count: 1, step: 1 }), shape);
    }
    return g.gather(toTensor(graph, value), toTensor(graph, indices), axis);
  }
  const shape = [...value.shape.slice(0, axis), ...indices.shape, ...value.shape.slice(axis + 1)];
  const inner = sizeOf(value.shape.slice(axis + 1));
  const starts = indices.items.map((item) => ((Number(item) + size) % size) * inner);
  checkKnownSize(sizeOf(shape));
  const items = Array.from({ length: sizeOf(value.shape.slice(0, axis)) }, (_, o) =>
    starts.flatMap((start) => value.items.slice(o * size * inner + start, o * size * inner + start + inner)),
  ).flat();
  return { dtype: value.dtype, shape, items };
}
