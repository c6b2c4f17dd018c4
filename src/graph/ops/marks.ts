/** Ops that change no value: they say how gradients go through a graph and when what is computed. */
import { ndarray } from "../../core/index.ts";
import { type NoAttrs, op } from "../op.ts";

export const markOps = {
  /** x, through which no gradient flows. */
  stopGradient: op<NoAttrs>({
    infer: ([x]) => [x!],
    lower: (_, [x]) => [x!],
    evaluate: ([x]) => [x!],
    // dx = 0
    gradient: () => [undefined],
  }),
  /** x, the edge of a block that may be computed again for the gradient: see `gradients`. */
  boundary: op<NoAttrs>({
    infer: ([x]) => [x!],
    lower: (_, [x]) => [x!],
    evaluate: ([x]) => [x!],
    // dx = dy
    gradient: ([dy]) => [dy],
  }),
  /** The first input, not before the second is there. */
  after: op<NoAttrs>({
    infer: ([x]) => [x!],
    // x + 0 t with one element t of the trigger: a dependency that no optimiser sees through. Were t infinite, so would
    // be the gradient that x is needed for.
    lower: (onnx, [x, trigger]) => {
      const ints = (value: number) => onnx.constant(ndarray("i64", [1], BigInt64Array.of(BigInt(value))));
      const [flat] = onnx.node("Reshape", [trigger!, ints(-1)]);
      const [first] = onnx.node("Slice", [flat!, ints(0), ints(1)]);
      const [nothing] = onnx.node("Mul", [first!, onnx.constant(ndarray("f32", [1], Float32Array.of(0)))]);
      return onnx.node("Add", [x!, nothing!]);
    },
    evaluate: ([x]) => [x!],
    // dx = dy
    gradient: ([dy]) => [dy, undefined],
  }),
};
