/** Features that are in memory, as rows. */
import type { NDArray } from "../core/index.ts";
import type { FeatureRows } from "./feature-rows.ts";

/** The rows of f32 (N, D), without classes, each named by its number. */
export function arrayRows({ shape, data }: NDArray<"f32">): FeatureRows {
  const [size = 0, width = 0] = shape;
  const block = {
    features: data,
    keys: Array.from({ length: size }, (_, i) => String(i)),
    labels: new Int32Array(size).fill(-1),
  };
  return {
    size,
    width,
    classes: [],
    async *blocks() {
      if (size > 0) yield block;
    },
  };
}
