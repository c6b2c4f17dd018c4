/**
 * The gradients of a convolution, out of convolutions and matrix products that ONNX Runtime is fast at (measured in
 * docs/engine.md). Groups are taken one by one.
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

/** w (O, C, kH, kW) -> (C, O, kH, kW), each kernel turned by half a turn. */
function turnedKernel(weight: Tensor): Tensor {
  const [out, channels, height, width] = weight.shape as [number, number, number, number];
  const taps = height * width;
  const swapped = g.transpose(weight, [1, 0, 2, 3]);
  if (taps === 1) return swapped;
  const backwards = ndarray(
    "i32",
    [taps],
    Int32Array.from({ length: taps }, (_, i) => taps - 1 - i),
  );
  const flat = g.gather(g.reshape(swapped, [channels, out, taps]), weight.graph.constant(backwards), 2);
  return g.reshape(flat, [channels, out, height, width]);
}

/** dx: dy convolved with the turned kernel where the stride is 1, and the transposed convolution otherwise. */
export function convInputGradient(dy: Tensor, shape: Shape, weight: Tensor, attrs: Movement): Tensor {
  const { strides, pads, dilations, groups } = attrs;
  if (groups > 1) {
    const weights = groupsOf(weight, 0, groups);
    const part = shape.with(1, (shape[1] as number) / groups);
    const each = groupsOf(dy, 1, groups).map((t, i) =>
      convInputGradient(t, part, weights[i]!, { ...attrs, groups: 1 }),
    );
    return g.concat(each, 1);
  }
  const reach = [0, 1].map((i) => dilations[i]! * ((weight.shape[2 + i] as number) - 1));
  const turnedPads = pads.map((pad, i) => reach[i % 2]! - pad) as [number, number, number, number];
  if (strides.every((stride) => stride === 1) && turnedPads.every((pad) => pad >= 0)) {
    return g.conv2d(dy, turnedKernel(weight), undefined, { pads: turnedPads, dilations });
  }
  const size = shape.slice(2) as [number, number];
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

/** What lies under each element of the kernel, in row-major order of the kernel: (C, P) each. */
function columnsUnderTaps(dy: Tensor, x: Tensor, kernelHeight: number, kernelWidth: number, attrs: Movement): Tensor[] {
  const { strides, pads, dilations } = attrs;
  const padded = g.pad(x, [0, 0, pads[0], pads[1]], [0, 0, pads[2], pads[3]]);
  const byChannel = g.transpose(padded, [1, 0, 2, 3]); // (B, C, H, W) -> (C, B, H, W)
  const places = dimProduct([dy.shape[0]!, dy.shape[2]!, dy.shape[3]!]);
  const lines = (t: Tensor, axis: 2 | 3, tap: number) => {
    const [start, stride] = [tap * dilations[axis - 2]!, strides[axis - 2]!];
    return g.slice(t, axis, start, start + ((dy.shape[axis] as number) - 1) * stride + 1, stride);
  };
  return Array.from({ length: kernelHeight }, (_, ky) => lines(byChannel, 2, ky)).flatMap((rowsUnder) =>
    Array.from({ length: kernelWidth }, (_, kx) => g.reshape(lines(rowsUnder, 3, kx), [x.shape[1]!, places])),
  );
}
