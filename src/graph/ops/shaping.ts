/** Ops that move elements without changing them: reshape, transpose, slice, concat, pad, gather, upsample. */
import { allocate, ndarray, sizeOf, ToklipError } from "../../core/index.ts";
import { type Dim, dimProduct, formatShape, isStatic, resolveAxis, type Shape, sameShape } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";
import { type Lowering, op, type Value } from "../op.ts";
import { requireInteger, requireRank, requireSameDtype, requireShape, staticDim } from "./checks.ts";
import { aroundAxis, broadcastStrides, offsets, stridesOf } from "./indexing.ts";

function int64s(values: readonly number[]) {
  return ndarray("i64", [values.length], BigInt64Array.from(values, BigInt));
}

function take(input: Value, shape: readonly number[], strides: readonly number[], start = 0): Value {
  return { shape, data: Float64Array.from(offsets(shape, strides, start), (offset) => input.data[offset]!) };
}

/**
 * A shape as ONNX takes it: constant, with 0 for a symbolic dimension that stays in its place and -1 for one other;
 * put together at run time when there are more.
 */
function onnxShape(onnx: Lowering, from: Shape, to: Shape): string {
  const constant = to.map((dim, i) => (isStatic(dim) ? dim : from[i] === dim ? 0 : -1));
  if (constant.filter((dim) => dim === -1).length <= 1) return onnx.constant(int64s(constant));
  return onnx.node(
    "Concat",
    to.map((dim) => onnx.size(dim)),
    { axis: 0 },
  )[0]!;
}

/** Zeros put between the elements of an axis, `step - 1` after each but the last. */
function dilate(x: Tensor, axis: number, step: number): Tensor {
  if (step === 1) return x;
  const size = x.shape[axis] as number;
  const apart = g.reshape(x, [...x.shape.slice(0, axis + 1), 1, ...x.shape.slice(axis + 1)]);
  const none = apart.shape.map(() => 0);
  const padded = g.pad(apart, none, none.with(axis + 1, step - 1));
  return g.slice(g.reshape(padded, x.shape.with(axis, size * step)), axis, 0, (size - 1) * step + 1);
}

