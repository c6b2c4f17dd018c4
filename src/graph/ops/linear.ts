/** Ops that multiply and sum: batched matrix product, matrix product with bias, convolution. */
import { sizeOf, ToklipError } from "../../core/index.ts";
import { broadcastShapes, type Dim, formatShape, type Shape } from "../dim.ts";
import * as g from "../functions.ts";
import type { Tensor } from "../graph.ts";
import { type NoAttrs, op, type Value } from "../op.ts";
import { requireFloat, requireRank, requireShape, staticDim } from "./checks.ts";
import { convInputGradient, convWeightGradient } from "./convolution-gradient.ts";
import { broadcastStrides, offsets } from "./indexing.ts";

interface Matrix {
  readonly data: Float64Array;
  readonly start: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** out (m, n) += a (m, k) b (k, n). */
function accumulate(out: Float64Array, start: number, a: Matrix, b: Matrix, m: number, k: number, n: number): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) {
        sum +=
          a.data[a.start + i * a.rowStride + p * a.columnStride]! *
          b.data[b.start + p * b.rowStride + j * b.columnStride]!;
      }
      out[start + i * n + j]! += sum;
    }
  }
}

function mismatch(name: string, a: readonly Dim[], b: readonly Dim[]): never {
  throw new ToklipError("SHAPE_MISMATCH", `${name}: ${formatShape(a)} does not multiply ${formatShape(b)}`);
}

