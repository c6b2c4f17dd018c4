// Made-up pictures for tests.
import fc from "fast-check";
import { IMAGE_MODES, type Image, type ImageMode } from "../../src/image/index.ts";

const MODES = Object.keys(IMAGE_MODES) as ImageMode[];

/** A picture whose sample `i` is `sample(i)`. */
export function imageOf(mode: ImageMode, width: number, height: number, sample: (i: number) => number): Image {
  const length = width * height * IMAGE_MODES[mode].samples;
  const data = mode === "I" ? new Int32Array(length) : new Uint8Array(length);
  for (let i = 0; i < length; i++) data[i] = sample(i);
  return { width, height, mode, data };
}

/** A small picture of noise, extremes more often than chance has them. */
export function anyImage(modes: readonly ImageMode[] = MODES): fc.Arbitrary<Image> {
  const edge = fc.integer({ min: 1, max: 24 });
  return fc.tuple(fc.constantFrom(...modes), edge, edge, fc.integer()).map(([mode, width, height, seed]) => {
    let state = seed;
    return imageOf(mode, width, height, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
      const noise = (state >>> 8) & 0x1ff;
      if (mode === "I") return noise * 128;
      return noise < 256 ? noise : noise < 384 ? 0 : 255;
    });
  });
}
