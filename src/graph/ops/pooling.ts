/** Pooling: the largest element of each 2x2 window, and where the gradient of that goes. */
import { sizeOf, ToklipError } from "../../core/index.ts";
import { formatShape, type Shape } from "../dim.ts";
import * as g from "../functions.ts";
import { type Lowering, type NoAttrs, op, type Value } from "../op.ts";
import { requireFloat, requireRank, requireShape, staticDim } from "./checks.ts";

const WINDOW = { kernel_shape: [2, 2], strides: [2, 2] };

/** The shape of what is left of (B, C, H, W). @throws SHAPE_MISMATCH when no window fits. */
function pooledShape(shape: Shape): Shape {
  const sides = [2, 3].map((axis) => Math.floor(staticDim("maxPool2x2", shape, axis) / 2));
  if (sides.includes(0))
    throw new ToklipError("SHAPE_MISMATCH", `maxPool2x2: no window fits into ${formatShape(shape)}`);
  return [...shape.slice(0, 2), ...sides];
}

/** The place in x of the largest element of each window, the first in reading order on ties. */
function largestPlaces(x: Value, pooled: readonly number[]): Uint32Array {
  const [height, width] = x.shape.slice(2) as [number, number];
  const [rows, columns] = pooled.slice(2) as [number, number];
  return Uint32Array.from({ length: sizeOf(pooled) }, (_, i) => {
    const row = Math.floor(i / columns) % rows;
    const corner = (Math.floor(i / (rows * columns)) * height + 2 * row) * width + 2 * (i % columns);
    const places = [corner, corner + 1, corner + width, corner + width + 1];
    return places.reduce((best, place) => (x.data[place]! > x.data[best]! ? place : best));
  });
}

export const poolingOps = {
  /** The largest element of each 2x2 window of (B, C, H, W); an odd last row or column is left out. */
  maxPool2x2: op<NoAttrs>({
    infer: ([x]) => {
      requireRank("maxPool2x2", x!, 4);
      return [{ dtype: requireFloat("maxPool2x2", x!), shape: pooledShape(x!.shape) }];
    },
    lower: (onnx, inputs) => onnx.node("MaxPool", inputs, WINDOW),
    evaluate: ([x], _, [out]) => [
      { shape: out!.shape, data: Float64Array.from(largestPlaces(x!, out!.shape), (place) => x!.data[place]!) },
    ],
    // dx = dy at the largest element of each window, 0 elsewhere
    gradient: ([dy], { inputs: [x] }) => [g.maxPool2x2Gradient(x!, dy!)],
  }),
  /** x (B, C, H, W), dy (B, C, H/2, W/2): dy at the largest element of each window of x, 0 elsewhere. */
  maxPool2x2Gradient: op<NoAttrs>({
    infer: ([x, dy]) => {
      const dtype = requireFloat("maxPool2x2Gradient", x!, dy!);
      requireShape("maxPool2x2Gradient", "dy", dy!, pooledShape(x!.shape));
      return [{ dtype, shape: x!.shape }];
    },
    // Pools again for the places: keeping them from the forward pass would cost twice the memory of its result, and
    // several times its time where no gradient is asked for.
    lower: (onnx: Lowering, [x, dy]) => {
      const [, places] = onnx.node("MaxPool", [x!], WINDOW, { outputs: 2 });
      return onnx.node("MaxUnpool", [dy!, places!, onnx.node("Shape", [x!])[0]!], WINDOW);
    },
    evaluate: ([x, dy]) => {
      const data = new Float64Array(x!.data.length);
      largestPlaces(x!, dy!.shape).forEach((place, i) => {
        data[place] = dy!.data[i]!;
      });
      return [{ shape: x!.shape, data }];
    },
  }),
};
