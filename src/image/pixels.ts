/** Between pictures of bytes and the model's pixels: f32 (B, 3, H, W), planes R, G, B, values in [-1, 1]. */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";
import type { Image } from "./image.ts";

/** (byte / 255 - 0.5) / 0.5, each step rounded to f32: bit for bit what the reference's ToTensor and Normalize give. */
const PIXEL_OF_BYTE = Float32Array.from({ length: 256 }, (_, byte) => (Math.fround(byte / 255) - 0.5) / 0.5);

/**
 * Pixels of RGB pictures of one size: f32 (B, 3, H, W) in [-1, 1].
 * @throws ARGUMENT_INVALID (no pictures, or one not RGB), SHAPE_MISMATCH (sizes differ)
 */
export function toPixels(images: readonly Image[]): NDArray<"f32"> {
  const first = images[0];
  if (first === undefined) throw new ToklipError("ARGUMENT_INVALID", "toPixels: no pictures given");
  const { width, height } = first;
  const pixels = ndarray("f32", [images.length, 3, height, width]);
  for (const [index, image] of images.entries()) writePixels(image, pixels, index);
  return pixels;
}

/**
 * Writes one RGB picture into row `index` of a batch, f32 (B, 3, H, W).
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH
 */
export function writePixels(image: Image, batch: NDArray<"f32">, index: number): void {
  const { width, height, mode, data } = image;
  const [count = 0, planes, ...size] = batch.shape;
  if (mode !== "RGB") throw new ToklipError("ARGUMENT_INVALID", `toPixels: mode must be RGB, got ${mode}`);
  if (planes !== 3 || size[0] !== height || size[1] !== width || size.length !== 2 || !(index >= 0 && index < count)) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `toPixels: a ${width}x${height} picture does not fit row ${index} of [${batch.shape}]`,
    );
  }
  const area = width * height;
  let red = index * 3 * area;
  for (let i = 0; i < data.length; i += 3, red++) {
    batch.data[red] = PIXEL_OF_BYTE[data[i]!]!;
    batch.data[red + area] = PIXEL_OF_BYTE[data[i + 1]!]!;
    batch.data[red + 2 * area] = PIXEL_OF_BYTE[data[i + 2]!]!;
  }
}

/**
 * The RGB picture of row `index` of f32 (B, 3, H, W), or of f32 (3, H, W). Values are clamped to [-1, 1] and rounded
 * to bytes; NaN becomes 0. `fromPixels(toPixels([image]))` is the picture.
 * @throws SHAPE_MISMATCH
 */
export function fromPixels(pixels: NDArray<"f32">, index = 0): Image {
  const [planes, height = 0, width = 0] = pixels.shape.slice(-3);
  const count = pixels.shape.length === 3 ? 1 : pixels.shape.length === 4 ? pixels.shape[0]! : 0;
  if (planes !== 3 || !(index >= 0 && index < count)) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `fromPixels: expected (B, 3, H, W) with a row ${index}, got [${pixels.shape}]`,
    );
  }
  const area = width * height;
  // Stores clamp, round halves to even and turn NaN into 0.
  const data = new Uint8ClampedArray(3 * area);
  let red = index * 3 * area;
  for (let i = 0; i < data.length; i += 3, red++) {
    data[i] = byteOfPixel(pixels.data[red]!);
    data[i + 1] = byteOfPixel(pixels.data[red + area]!);
    data[i + 2] = byteOfPixel(pixels.data[red + 2 * area]!);
  }
  return { width, height, mode: "RGB", data: new Uint8Array(data.buffer) };
}

function byteOfPixel(value: number): number {
  return (value * 0.5 + 0.5) * 255;
}
