// The weights of LPIPS in the goldens: hashes of their names (spec/ar.md, section 7).
import { type NDArray, ndarray, sizeOf } from "../src/core/index.ts";
import { goldenJson } from "./goldens.ts";
import { prngWeight } from "./prng-weights.ts";

const SCALING: Record<string, readonly number[]> = {
  "scaling_layer.shift": [-0.03, -0.088, -0.188],
  "scaling_layer.scale": [0.458, 0.448, 0.45],
};

/** Every parameter of LPIPS by name. */
export function lpipsWeights(): Map<string, NDArray<"f32">> {
  const { seed, lpips_keys } = goldenJson("ar/vq_gan.json") as { seed: number; lpips_keys: Record<string, number[]> };
  const weight = (name: string, shape: readonly number[]) => {
    const given = SCALING[name];
    if (given) return ndarray("f32", shape, Float32Array.from(given));
    const key = `lpips.${name}`;
    if (name.startsWith("lin")) return prngWeight({ key, shape, offset: 0.05, scale: 0.05 }, seed);
    const scale = name.endsWith("bias") ? 0.1 : Math.sqrt(6 / sizeOf(shape.slice(1)));
    return prngWeight({ key, shape, offset: 0, scale }, seed);
  };
  return new Map(Object.entries(lpips_keys).map(([name, shape]) => [name, weight(name, shape)]));
}