/** The attributes of a convolution. */
export interface Conv2dAttrs {
  readonly strides: readonly [number, number];
  /** Zeros added at the top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly groups: number;
}

/** The attributes of a transposed convolution. */
export interface ConvTranspose2dAttrs extends Omit<Conv2dAttrs, "groups"> {
  /** The height and width of the result, which stride and padding leave open. */
  readonly size: readonly [number, number];
}

/** How many rows and columns of the result lie beyond what the kernel reaches without them. */
function outputPadding(x: Shape, weight: Shape, { strides, pads, dilations, size }: ConvTranspose2dAttrs): number[] {
  return size.map((wanted, i) => {
    const reach = dilations[i]! * (staticDim("convTranspose2d", weight, 2 + i) - 1) + 1;
    const least = (staticDim("convTranspose2d", x, 2 + i) - 1) * strides[i]! + reach - pads[i]! - pads[2 + i]!;
    if (wanted < least || wanted >= least + strides[i]!) {
      throw new ToklipError("SHAPE_MISMATCH", `convTranspose2d: ${formatShape(x)} does not give size [${size}]`);
    }
    return wanted - least;
  });
}

/** The input element under a kernel element, or -1 in the padding. */
function convOffset(
  position: number,
  stride: number,
  tap: number,
  dilation: number,
  pad: number,
  size: number,
): number {
  const at = position * stride + tap * dilation - pad;
  return at >= 0 && at < size ? at : -1;
}

function convolve(x: Value, weight: Value, outShape: readonly number[], attrs: Conv2dAttrs): Float64Array {
  const [batch, outChannels, outHeight, outWidth] = outShape as [number, number, number, number];
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const [, groupChannels, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const outPerGroup = outChannels / attrs.groups;
  const out = new Float64Array(sizeOf(outShape));
  for (let i = 0; i < out.length; i++) {
    const column = i % outWidth;
    const row = Math.floor(i / outWidth) % outHeight;
    const o = Math.floor(i / (outWidth * outHeight)) % outChannels;
    const b = Math.floor(i / (outWidth * outHeight * outChannels));
    const firstChannel = Math.floor(o / outPerGroup) * groupChannels;
    let sum = 0;
    for (let c = 0; c < groupChannels; c++) {
      for (let ky = 0; ky < kernelHeight; ky++) {
        const y = convOffset(row, attrs.strides[0], ky, attrs.dilations[0], attrs.pads[0], height);
        for (let kx = 0; y >= 0 && kx < kernelWidth; kx++) {
          const xx = convOffset(column, attrs.strides[1], kx, attrs.dilations[1], attrs.pads[1], width);
          if (xx < 0) continue;
          const from = ((b * channels + firstChannel + c) * height + y) * width + xx;
          sum += x.data[from]! * weight.data[((o * groupChannels + c) * kernelHeight + ky) * kernelWidth + kx]!;
        }
      }
    }
    out[i] = sum;
  }
  if (batch * channels * height * width !== x.data.length) mismatch("conv2d", x.shape, weight.shape);
  return out;
}

function deconvolve(x: Value, weight: Value, shape: readonly number[], attrs: ConvTranspose2dAttrs): Float64Array {
  const [, outChannels, height, width] = shape as [number, number, number, number];
  const [, channels, h, w] = x.shape as [number, number, number, number];
  const [, , kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const out = new Float64Array(sizeOf(shape));
  x.data.forEach((value, i) => {
    const [column, row] = [i % w, Math.floor(i / w) % h];
    const [c, b] = [Math.floor(i / (w * h)) % channels, Math.floor(i / (w * h * channels))];
    for (let o = 0; o < outChannels; o++) {
      for (let ky = 0; ky < kernelHeight; ky++) {
        const y = convOffset(row, attrs.strides[0], ky, attrs.dilations[0], attrs.pads[0], height);
        for (let kx = 0; y >= 0 && kx < kernelWidth; kx++) {
          const xx = convOffset(column, attrs.strides[1], kx, attrs.dilations[1], attrs.pads[1], width);
          const tap = weight.data[((c * outChannels + o) * kernelHeight + ky) * kernelWidth + kx]!;
          if (xx >= 0) out[((b * outChannels + o) * height + y) * width + xx]! += value * tap;
        }
      }
    }
  });
  return out;
}

export const linearOps = {
  /** (..., M, K) (..., K, N) -> (..., M, N), leading axes broadcast. */
  matmul: op<NoAttrs>({
    infer: ([a, b]) => {
      const dtype = requireFloat("matmul", a!, b!);
      if (a!.shape.length < 2 || b!.shape.length < 2 || a!.shape.at(-1) !== b!.shape.at(-2))
        mismatch("matmul", a!.shape, b!.shape);
      const lead = broadcastShapes(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
      return [{ dtype, shape: [...lead, a!.shape.at(-2)!, b!.shape.at(-1)!] }];
    },
    lower: (onnx, inputs) => onnx.node("MatMul", inputs),
    evaluate: ([a, b], _, [out]) => {
      const [m, n] = out!.shape.slice(-2) as [number, number];
      const k = a!.shape.at(-1)!;
      const lead = out!.shape.slice(0, -2);
      const data = new Float64Array(sizeOf(out!.shape));
      const left = offsets(lead, broadcastStrides(a!.shape.slice(0, -2), lead));
      const right = offsets(lead, broadcastStrides(b!.shape.slice(0, -2), lead));
      left.forEach((batch, i) => {
        const matrixA = { data: a!.data, start: batch * m * k, rowStride: k, columnStride: 1 };
        const matrixB = { data: b!.data, start: right[i]! * k * n, rowStride: n, columnStride: 1 };
        accumulate(data, i * m * n, matrixA, matrixB, m, k, n);
      });
      return [{ shape: out!.shape, data }];
    },
    // da = dy b^T, db = a^T dy, summed over leading axes that were broadcast
    gradient: ([dy], { inputs: [a, b] }) => {
      const swapped = (t: Tensor) => {
        const axes = t.shape.map((_, axis) => axis);
        return g.transpose(t, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!]);
      };
      const da = g.sumTo(g.matmul(dy!, swapped(b!)), a!.shape);
      if (b!.shape.length > 2) return [da, g.sumTo(g.matmul(swapped(a!), dy!), b!.shape)];
      return [da, g.gemm(g.flattenRows(a!), g.flattenRows(dy!), undefined, { transA: true })];
    },
  }),
  /** op(a) op(b) + bias for two matrices, either transposed; the bias (N) is optional. */
  gemm: op<{ readonly transA: boolean; readonly transB: boolean }>({
    infer: ([a, b, bias], { transA, transB }) => {
      const dtype = requireFloat("gemm", a!, b!, ...(bias ? [bias] : []));
      requireRank("gemm", a!, 2);
      requireRank("gemm", b!, 2);
      const [m, k] = transA ? [a!.shape[1]!, a!.shape[0]!] : [a!.shape[0]!, a!.shape[1]!];
      const [kb, n] = transB ? [b!.shape[1]!, b!.shape[0]!] : [b!.shape[0]!, b!.shape[1]!];
      if (k !== kb) mismatch("gemm", a!.shape, b!.shape);
      if (bias) requireShape("gemm", "bias", bias, [n]);
      return [{ dtype, shape: [m, n] }];
    },
    lower: (onnx, inputs, { transA, transB }) =>
      onnx.node("Gemm", inputs, { transA: Number(transA), transB: Number(transB) }),
    evaluate: ([a, b, bias], { transA, transB }, [out]) => {
      const [m, n] = out!.shape as [number, number];
      const k = a!.shape[transA ? 0 : 1]!;
      const data = Float64Array.from({ length: m * n }, (_, i) => (bias ? bias.data[i % n]! : 0));
      const matrixA = { data: a!.data, start: 0, rowStride: transA ? 1 : k, columnStride: transA ? m : 1 };
      const matrixB = { data: b!.data, start: 0, rowStride: transB ? 1 : n, columnStride: transB ? k : 1 };
      accumulate(data, 0, matrixA, matrixB, m, k, n);
      return [{ shape: out!.shape, data }];
    },
    // y = A B + c with A = a or a^T, B = b or b^T: dA = dy B^T, dB = A^T dy, dc = sum of the rows of dy
    gradient: ([dy], { inputs: [a, b, bias], attrs: { transA, transB } }) => [
      transA
        ? g.gemm(b!, dy!, undefined, { transA: transB, transB: true })
        : g.gemm(dy!, b!, undefined, { transB: !transB }),
      transB
        ? g.gemm(dy!, a!, undefined, { transA: true, transB: transA })
        : g.gemm(a!, dy!, undefined, { transA: !transA }),
      bias && g.reshape(g.reduceSum(dy!, [0]), bias.shape),
    ],
  }),
  /** Cross-correlation of (B, C, H, W) with (O, C/groups, kH, kW), and an optional bias (O). */
  conv2d: op<Conv2dAttrs>({
    infer: ([x, weight, bias], { strides, pads, dilations, groups }) => {
      const dtype = requireFloat("conv2d", x!, weight!, ...(bias ? [bias] : []));
      requireRank("conv2d", x!, 4);
      requireRank("conv2d", weight!, 4);
      const [outChannels, groupChannels] = [
        staticDim("conv2d", weight!.shape, 0),
        staticDim("conv2d", weight!.shape, 1),
      ];
      if (x!.shape[1] !== groupChannels * groups || outChannels % groups !== 0)
        mismatch("conv2d", x!.shape, weight!.shape);
      if (bias) requireShape("conv2d", "bias", bias, [outChannels]);
      const spatial = [0, 1].map((i) => {
        const padded = staticDim("conv2d", x!.shape, 2 + i) + pads[i]! + pads[2 + i]!;
        const reach = dilations[i]! * (staticDim("conv2d", weight!.shape, 2 + i) - 1) + 1;
        const size = Math.floor((padded - reach) / strides[i]!) + 1;
        if (size < 1) mismatch("conv2d", x!.shape, weight!.shape);
        return size;
      });
      return [{ dtype, shape: [x!.shape[0]!, outChannels, ...spatial] }];
    },
    lower: (onnx, inputs, { strides, pads, dilations, groups }) =>
      onnx.node("Conv", inputs, { strides, pads, dilations, group: groups }),
    evaluate: ([x, weight, bias], attrs, [out]) => {
      const data = convolve(x!, weight!, out!.shape, attrs);
      if (bias) {
        const area = out!.shape[2]! * out!.shape[3]!;
        for (let i = 0; i < data.length; i++) data[i]! += bias.data[Math.floor(i / area) % bias.data.length]!;
      }
      return [{ shape: out!.shape, data }];
    },
    // dx and dw as in convolution-gradient.ts, dc = the sum of each channel of dy
    gradient: ([dy], { inputs: [x, weight, bias], attrs }) => [
      convInputGradient(dy!, x!.shape, weight!, attrs),
      convWeightGradient(dy!, x!, weight!.shape as number[], attrs),
      bias && g.reshape(g.reduceSum(dy!, [0, 2, 3]), bias.shape),
    ],
  }),
  /** The adjoint of conv2d in its first operand: (B, O, h, w), weight (O, C, kH, kW) -> (B, C, size). */
  convTranspose2d: op<ConvTranspose2dAttrs>({
    infer: ([x, weight], attrs) => {
      const dtype = requireFloat("convTranspose2d", x!, weight!);
      requireRank("convTranspose2d", x!, 4);
      requireRank("convTranspose2d", weight!, 4);
      if (x!.shape[1] !== weight!.shape[0]) mismatch("convTranspose2d", x!.shape, weight!.shape);
      outputPadding(x!.shape, weight!.shape, attrs);
      return [{ dtype, shape: [x!.shape[0]!, staticDim("convTranspose2d", weight!.shape, 1), ...attrs.size] }];
    },
    lower: (onnx, inputs, attrs, types) =>
      onnx.node("ConvTranspose", inputs, {
        strides: attrs.strides,
        pads: attrs.pads,
        dilations: attrs.dilations,
        output_padding: outputPadding(types.inputs[0]!.shape, types.inputs[1]!.shape, attrs),
      }),
    evaluate: ([x, weight], attrs, [out]) => [{ shape: out!.shape, data: deconvolve(x!, weight!, out!.shape, attrs) }],
    // It is linear in both operands, and conv2d is its adjoint: dx = conv2d(dy, w); dw as that of conv2d with x for dy
    gradient: ([dy], { inputs: [x, weight], attrs: { strides, pads, dilations } }) => {
      const attrs = { strides, pads, dilations, groups: 1 };
      return [
        g.conv2d(dy!, weight!, undefined, { stride: strides, pads, dilations }),
        convWeightGradient(x!, dy!, weight!.shape as number[], attrs),
      ];
    },
  }),
};
