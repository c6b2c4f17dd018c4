/**
 * Colour times alpha and back, in the integer arithmetic of Pillow's `RGBa` and `La` modes.
 * Filtering needs colours weighted by how much they are seen; otherwise hidden colours bleed into visible ones.
 */
import { IMAGE_MODES, type Image } from "./image.ts";

/** a * b / 255, rounded, for a and b in 0..255. */
export function scaleByte(a: number, b: number): number {
  const product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/** A copy of an `LA` or `RGBA` picture with its colours scaled by alpha. */
export function premultiply(image: Image): Image {
  const { samples, alpha } = IMAGE_MODES[image.mode];
  const data = new Uint8Array(image.data);
  for (let i = 0; i < data.length; i += samples) {
    const a = data[i + alpha]!;
    if (a === 255) continue;
    for (let c = i; c < i + alpha; c++) data[c] = scaleByte(data[c]!, a);
  }
  return { ...image, data };
}

/** Undoes `premultiply`, rounding down. Filter overshoot can leave a colour above its alpha: it is clamped. */
export function unpremultiply(image: Image): Image {
  const { samples, alpha } = IMAGE_MODES[image.mode];
  const data = new Uint8ClampedArray(image.data);
  for (let i = 0; i < data.length; i += samples) {
    const a = data[i + alpha]!;
    if (a === 0 || a === 255) continue;
    for (let c = i; c < i + alpha; c++) data[c] = Math.trunc((255 * data[c]!) / a);
  }
  return { ...image, data: new Uint8Array(data.buffer) };
}
