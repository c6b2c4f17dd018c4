/**
 * Adjusting the colours of RGB pictures, to the bit as torchvision does it on Pillow pictures: ImageEnhance's blends in
 * single precision, and Pillow's 8-bit HSV for the hue.
 *
 * Each function takes interleaved RGB bytes and gives new ones.
 */

type Bytes = Uint8Array | Uint8ClampedArray;

/** The operations by name. The neutral factor is 1, for the hue 0. */
export const COLOUR_ADJUSTMENTS = {
  /** Away from black. */
  brightness: adjustBrightness,
  /** Away from the mean grey. */
  contrast: adjustContrast,
  /** Away from each pixel's own grey. */
  saturation: adjustSaturation,
  /** Around the colour circle: 0.5 is half of it. */
  hue: adjustHue,
} as const satisfies Record<string, (rgb: Bytes, factor: number) => Uint8Array>;

/** The name of an operation on colours. */
export type ColourAdjustment = keyof typeof COLOUR_ADJUSTMENTS;

/** The operations in the order in which torchvision draws their factors. */
export const ADJUSTMENT_NAMES = Object.keys(COLOUR_ADJUSTMENTS) as readonly ColourAdjustment[];

function adjustBrightness(rgb: Bytes, factor: number): Uint8Array {
  return mapBytes(rgb, (byte) => blend(0, byte, factor));
}

function adjustContrast(rgb: Bytes, factor: number): Uint8Array {
  let sum = 0;
  for (let i = 0; i < rgb.length; i += 3) sum += luma(rgb, i);
  const mean = Math.trunc(sum / (rgb.length / 3) + 0.5);
  return mapBytes(rgb, (byte) => blend(mean, byte, factor));
}

function adjustSaturation(rgb: Bytes, factor: number): Uint8Array {
  const single = Math.fround(factor);
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const grey = luma(rgb, i);
    for (let c = i; c < i + 3; c++) out[c] = blend(grey, rgb[c]!, single);
  }
  return out;
}

function adjustHue(rgb: Bytes, factor: number): Uint8Array {
  const hsv = hsvOfRgb(rgb);
  const turn = Math.trunc(factor * 255);
  // Stores wrap around, as the circle does.
  for (let i = 0; i < hsv.length; i += 3) hsv[i]! += turn;
  return rgbOfHsv(hsv);
}

/** Each pixel's grey in all three channels. */
export function greyOfRgb(rgb: Bytes): Uint8Array {
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const grey = luma(rgb, i);
    out[i] = grey;
    out[i + 1] = grey;
    out[i + 2] = grey;
  }
  return out;
}

/** ITU-R 601 luma in 16-bit fixed point. */
function luma(rgb: Bytes, at: number): number {
  return (rgb[at]! * 19595 + rgb[at + 1]! * 38470 + rgb[at + 2]! * 7471 + 0x8000) >> 16;
}

/** from + factor * (to - from) in single precision, cut off (not rounded) to a byte. */
function blend(from: number, to: number, factor: number): number {
  const value = Math.fround(from + Math.fround(Math.fround(factor) * (to - from)));
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

function mapBytes(bytes: Bytes, map: (byte: number) => number): Uint8Array {
  const table = Uint8Array.from({ length: 256 }, (_, byte) => map(byte));
  const out = new Uint8Array(bytes.length);
  for (let i = 0; i < out.length; i++) out[i] = table[bytes[i]!]!;
  return out;
}

/** Hue, saturation and value in a byte each; a full circle of hue is 255. Quotients are single precision. */
export function hsvOfRgb(rgb: Bytes): Uint8Array {
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, b] = [rgb[i]!, rgb[i + 1]!, rgb[i + 2]!];
    const value = Math.max(r, g, b);
    const range = value - Math.min(r, g, b);
    out[i + 2] = value;
    if (range === 0) continue;
    const fromRed = Math.fround((value - r) / range);
    const fromGreen = Math.fround((value - g) / range);
    const fromBlue = Math.fround((value - b) / range);
    const sixths = r === value ? fromBlue - fromGreen : g === value ? 2 + fromRed - fromBlue : 4 + fromGreen - fromRed;
    out[i] = Math.trunc(Math.fround((Math.fround(sixths) / 6 + 1) % 1) * 255);
    out[i + 1] = Math.trunc(Math.fround(range / value) * 255);
  }
  return out;
}

/** For each sixth of the circle, which of (value, low, falling, rising) is red, green and blue. */
const SEXTANTS = [
  [0, 3, 1],
  [2, 0, 1],
  [1, 0, 3],
  [1, 2, 0],
  [3, 1, 0],
  [0, 1, 2],
] as const;

/** The inverse of `hsvOfRgb`, as far as bytes can hold it. */
export function rgbOfHsv(hsv: Bytes): Uint8Array {
  const out = new Uint8Array(hsv.length);
  const levels = new Uint8Array(4);
  for (let i = 0; i < hsv.length; i += 3) {
    const value = hsv[i + 2]!;
    const sixths = (hsv[i]! * 6) / 255;
    const sextant = Math.floor(sixths);
    const rest = Math.fround(sixths - sextant);
    const saturation = Math.fround(hsv[i + 1]! / 255);
    levels[0] = value;
    levels[1] = Math.round(value * (1 - saturation));
    levels[2] = Math.round(value * (1 - saturation * rest));
    levels[3] = Math.round(value * (1 - saturation * (1 - rest)));
    const [r, g, b] = SEXTANTS[sextant % 6]!;
    out[i] = levels[r]!;
    out[i + 1] = levels[g]!;
    out[i + 2] = levels[b]!;
  }
  return out;
}
