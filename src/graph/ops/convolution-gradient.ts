/**
 * The gradients of a convolution, out of convolutions and matrix products that ONNX Runtime is fast at (measured in
 * docs/engine.md). Groups stay together in dx, and in dw where each has one channel; else they are taken one by one.
 *
 * Dim letters: B batch, C channels in, O channels out, H W size in, h w size out, P = B*h*w.
 */
import { ndarray } from "../../core/index.ts";
import type { Dim, Shape } from "../dim.ts";
import { dimProduct } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";

/** How the convolution moves: as `Conv2dAttrs`. */
interface Movement {
  readonly strides: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly groups: number;
}

/** With fewer channels than this, one product over all kernel elements beats one for each. */
const FEW_CHANNELS = 16;

/** The parts of an axis that belong to each group. */
function groupsOf(x: Tensor, axis: 0 | 1, groups: number): readonly Tensor[] {
  const size = (x.shape[axis] as number) / groups;
  return g.split(x, axis, new Array<number>(groups).fill(size));
}

/** w (O, C/groups, kH, kW) -> (C, O/groups, kH, kW), each kernel turned by half a turn. */
function turnedKernel(weight: Tensor, groups: number): Tensor {
  const [out, channels, height, width] = weight.shape as [number, number, number, number];
  const taps = height * width;
  const [each, all] = [out / groups, channels * groups];
  const grouped = g.reshape(weight, [groups, each, channels, taps]);
  const swapped = g.reshape(g.transpose(grouped, [0, 2, 1, 3]), [all, each, taps]);
  if (taps === 1) return g.reshape(swapped, [all, each, height, width]);
  const backwards = ndarray(
    "i32",
    [taps],
    Int32Array.from({ length: taps }, (_, i) => taps - 1 - i),
  );
  const flat = g.gather(swapped, weight.graph.constant(backwards), 2);
  return g.reshape(flat, [all, each, height, width]);
}

/** Zeros put between the rows and the columns of (B, C, h, w): `strides - 1` of each. */
function spreadApart(x: Tensor, strides: readonly [number, number]): Tensor {
  const [batch, channels, h, w] = x.shape as [Dim, number, number, number];
  const cells = g.reshape(x, [batch, channels, h, 1, w, 1]);
  const padded = g.pad(cells, [0, 0, 0, 0, 0, 0], [0, 0, 0, strides[0] - 1, 0, strides[1] - 1]);
  const whole = g.reshape(padded, [batch, channels, h * strides[0], w * strides[1]]);
  const rows = g.slice(whole, 2, 0, (h - 1) * strides[0] + 1);
  return g.slice(rows, 3, 0, (w - 1) * strides[1] + 1);
}

/** dx: dy convolved with the turned kernel where the stride is 1 or there are groups, and the transposed convolution else. */
export function convInputGradient(dy: Tensor, shape: Shape, weight: Tensor, attrs: Movement): Tensor {
  const { strides, pads, dilations, groups } = attrs;
  const isUnit = strides.every((stride) => stride === 1);
  const size = shape.slice(2) as [number, number];
  const reach = [0, 1].map((i) => dilations[i]! * ((weight.shape[2 + i] as number) - 1));
  const before = [0, 1].map((i) => reach[i]! - pads[i]!);
  const after = [0, 1].map((i) => size[i]! - ((dy.shape[2 + i] as number) - 1) * strides[i]! - 1 + pads[i]!);
  const turnedPads = [...before, ...after] as [number, number, number, number];
  if ((isUnit || groups > 1) && turnedPads.every((pad) => pad >= 0)) {
    const apart = isUnit ? dy : spreadApart(dy, strides);
    return g.conv2d(apart, turnedKernel(weight, groups), undefined, { pads: turnedPads, dilations, groups });
  }
  if (groups > 1) {
    const weights = groupsOf(weight, 0, groups);
    const part = shape.with(1, (shape[1] as number) / groups);
    const each = groupsOf(dy, 1, groups).map((t, i) =>
      convInputGradient(t, part, weights[i]!, { ...attrs, groups: 1 }),
    );
    return g.concat(each, 1);
  }
  return g.convTranspose2d(dy, weight, { stride: strides, pads, dilations, size });
}

/** (B, C, h, w) -> (C, P). */
function channelRows(x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as [Dim, number, number, number];
  return g.reshape(g.transpose(x, [1, 0, 2, 3]), [channels, dimProduct([batch, height, width])]);
}

/** Whether each element of the picture lies under exactly one place of the kernel, as in a patch embedding. */
function isPatchwise(shape: Shape, outShape: Shape, kernel: readonly number[], { strides, pads }: Movement): boolean {
  const tiles = [0, 1].every(
    (i) => strides[i] === kernel[i] && shape[2 + i] === (outShape[2 + i] as number) * kernel[i]!,
  );
  return tiles && pads.every((pad) => pad === 0);
}

