/** Pooling by windows of any size, which may overlap, and where the gradient of that goes. */
import { allocate, ndarray, sizeOf, ToklipError } from "../../core/index.ts";
import { formatShape, type Shape } from "../dim.ts";
import * as g from "../functions.ts";
import { op, type Value } from "../op.ts";
import { requireFloat, requireRank, requireShape, staticDim } from "./checks.ts";

/** The attributes of a pooling window. */
export interface MaxPool2dAttrs {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** Rows and columns around the picture at the top, left, bottom, right, which never count. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

/** How far a window reaches along an axis, and what of the padded picture it moves over. */
function extent(shape: Shape, { kernel, pads, dilations }: MaxPool2dAttrs, i: 0 | 1) {
  const size = staticDim("maxPool2d", shape, 2 + i);
  return { size, reach: (kernel[i] - 1) * dilations[i] + 1, before: pads[i], after: pads[i + 2]! };
}

/**
 * The shape of what is left of (B, C, H, W).
 * @throws SHAPE_MISMATCH when no window fits, or when one lies in the padding alone.
 */
function pooledShape(shape: Shape, attrs: MaxPool2dAttrs): Shape {
  const sides = ([0, 1] as const).map((i) => {
    const { size, reach, before, after } = extent(shape, attrs, i);
    const rows = Math.floor((size + before + after - reach) / attrs.strides[i]) + 1;
    if (rows >= 1 && Math.max(before, after) < reach && size >= attrs.dilations[i]) return rows;
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `maxPool2d: windows of [${attrs.kernel}] with padding [${attrs.pads}] do not fit ${formatShape(shape)}`,
    );
  });
  return [...shape.slice(0, 2), ...sides];
}

/** The place in x of the largest element of each window, the first in reading order on ties. */
function largestPlaces(x: Value, pooled: readonly number[], attrs: MaxPool2dAttrs): Uint32Array {
  const { kernel, strides, pads, dilations } = attrs;
  const [height, width] = x.shape.slice(2) as [number, number];
  const [rows, columns] = pooled.slice(2) as [number, number];
  return Uint32Array.from({ length: sizeOf(pooled) }, (_, i) => {
    const top = (Math.floor(i / columns) % rows) * strides[0] - pads[0];
    const left = (i % columns) * strides[1] - pads[1];
    const plane = Math.floor(i / (rows * columns)) * height * width;
    let best = -1;
    for (let ky = 0; ky < kernel[0]; ky++) {
      for (let kx = 0; kx < kernel[1]; kx++) {
        const [row, column] = [top + ky * dilations[0], left + kx * dilations[1]];
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const place = plane + row * width + column;
        if (best < 0 || x.data[place]! > x.data[best]!) best = place;
      }
    }
    return best;
  });
}

function onnxWindow({ kernel, strides, pads, dilations }: MaxPool2dAttrs) {
  return { kernel_shape: kernel, strides, pads, dilations };
}

export const windowPoolingOps = {
  /** The largest element of each window of (B, C, H, W). */
  maxPool2d: op<MaxPool2dAttrs>({
    infer: ([x], attrs) => {
      requireRank("maxPool2d", x!, 4);
      return [{ dtype: requireFloat("maxPool2d", x!), shape: pooledShape(x!.shape, attrs) }];
    },
    lower: (onnx, inputs, attrs) => onnx.node("MaxPool", inputs, onnxWindow(attrs)),
    evaluate: ([x], attrs, [out]) => [
      { shape: out!.shape, data: Float64Array.from(largestPlaces(x!, out!.shape, attrs), (place) => x!.data[place]!) },
    ],
    // dx[i] = the sum of dy over the windows whose largest element is x[i]
    gradient: ([dy], { inputs: [x], attrs }) => [g.maxPool2dGradient(x!, dy!, { ...attrs, stride: attrs.strides })],
  }),
  /** x (B, C, H, W), dy (B, C, h, w): at each element of x the sum of dy over the windows where it is the largest. */
  maxPool2dGradient: op<MaxPool2dAttrs>({
    infer: ([x, dy], attrs) => {
      const dtype = requireFloat("maxPool2dGradient", x!, dy!);
      requireShape("maxPool2dGradient", "dy", dy!, pooledShape(x!.shape, attrs));
      return [{ dtype, shape: x!.shape }];
    },
    // MaxUnpool would keep one of several windows that share their largest element, so the sums are scattered.
    lower: (onnx, [x, dy], attrs, types) => {
      const { dtype } = types.inputs[1]!;
      const flat = onnx.constant(ndarray("i64", [1], BigInt64Array.of(-1n)));
      const [, places] = onnx.node("MaxPool", [x!], onnxWindow(attrs), { outputs: 2 });
      const [indices] = onnx.node("Reshape", [places!, flat]);
      const [updates] = onnx.node("Reshape", [dy!, flat]);
      const [size] = onnx.node("Reshape", [onnx.node("Size", [x!])[0]!, flat]);
      const [zeros] = onnx.node("Expand", [onnx.constant(ndarray(dtype, [1], allocate(dtype, 1))), size!]);
      const [sums] = onnx.node("ScatterElements", [zeros!, indices!, updates!], { axis: 0, reduction: "add" });
      return onnx.node("Reshape", [sums!, onnx.node("Shape", [x!])[0]!]);
    },
    evaluate: ([x, dy], attrs) => {
      const data = new Float64Array(x!.data.length);
      largestPlaces(x!, dy!.shape, attrs).forEach((place, i) => {
        data[place]! += dy!.data[i]!;
      });
      return [{ shape: x!.shape, data }];
    },
  }),
};
