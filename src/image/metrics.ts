/**
 * How close two pictures are: PSNR and SSIM, on 8-bit values, the mean over the colour channels.
 *
 * SSIM: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, as its
 * authors compute it: Gaussian windows of 11 x 11 with sigma 1.5, only where they lie whole inside the picture,
 * population variance, K1 = 0.01, K2 = 0.03. What differs: each of R, G, B is compared, not luma alone.
 */
import { ToklipError } from "../core/index.ts";
import { checkImage, type Image, samplesOf } from "./image.ts";

const RANGE = 255;
const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * RANGE) ** 2;
const C2 = (0.03 * RANGE) ** 2;

/**
 * Peak signal-to-noise ratio in dB over all samples; Infinity for equal pictures.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB)
 */
export function psnr(a: Image, b: Image): number {
  checkPair(a, b, "psnr");
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return 10 * Math.log10(RANGE ** 2 / (sum / a.data.length));
}

/**
 * Structural similarity in [-1, 1]; 1 for equal pictures. Both edges must be at least 11 pixels.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB, too small)
 */
export function ssim(a: Image, b: Image): number {
  checkPair(a, b, "ssim");
  if (Math.min(a.width, a.height) < WINDOW) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `ssim: needs at least ${WINDOW} pixels an edge, got ${a.width}x${a.height}`,
    );
  }
  const channels = samplesOf(a);
  let sum = 0;
  for (let c = 0; c < channels; c++) sum += planeSsim(plane(a, c), plane(b, c), a.width);
  return sum / channels;
}

function planeSsim(x: Float64Array, y: Float64Array, width: number): number {
  const meanX = blur(x, width);
  const meanY = blur(y, width);
  const meanXX = blur(times(x, x), width);
  const meanYY = blur(times(y, y), width);
  const meanXY = blur(times(x, y), width);
  let sum = 0;
  for (let i = 0; i < meanX.length; i++) {
    const mx = meanX[i]!;
    const my = meanY[i]!;
    const luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1);
    const variances = meanXX[i]! - mx * mx + meanYY[i]! - my * my;
    const structure = (2 * (meanXY[i]! - mx * my) + C2) / (variances + C2);
    sum += luminance * structure;
  }
  return sum / meanX.length;
}

/** Gaussian means of the windows that lie whole inside: `(H, W)` to `(H - 10, W - 10)`. */
function blur(values: Float64Array, width: number): Float64Array {
  const height = values.length / width;
  const along = slide(values, { outer: height, inner: 1, from: width });
  return slide(along, { outer: 1, inner: width - WINDOW + 1, from: height });
}

/** Weighted sums over the middle axis of `(outer, from, inner)`. */
function slide(values: Float64Array, { outer, inner, from }: { outer: number; inner: number; from: number }) {
  const to = from - WINDOW + 1;
  const out = new Float64Array(outer * to * inner);
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < WINDOW; k++) {
      const weight = GAUSSIAN[k]!;
      const begin = (o * from + k) * inner;
      for (let i = 0; i < to * inner; i++) out[o * to * inner + i]! += weight * values[begin + i]!;
    }
  }
  return out;
}

const GAUSSIAN = gaussian();

function gaussian(): Float64Array {
  const middle = (WINDOW - 1) / 2;
  const weights = Float64Array.from({ length: WINDOW }, (_, i) => Math.exp(-((i - middle) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((total, weight) => total + weight);
  return weights.map((weight) => weight / sum);
}

function times(x: Float64Array, y: Float64Array): Float64Array {
  return x.map((value, i) => value * y[i]!);
}

function plane({ data, width, height, mode }: Image, channel: number): Float64Array {
  const samples = mode === "L" ? 1 : 3;
  const values = new Float64Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = data[i * samples + channel]!;
  return values;
}

function checkPair(a: Image, b: Image, what: string): void {
  checkImage(a);
  checkImage(b);
  if (a.mode !== "L" && a.mode !== "RGB") {
    throw new ToklipError("ARGUMENT_INVALID", `${what}: compares L or RGB pictures, got ${a.mode}`);
  }
  if (a.mode !== b.mode || a.width !== b.width || a.height !== b.height) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `${what}: ${a.width}x${a.height} ${a.mode} and ${b.width}x${b.height} ${b.mode} cannot be compared`,
    );
  }
}