/** x (B, C, h*kH, w*kW) -> (C*kH*kW, P). */
function patchColumns(x: Tensor, [kernelHeight, kernelWidth]: readonly [number, number]): Tensor {
  const [batch, channels, height, width] = x.shape as [Dim, number, number, number];
  const [h, w] = [height / kernelHeight, width / kernelWidth];
  const patches = g.reshape(x, [batch, channels, h, kernelHeight, w, kernelWidth]);
  const ordered = g.transpose(patches, [1, 3, 5, 0, 2, 4]); // -> (C, kH, kW, B, h, w)
  return g.reshape(ordered, [channels * kernelHeight * kernelWidth, dimProduct([batch, h, w])]);
}

/** dw (O, C, kH, kW): for each element of the kernel, dy (O, P) times the transpose of what lay under it, (C, P). */
export function convWeightGradient(dy: Tensor, x: Tensor, weightShape: readonly number[], attrs: Movement): Tensor {
  if (attrs.groups > 1 && weightShape[0] === attrs.groups && weightShape[1] === 1) {
    return depthwiseWeightGradient(dy, x, weightShape, attrs);
  }
  if (attrs.groups > 1) {
    const part = weightShape.with(0, weightShape[0]! / attrs.groups);
    const inputs = groupsOf(x, 1, attrs.groups);
    const each = groupsOf(dy, 1, attrs.groups).map((t, i) =>
      convWeightGradient(t, inputs[i]!, part, { ...attrs, groups: 1 }),
    );
    return g.concat(each, 0);
  }
  const [out, channels, kernelHeight, kernelWidth] = weightShape as [number, number, number, number];
  const rows = channelRows(dy);
  const times = (columns: Tensor) => g.gemm(rows, columns, undefined, { transB: true });
  if (isPatchwise(x.shape, dy.shape, [kernelHeight, kernelWidth], attrs)) {
    return g.reshape(times(patchColumns(x, [kernelHeight, kernelWidth])), weightShape);
  }
  const under = columnsUnderTaps(dy, x, kernelHeight, kernelWidth, attrs);
  if (channels < FEW_CHANNELS) {
    const all = g.reshape(times(g.concat(under, 0)), [out, kernelHeight, kernelWidth, channels]);
    return g.transpose(all, [0, 3, 1, 2]);
  }
  const each = under.map((columns) => g.reshape(times(columns), [out, channels, 1]));
  return g.reshape(g.concat(each, 2), weightShape);
}

/** dw (C, 1, kH, kW), each channel by itself: for each element of the kernel, the sum of dy times what lay under it. */
function depthwiseWeightGradient(dy: Tensor, x: Tensor, weightShape: readonly number[], attrs: Movement): Tensor {
  const [channels, , kernelHeight, kernelWidth] = weightShape as [number, number, number, number];
  const sums = picturesUnderTaps(padded(x, attrs), dy, kernelHeight, kernelWidth, attrs).map((under) =>
    g.reshape(g.reduceSum(g.mul(dy, under), [0, 2, 3]), [channels, 1]),
  );
  return g.reshape(g.concat(sums, 1), weightShape);
}

function padded(x: Tensor, { pads }: Movement): Tensor {
  return g.pad(x, [0, 0, pads[0], pads[1]], [0, 0, pads[2], pads[3]]);
}

/** What lies under each element of the kernel, in row-major order of the kernel: (C, P) each. */
function columnsUnderTaps(dy: Tensor, x: Tensor, kernelHeight: number, kernelWidth: number, attrs: Movement): Tensor[] {
  const byChannel = g.transpose(padded(x, attrs), [1, 0, 2, 3]); // (B, C, H, W) -> (C, B, H, W)
  const places = dimProduct([dy.shape[0]!, dy.shape[2]!, dy.shape[3]!]);
  return picturesUnderTaps(byChannel, dy, kernelHeight, kernelWidth, attrs).map((under) =>
    g.reshape(under, [x.shape[1]!, places]),
  );
}

/** The same, with the axes of a padded picture: (..., ..., h, w) each. */
function picturesUnderTaps(
  x: Tensor,
  dy: Tensor,
  kernelHeight: number,
  kernelWidth: number,
  attrs: Movement,
): Tensor[] {
  const { strides, dilations } = attrs;
  const lines = (t: Tensor, axis: 2 | 3, tap: number) => {
    const [start, stride] = [tap * dilations[axis - 2]!, strides[axis - 2]!];
    return g.slice(t, axis, start, start + ((dy.shape[axis] as number) - 1) * stride + 1, stride);
  };
  return Array.from({ length: kernelHeight }, (_, ky) => lines(x, 2, ky)).flatMap((rowsUnder) =>
    Array.from({ length: kernelWidth }, (_, kx) => lines(rowsUnder, 3, kx)),
  );
}
