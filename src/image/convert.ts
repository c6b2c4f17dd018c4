/**
 * Any mode to RGB.
 *
 * The arithmetic is Pillow's `convert("RGB")`: grey repeated, 16-bit grey clipped at 255, CMYK without a colour
 * profile. What differs: transparency is laid over a background colour (white by default); the reference drops it,
 * which shows whatever colour the file has under its transparent parts. `"drop"` does as the reference.
 */
import { IMAGE_MODES, type Image, type ImageMode } from "./image.ts";
import { scaleByte } from "./premultiply.ts";

/** A colour 0..255 that shows through transparency, or `"drop"`: alpha is ignored. */
export type Background = readonly [number, number, number] | "drop";

/** What shows through transparency where nothing else is asked for. */
export const WHITE: Background = [255, 255, 255];

type Data = Image["data"];

/** Writes the RGB of each pixel of `data` into `out`. */
type ToRgb = (data: Data, out: Uint8ClampedArray) => void;

const TO_RGB: Readonly<Record<ImageMode, ToRgb>> = {
  L: (data, out) => greyToRgb(data, 1, out),
  LA: (data, out) => greyToRgb(data, 2, out),
  // Stores clamp to 0..255.
  I: (data, out) => greyToRgb(data, 1, out),
  RGB: (data, out) => out.set(data),
  RGBA: rgbaToRgb,
  CMYK: cmykToRgb,
};

/** The picture in mode `RGB`: transparency over `background`. An `RGB` picture is given back as it is. */
export function toRgb(image: Image, background: Background = WHITE): Image {
  if (image.mode === "RGB") return image;
  const rgb = new Uint8ClampedArray(image.width * image.height * 3);
  TO_RGB[image.mode](image.data, rgb);
  if (background !== "drop") composite(rgb, image, background);
  return { ...image, mode: "RGB", data: new Uint8Array(rgb.buffer) };
}

function greyToRgb(data: Data, samples: number, out: Uint8ClampedArray): void {
  for (let from = 0, to = 0; from < data.length; from += samples, to += 3) {
    const grey = data[from]!;
    out[to] = grey;
    out[to + 1] = grey;
    out[to + 2] = grey;
  }
}

function rgbaToRgb(data: Data, out: Uint8ClampedArray): void {
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    out[to] = data[from]!;
    out[to + 1] = data[from + 1]!;
    out[to + 2] = data[from + 2]!;
  }
}

/** Light that no ink takes: (255 - K) less its share C, M or Y. */
function cmykToRgb(data: Data, out: Uint8ClampedArray): void {
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const light = 255 - data[from + 3]!;
    for (let c = 0; c < 3; c++) out[to + c] = light - scaleByte(data[from + c]!, light);
  }
}

/** colour * alpha + background * (1 - alpha), rounded. */
function composite(rgb: Uint8ClampedArray, image: Image, background: readonly [number, number, number]): void {
  const { samples, alpha } = IMAGE_MODES[image.mode];
  if (alpha < 0) return;
  for (let from = alpha, to = 0; to < rgb.length; from += samples, to += 3) {
    const a = image.data[from]!;
    if (a === 255) continue;
    for (let c = 0; c < 3; c++) rgb[to + c] = Math.round((rgb[to + c]! * a + background[c]! * (255 - a)) / 255);
  }
}
