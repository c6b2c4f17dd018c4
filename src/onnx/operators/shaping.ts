/** Operators of ONNX that ask for shapes or give elements another shape. */
import { sizeOf, ToklipError } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import type { Call, Row } from "./call.ts";
import { concat, expand, reshape, sizeAt, slice, transpose } from "./moves.ts";
import { checkKnownSize, divideDims, isKnown, type Known, knownVector } from "./value.ts";

const axisOf = (call: Call, rank: number, otherwise = 0) => g.resolveAxis(call.int("axis", otherwise), rank);

/** A shape that an input says; sizes may be symbolic. */
function wantedShape(call: Call, index: number): g.Shape {
  const { items } = call.known(index);
  const bad = items.find((item) => g.isStatic(item) && !(Number.isSafeInteger(item) && item >= -1));
  if (bad !== undefined) throw new ToklipError("FILE_CORRUPT", `${bad} is not a size`);
  return items;
}

/** The shape that a Reshape asks for: 0 keeps a size, -1 is what is left. */
const reshapeRow: Row = (call) => {
  const x = call.value(0);
  const wanted = wantedShape(call, 1).map((dim, i) =>
    dim === 0 && call.int("allowzero", 0) === 0 ? (x.shape[i] ?? 0) : dim,
  );
  const open = wanted.indexOf(-1);
  if (open < 0) return reshape(x, wanted);
  const others = g.dimProduct(wanted.toSpliced(open, 1));
  const rest = divideDims(g.dimProduct(x.shape), others);
  if (rest === undefined) {
    const shapes = `${g.formatShape(x.shape)} does not divide into ${g.formatShape(wanted)}`;
    throw new ToklipError("SHAPE_MISMATCH", shapes);
  }
  return reshape(x, wanted.with(open, rest));
};

const flatten: Row = (call) => {
  const x = call.value(0);
  const axis = call.int("axis", 1);
  const at = axis === x.shape.length ? axis : g.resolveAxis(axis, x.shape.length);
  return reshape(x, [g.dimProduct(x.shape.slice(0, at)), g.dimProduct(x.shape.slice(at))]);
};

const squeeze: Row = (call) => {
  const x = call.value(0);
  const axes = call.settings("axes", 1)?.map((axis) => g.resolveAxis(axis, x.shape.length));
  const dropped = (dim: g.Dim, axis: number) => (axes === undefined ? dim === 1 : axes.includes(axis));
  return reshape(
    x,
    x.shape.filter((dim, axis) => !dropped(dim, axis)),
  );
};

const unsqueeze: Row = (call) => {
  const x = call.value(0);
  const given = call.settings("axes", 1) ?? [];
  const rank = x.shape.length + given.length;
  const axes = new Set(given.map((axis) => g.resolveAxis(axis, rank)));
  if (axes.size < given.length) throw new ToklipError("FILE_CORRUPT", `axes ${given} repeat`);
  const sizes = x.shape.values();
  const shape = Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? 1 : sizes.next().value!));
  return reshape(x, shape);
};

const transposeRow: Row = (call) => {
  const x = call.value(0);
  return transpose(x, call.ints("perm") ?? x.shape.map((_, axis) => x.shape.length - 1 - axis));
};

/** Shape, or a part of it since version 15. */
const shapeRow: Row = (call) => {
  const { shape } = call.value(0);
  return knownVector(shape.slice(call.int("start", 0), call.int("end", shape.length)));
};

/** The sizes of a Split: said, or equal but for the last. */
function splitSizes(call: Call, total: number): readonly number[] {
  const sizes = call.settings("split", 1);
  if (sizes !== undefined) return sizes;
  const parts = call.node.outputs.length;
  const each = Math.ceil(total / parts);
  return Array.from({ length: parts }, (_, i) => Math.min(each, total - i * each));
}

const split: Row = (call) => {
  const x = call.value(0);
  const axis = axisOf(call, x.shape.length);
  const sizes = splitSizes(call, sizeAt(x, axis));
  const wrong = sizes.some((size) => !(size > 0)) || sizes.reduce((sum, size) => sum + size, 0) !== x.shape[axis];
  if (wrong) throw new ToklipError("SHAPE_MISMATCH", `parts [${sizes}] do not fill ${x.shape[axis]}`);
  if (!isKnown(x)) return g.split(x, axis, sizes);
  let first = 0;
  return sizes.map((count) => {
    const part = slice(x, axis, { first, count, step: 1 });
    first += count;
    return part;
  });
};

