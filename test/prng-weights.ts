// The goldens' weights at zero storage: a hash of the parameter's name and the element's place (spec/ar.md, section 7).
import { type NDArray, ndarray, sizeOf } from "../src/core/index.ts";

export interface PrngRule {
  readonly key: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly scale: number;
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The weight of a rule. */
export function prngWeight({ key, shape, offset, scale }: PrngRule, seed: number): NDArray<"f32"> {
  const start = (fnv1a(key) ^ seed) >>> 0;
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    let x = (start + Math.imul(i, 0x9e3779b9)) >>> 0;
    x ^= x >>> 16;
    x = Math.imul(x, 0x21f0aaad);
    x ^= x >>> 15;
    x = Math.imul(x, 0x735a2d97);
    x ^= x >>> 15;
    return offset + scale * ((x >>> 8) / 2 ** 23 - 1);
  });
  return ndarray("f32", shape, data);
}
