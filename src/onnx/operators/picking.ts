/** Operators of ONNX that pick or surround elements: Slice, Gather, Pad. */
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

export const pickingOperators: Readonly<Record<string, Row>> = {
  Gather: gatherRow,
  Pad: pad,
  Slice: sliceRow,
};
