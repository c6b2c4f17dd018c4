/** Operators of ONNX that pick, repeat or surround elements: Slice, Gather, Pad, Resize, and the largest of a line. */
import { ToklipError } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import type { Call, Row } from "./call.ts";
import { gather, rows, sizeAt, slice } from "./moves.ts";
import type { Value } from "./value.ts";

/** The elements that a range of ONNX names: negative places count from the end, and what lies outside is cut. */
function pickedRange(start: number, end: number, step: number, size: number) {
  if (step === 0) throw new ToklipError("FILE_CORRUPT", "a slice has the step 0");
  const place = (at: number, least: number, most: number) => Math.min(Math.max(at < 0 ? at + size : at, least), most);
  const [first, last] =
    step > 0 ? [place(start, 0, size), place(end, 0, size)] : [place(start, 0, size - 1), place(end, -1, size - 1)];
  return { first, count: Math.max(0, Math.ceil((last - first) / step)), step };
}

/** Slice: ranges are attributes up to version 9, inputs since 10. */
const sliceRow: Row = (call) => {
  const x = call.value(0);
  const starts = call.settings("starts", 1) ?? call.integers(1);
  const ends = call.settings("ends", 2) ?? call.integers(2);
  const axes = call.settings("axes", 3) ?? starts.map((_, axis) => axis);
  const steps = call.has(4) ? call.integers(4) : starts.map(() => 1);
  if ([ends, axes, steps].some((list) => list.length !== starts.length)) {
    throw new ToklipError("FILE_CORRUPT", "starts, ends, axes and steps differ in length");
  }
  return axes.reduce<Value>((value, axis, i) => {
    const at = g.resolveAxis(axis, value.shape.length);
    // The whole of an axis may be of any size.
    if (starts[i] === 0 && ends[i]! >= Number.MAX_SAFE_INTEGER && steps[i] === 1) return value;
    return slice(value, at, pickedRange(starts[i]!, ends[i]!, steps[i]!, sizeAt(value, at)));
  }, x);
};

const gatherRow: Row = (call) => {
  const x = call.value(0);
  return gather(call.graph, x, call.value(1), g.resolveAxis(call.int("axis", 0), x.shape.length));
};

/** The place in an axis of `size` that each place around it copies. */
const COPIES: Readonly<Record<string, (at: number, size: number) => number>> = {
  edge: (at, size) => Math.min(Math.max(at, 0), size - 1),
  reflect: (at, size) => size - 1 - Math.abs(size - 1 - Math.abs(at)),
  wrap: (at, size) => ((at % size) + size) % size,
};

/** How far each axis is padded: pads are an attribute up to version 10, an input since 11, with axes since 18. */
function padding(call: Call, rank: number): readonly [before: number[], after: number[]] {
  const pads = call.settings("pads", 1) ?? [];
  const axes = call.has(3)
    ? call.integers(3).map((axis) => g.resolveAxis(axis, rank))
    : Array.from({ length: rank }, (_, i) => i);
  if (pads.length !== 2 * axes.length || pads.some((size) => size < 0 || !Number.isSafeInteger(size))) {
    return call.refuse(`padding by [${pads}] of ${axes.length} axes`);
  }
  const sides = [new Array<number>(rank).fill(0), new Array<number>(rank).fill(0)] as const;
  axes.forEach((axis, i) => {
    sides[0][axis] = pads[i]!;
    sides[1][axis] = pads[axes.length + i]!;
  });
  return sides;
}

const pad: Row = (call) => {
  const x = call.tensor(0);
  const [before, after] = padding(call, x.shape.length);
  const mode = call.text("mode", "constant");
  if (mode === "constant") return g.pad(x, before, after, call.has(2) ? call.number(2) : call.float("value", 0));
  const copy = Object.hasOwn(COPIES, mode) ? COPIES[mode] : undefined;
  if (copy === undefined) return call.refuse(`mode ${mode}`);
  return x.shape.reduce<g.Tensor>((padded, _, axis) => {
    const [left, right] = [before[axis]!, after[axis]!];
    if (left + right === 0) return padded;
    const size = sizeAt(padded, axis);
    if (mode === "reflect" && Math.max(left, right) >= size) return call.refuse(`reflecting ${size} by more`);
    return rows(padded, axis, left + size + right, (i) => copy(i - left, size));
  }, x);
};

/** How a place of the result is one of the picture: those with which whole scales repeat each row and column. */
const REPEATING = ["asymmetric floor", "half_pixel *", "pytorch_half_pixel *"];

/** Rows and columns repeated so many times; other scales and interpolation are not supported. */
const resize: Row = (call) => {
  const x = call.picture(0);
  const [height, width] = x.shape.slice(2) as [number, number];
  const places = call.text("coordinate_transformation_mode", "half_pixel");
  const modes = [`${places} ${call.text("nearest_mode", "round_prefer_floor")}`, `${places} *`];
  const mode = call.text("mode", "nearest");
  if (mode !== "nearest" || !modes.some((named) => REPEATING.includes(named))) call.refuse(`mode ${mode}, ${modes[0]}`);
  const scales = call.has(3)
    ? [1, 1, (call.known(3).items[2] as number) / height, (call.known(3).items[3] as number) / width]
    : (call.known(2).items as readonly number[]);
  const isWhole = scales.length === 4 && scales.every((scale) => Number.isInteger(scale) && scale >= 1);
  if (!isWhole || scales[0] !== 1 || scales[1] !== 1) return call.refuse(`scales [${scales}]`);
  return g.upsampleNearest(x, [scales[2]!, scales[3]!]);
};

function requireLast(call: Call, rank: number, otherwise: number): void {
  const axis = g.resolveAxis(call.int("axis", otherwise), rank);
  if (axis !== rank - 1) call.refuse(`axis ${axis} of ${rank}`);
}

const argMax: Row = (call) => {
  const x = call.tensor(0);
  requireLast(call, x.shape.length, 0);
  if (call.int("select_last_index", 0) === 1) call.refuse("select_last_index");
  const places = g.cast(g.argmax(x), "i64");
  return call.int("keepdims", 1) === 1 ? g.reshape(places, [...places.shape, 1]) : places;
};

/** The largest element of each line, and its place; more than one are not supported. */
const topK: Row = (call) => {
  const x = call.tensor(0);
  requireLast(call, x.shape.length, -1);
  if (call.number(1) !== 1 || call.int("largest", 1) !== 1) call.refuse("more than the largest element");
  const places = g.cast(g.argmax(x), "i64");
  return [g.reduceMax(x, [-1]), g.reshape(places, [...places.shape, 1])];
};

export const pickingOperators: Readonly<Record<string, Row>> = {
  ArgMax: argMax,
  Gather: gatherRow,
  Pad: pad,
  Resize: resize,
  Slice: sliceRow,
  TopK: topK,
};