/** One value in every place. */
const constantOfShape: Row = (call) => {
  const shape = call.integers(0);
  if (shape.some((dim) => dim < 0)) throw new ToklipError("FILE_CORRUPT", `[${shape}] is not a shape`);
  const { dtype, items } = call.constant("value") ?? { dtype: "f32", items: [0] };
  checkKnownSize(sizeOf(shape));
  return { dtype, shape, items: new Array<g.Dim>(sizeOf(shape)).fill(items[0] ?? 0) };
};

const range: Row = (call) => {
  const [start, limit, delta] = [0, 1, 2].map((index) => call.number(index)) as [number, number, number];
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  checkKnownSize(count);
  const items = Array.from({ length: count }, (_, i) => start + i * delta);
  return { dtype: call.known(0).dtype, shape: [count], items };
};

/** Every axis repeated as a whole so many times. */
const tile: Row = (call) => {
  const x = call.value(0);
  const repeats = call.integers(1);
  if (repeats.length !== x.shape.length || repeats.some((times) => times < 1)) {
    throw new ToklipError("FILE_CORRUPT", `repeats [${repeats}] do not fit ${g.formatShape(x.shape)}`);
  }
  const apart = reshape(
    x,
    x.shape.flatMap((dim) => [1, dim]),
  );
  const repeated = expand(
    apart,
    x.shape.flatMap((dim, axis) => [repeats[axis]!, dim]),
  );
  return reshape(
    repeated,
    x.shape.map((dim, axis) => g.dimProduct([dim, repeats[axis]!])),
  );
};

/** Blocks of channels laid out as squares of pixels. */
const depthToSpace: Row = (call) => {
  const x = call.picture(0);
  const [batch, channels, height, width] = x.shape as [g.Dim, number, number, number];
  const block = call.int("blocksize", 1);
  const out = divideDims(channels, block * block);
  if (block < 1 || out === undefined) return call.refuse(`a block of ${block} in ${channels} channels`);
  const shape = [batch, out, height * block, width * block];
  const columnsFirst = call.text("mode", "DCR") === "CRD";
  const parts = columnsFirst ? [batch, out, block, block, height, width] : [batch, block, block, out, height, width];
  const order = columnsFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2];
  return g.reshape(g.transpose(g.reshape(x, parts), order), shape);
};

/** Squares of pixels laid out as blocks of channels. */
const spaceToDepth: Row = (call) => {
  const x = call.picture(0);
  const [batch, channels, height, width] = x.shape as [g.Dim, number, number, number];
  const block = call.int("blocksize", 1);
  const [h, w] = [divideDims(height, block), divideDims(width, block)];
  if (block < 1 || h === undefined || w === undefined)
    return call.refuse(`a block of ${block} in ${height} x ${width}`);
  const parts = g.transpose(g.reshape(x, [batch, channels, h, block, w, block]), [0, 3, 5, 1, 2, 4]);
  return g.reshape(parts, [batch, channels * block * block, h, w]);
};

const constant: Row = (call): Known =>
  call.constant("value", "value_float", "value_floats", "value_int", "value_ints") ??
  call.refuse("a constant that is no number");

export const shapingOperators: Readonly<Record<string, Row>> = {
  Concat: (call) => concat(call.graph, call.values(), axisOf(call, call.value(0).shape.length)),
  Constant: constant,
  ConstantOfShape: constantOfShape,
  DepthToSpace: depthToSpace,
  Expand: (call) => expand(call.value(0), wantedShape(call, 1)),
  Flatten: flatten,
  Range: range,
  Reshape: reshapeRow,
  Shape: shapeRow,
  Size: (call) => ({ dtype: "i64", shape: [], items: [g.dimProduct(call.value(0).shape)] }),
  SpaceToDepth: spaceToDepth,
  Split: split,
  Squeeze: squeeze,
  Tile: tile,
  Transpose: transposeRow,
  Unsqueeze: unsqueeze,
};