export const shapingOps = {
  reshape: op<{ readonly shape: Shape }>({
    infer: ([x], { shape }) => {
      if (dimProduct(x!.shape) !== dimProduct(shape)) {
        throw new ToklipError(
          "SHAPE_MISMATCH",
          `reshape: ${formatShape(x!.shape)} has not the size of ${formatShape(shape)}`,
        );
      }
      return [{ dtype: x!.dtype, shape }];
    },
    lower: (onnx, [x], { shape }, { inputs }) => onnx.node("Reshape", [x!, onnxShape(onnx, inputs[0]!.shape, shape)]),
    evaluate: ([x], _, [out]) => [{ shape: out!.shape, data: x!.data }],
    // dx = dy in the old shape
    gradient: ([dy], { inputs: [x] }) => [g.reshape(dy!, x!.shape)],
  }),
  transpose: op<{ readonly perm: readonly number[] }>({
    infer: ([x], { perm }) => {
      const axes = [...perm].sort((a, b) => a - b);
      if (axes.length !== x!.shape.length || axes.some((axis, i) => axis !== i)) {
        throw new ToklipError("GRAPH_INVALID", `transpose: [${perm}] does not permute ${formatShape(x!.shape)}`);
      }
      return [{ dtype: x!.dtype, shape: perm.map((axis) => x!.shape[axis]!) }];
    },
    lower: (onnx, inputs, { perm }) => onnx.node("Transpose", inputs, { perm }),
    evaluate: ([x], { perm }, [out]) => {
      const strides = stridesOf(x!.shape);
      return [
        take(
          x!,
          out!.shape,
          perm.map((axis) => strides[axis]!),
        ),
      ];
    },
    // dx = dy with the axes back in place
    gradient: ([dy], { attrs: { perm } }) => [
      g.transpose(
        dy!,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ],
  }),
  /** Repeats size-1 axes to a larger shape. */
  expand: op<{ readonly shape: Shape }>({
    infer: ([x], { shape }) => {
      const lead = shape.length - x!.shape.length;
      if (lead < 0 || !x!.shape.every((dim, i) => dim === shape[lead + i] || dim === 1)) {
        throw new ToklipError(
          "SHAPE_MISMATCH",
          `expand: ${formatShape(x!.shape)} does not expand to ${formatShape(shape)}`,
        );
      }
      return [{ dtype: x!.dtype, shape }];
    },
    // A symbolic size that is there already is kept by a 1.
    lower: (onnx, [x], { shape }, { inputs }) => {
      const from = inputs[0]!.shape;
      const kept = shape.map((dim, i) => (isStatic(dim) || dim !== from[i - shape.length + from.length] ? dim : 1));
      if (kept.every(isStatic)) return onnx.node("Expand", [x!, onnx.constant(int64s(kept))]);
      const sizes = kept.map((dim) => onnx.size(dim));
      return onnx.node("Expand", [x!, onnx.node("Concat", sizes, { axis: 0 })[0]!]);
    },
    evaluate: ([x], _, [out]) => [take(x!, out!.shape, broadcastStrides(x!.shape, out!.shape))],
    // dx = the sum of dy over what was repeated
    gradient: ([dy], { inputs: [x] }) => [g.sumTo(dy!, x!.shape)],
  }),
  /** Elements `start` to `end` (exclusive), every `step`th, along one axis. */
  slice: op<{ readonly axis: number; readonly start: number; readonly end: number; readonly step: number }>({
    infer: ([x], { axis, start, end, step }) => {
      const at = resolveAxis(axis, x!.shape.length);
      const size = staticDim("slice", x!.shape, at);
      if (!(0 <= start && start < end && end <= size && step >= 1)) {
        throw new ToklipError(
          "GRAPH_INVALID",
          `slice: [${start}, ${end}) step ${step} is not within axis ${axis} of ${formatShape(x!.shape)}`,
        );
      }
      return [{ dtype: x!.dtype, shape: x!.shape.with(at, Math.ceil((end - start) / step)) }];
    },
    lower: (onnx, [x], { axis, start, end, step }) =>
      onnx.node("Slice", [x!, ...[[start], [end], [axis], [step]].map((values) => onnx.constant(int64s(values)))]),
    evaluate: ([x], { axis, start, step }, [out]) => {
      const at = resolveAxis(axis, x!.shape.length);
      const strides = stridesOf(x!.shape);
      return [take(x!, out!.shape, strides.with(at, strides[at]! * step), start * strides[at]!)];
    },
    // dx = dy in its place, zeros elsewhere
    gradient: ([dy], { inputs: [x], attrs: { axis, start, step } }) => {
      const at = resolveAxis(axis, x!.shape.length);
      const spread = dilate(dy!, at, step);
      const none = x!.shape.map(() => 0);
      const rest = (x!.shape[at] as number) - start - (spread.shape[at] as number);
      return [g.pad(spread, none.with(at, start), none.with(at, rest))];
    },
  }),
  /** Cuts one axis into parts of the given sizes, one output each. */
  split: op<{ readonly axis: number; readonly sizes: readonly number[] }>({
    infer: ([x], { axis, sizes }) => {
      const at = resolveAxis(axis, x!.shape.length);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      if (staticDim("split", x!.shape, at) !== total) {
        throw new ToklipError(
          "SHAPE_MISMATCH",
          `split: parts [${sizes}] do not fill axis ${axis} of ${formatShape(x!.shape)}`,
        );
      }
      return sizes.map((size) => ({ dtype: x!.dtype, shape: x!.shape.with(at, size) }));
    },
    lower: (onnx, [x], { axis, sizes }) =>
      onnx.node("Split", [x!, onnx.constant(int64s(sizes))], { axis }, { outputs: sizes.length }),
    evaluate: ([x], { axis }, outputs) => {
      const at = resolveAxis(axis, x!.shape.length);
      const strides = stridesOf(x!.shape);
      let start = 0;
      return outputs.map(({ shape }) => {
        const part = take(x!, shape, strides, start * strides[at]!);
        start += shape[at]!;
        return part;
      });
    },
    // dx = the parts joined again, zeros for those that nothing depends on
    gradient: (dys, { outputs, attrs: { axis } }) => [
      g.concat(
        outputs.map((output, i) => dys[i] ?? g.zerosLike(output)),
        axis,
      ),
    ],
  }),
  concat: op<{ readonly axis: number }>({
    infer: (inputs, { axis }) => {
      const first = inputs[0]!;
      const at = resolveAxis(axis, first.shape.length);
      requireSameDtype("concat", ...inputs);
      for (const { shape } of inputs) {
        if (shape.length !== first.shape.length || !sameShape(shape.with(at, 0), first.shape.with(at, 0))) {
          throw new ToklipError(
            "SHAPE_MISMATCH",
            `concat: ${formatShape(shape)} does not continue ${formatShape(first.shape)} along axis ${axis}`,
          );
        }
      }
      const total = inputs.reduce((sum, { shape }) => sum + staticDim("concat", shape, at), 0);
      return [{ dtype: first.dtype, shape: first.shape.with(at, total) }];
    },
    lower: (onnx, inputs, { axis }) => onnx.node("Concat", inputs, { axis }),
    evaluate: (inputs, { axis }, [out]) => {
      const at = resolveAxis(axis, out!.shape.length);
      const data = new Float64Array(sizeOf(out!.shape));
      const { outer, size: total, inner } = aroundAxis(out!.shape, at);
      let start = 0;
      for (const input of inputs) {
        const run = input.shape[at]! * inner;
        for (let o = 0; o < outer; o++)
          data.set(input.data.subarray(o * run, (o + 1) * run), (o * total + start) * inner);
        start += input.shape[at]!;
      }
      return [{ shape: out!.shape, data }];
    },
    // dx_i = its part of dy
    gradient: ([dy], { inputs, attrs: { axis } }) => {
      const at = resolveAxis(axis, dy!.shape.length);
      return g.split(
        dy!,
        at,
        inputs.map(({ shape }) => shape[at] as number),
      );
    },
  }),
  /** Adds `before[i]` and `after[i]` elements of `value` around axis i. */
  pad: op<{ readonly before: readonly number[]; readonly after: readonly number[]; readonly value: number }>({
    infer: ([x], { before, after }) => {
      const rank = x!.shape.length;
      if (before.length !== rank || after.length !== rank || [...before, ...after].some((n) => n < 0)) {
        throw new ToklipError("GRAPH_INVALID", `pad: [${before}] and [${after}] do not fit ${formatShape(x!.shape)}`);
      }
      const grow = (dim: number | string, i: number) => {
        const extra = before[i]! + after[i]!;
        return extra === 0 ? dim : staticDim("pad", x!.shape, i) + extra;
      };
      return [{ dtype: x!.dtype, shape: x!.shape.map(grow) }];
    },
    lower: (onnx, [x], { before, after, value }, types) => {
      const { dtype } = types.inputs[0]!;
      const fill = allocate(dtype, 1);
      fill[0] = (dtype === "i64" ? BigInt(value) : value) as never;
      return onnx.node("Pad", [
        x!,
        onnx.constant(int64s([...before, ...after])),
        onnx.constant(ndarray(dtype, [], fill)),
      ]);
    },
    evaluate: ([x], { before, value }, [out]) => {
      const data = new Float64Array(sizeOf(out!.shape)).fill(value);
      const strides = stridesOf(out!.shape);
      const start = before.reduce((sum, n, i) => sum + n * strides[i]!, 0);
      offsets(x!.shape, strides, start).forEach((offset, i) => {
        data[offset] = x!.data[i]!;
      });
      return [{ shape: out!.shape, data }];
    },
    // dx = dy without its edges
    gradient: ([dy], { inputs: [x], attrs: { before, after } }) => [
      x!.shape.reduce<Tensor>((inner, dim, axis) => {
        if (before[axis] === 0 && after[axis] === 0) return inner;
        return g.slice(inner, axis, before[axis]!, before[axis]! + (dim as number));
      }, dy!),
    ],
  }),
  /** Rows of the first input along `axis`, named by an integer array: ... index-shape ... replaces the axis. */
  gather: op<{ readonly axis: number }>({
    infer: ([x, indices], { axis }) => {
      requireInteger("gather", indices!);
      const at = resolveAxis(axis, x!.shape.length);
      return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, at), ...indices!.shape, ...x!.shape.slice(at + 1)] }];
    },
    lower: (onnx, inputs, { axis }) => onnx.node("Gather", inputs, { axis }),
    evaluate: ([x, indices], { axis }, [out]) => {
      const at = resolveAxis(axis, x!.shape.length);
      const { outer, size, inner } = aroundAxis(x!.shape, at);
      const data = new Float64Array(sizeOf(out!.shape));
      let to = 0;
      for (let o = 0; o < outer; o++) {
        for (const index of indices!.data) {
          const from = (o * size + (index < 0 ? index + size : index)) * inner;
          data.set(x!.data.subarray(from, from + inner), to);
          to += inner;
        }
      }
      return [{ shape: out!.shape, data }];
    },
    // dx[i] = the sum of dy over the places where row i was read
    gradient: ([dy], { inputs: [x, indices], attrs: { axis } }) => {
      const at = resolveAxis(axis, x!.shape.length);
      const [outer, inner] = [x!.shape.slice(0, at), x!.shape.slice(at + 1)].map(dimProduct);
      const rows = staticDim("gather", x!.shape, at);
      const places = dimProduct(indices!.shape);
      const first = g.transpose(g.reshape(dy!, [outer!, places, inner!]), [1, 0, 2]);
      const flat = g.reshape(indices!, [places]);
      const sums = g.scatterRows(flat, g.reshape(first, [places, dimProduct([outer!, inner!])]), rows);
      return [g.reshape(g.transpose(g.reshape(sums, [rows, outer!, inner!]), [1, 0, 2]), x!.shape)];
    },
  }),
  /** indices (M), updates (M, D) -> (rows, D): the sum of the updates of each row. */
  scatterRows: op<{ readonly rows: number }>({
    infer: ([indices, updates], { rows }) => {
      requireInteger("scatterRows", indices!);
      requireRank("scatterRows", updates!, 2);
      requireShape("scatterRows", "indices", indices!, [updates!.shape[0]!]);
      return [{ dtype: updates!.dtype, shape: [rows, updates!.shape[1]!] }];
    },
    // ScatterElements and not ScatterND, whose additions race where an index comes twice.
    lower: (onnx, [indices, updates], { rows }, types) => {
      const { dtype, shape } = types.inputs[1]!;
      const zero = onnx.constant(ndarray(dtype, [1, 1], allocate(dtype, 1)));
      const [base] = onnx.node("Expand", [zero, onnx.constant(int64s([rows, staticDim("scatterRows", shape, 1)]))]);
      const [column] = onnx.node("Unsqueeze", [indices!, onnx.constant(int64s([-1]))]);
      const [places] = onnx.node("Expand", [column!, onnx.node("Shape", [updates!])[0]!]);
      return onnx.node("ScatterElements", [base!, places!, updates!], { axis: 0, reduction: "add" });
    },
    evaluate: ([indices, updates], _, [out]) => {
      const data = new Float64Array(sizeOf(out!.shape));
      const width = out!.shape[1]!;
      updates!.data.forEach((value, i) => {
        data[indices!.data[Math.floor(i / width)]! * width + (i % width)]! += value;
      });
      return [{ shape: out!.shape, data }];
    },
    // dupdates[m] = dy[indices[m]]
    gradient: ([dy], { inputs: [indices] }) => [undefined, g.gather(dy!, indices!)],
  }),
  /** Repeats each row and column of an NCHW picture so many times. */
  upsampleNearest: op<{ readonly scale: readonly [number, number] }>({
    infer: ([x], { scale }) => {
      requireRank("upsampleNearest", x!, 4);
      const [h, w] = [staticDim("upsampleNearest", x!.shape, 2), staticDim("upsampleNearest", x!.shape, 3)];
      return [{ dtype: x!.dtype, shape: [x!.shape[0]!, x!.shape[1]!, h * scale[0], w * scale[1]] }];
    },
    lower: (onnx, [x], { scale }) =>
      onnx.node("Resize", [x!, "", onnx.constant(ndarray("f32", [4], Float32Array.of(1, 1, ...scale)))], {
        mode: "nearest",
        nearest_mode: "floor",
        coordinate_transformation_mode: "asymmetric",
      }),
    evaluate: ([x], { scale }, [out]) => {
      const [, , height, width] = out!.shape as [number, number, number, number];
      const [, , h, w] = x!.shape as [number, number, number, number];
      const from = (_: unknown, i: number) => {
        const column = Math.floor((i % width) / scale[1]);
        const row = Math.floor((Math.floor(i / width) % height) / scale[0]);
        return x!.data[(Math.floor(i / (width * height)) * h + row) * w + column]!;
      };
      return [{ shape: out!.shape, data: Float64Array.from({ length: sizeOf(out!.shape) }, from) }];
    },
    // dx = the sum of dy over the copies of each element
    gradient: ([dy], { inputs: [x], attrs: { scale } }) => {
      const [batch, channels, h, w] = x!.shape as [Dim, number, number, number];
      const copies = g.reshape(dy!, [batch, channels, h, scale[0], w, scale[1]]);
      return [g.reshape(g.reduceSum(copies, [3, 5]), x!.shape)];
    },
  }),
};
