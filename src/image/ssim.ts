/**
 * Structural similarity of two pictures, at one scale and at several, on 8-bit values, the mean over the colour channels.
 *
 * SSIM: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, as its
 * authors compute it: Gaussian windows of 11 x 11 with sigma 1.5, only where they lie whole inside the picture,
 * population variance, K1 = 0.01, K2 = 0.03. MS-SSIM: Z. Wang et al., "Multiscale structural similarity for image quality
 * assessment", 2003: contrast and structure at five scales, luminance at the coarsest, the published weights.
 *
 * What differs: each of R, G, B is compared, not luma alone. A picture that is too small for five scales is compared at
 * those that it has, their weights divided by their sum; a scale's negative contrast counts as none, since no root of it is
 * a number.
 */
import { ToklipError } from "../core/index.ts";
import { type Image, samplesOf } from "./image.ts";
import { checkPair, SAMPLE_RANGE } from "./metrics.ts";

const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * SAMPLE_RANGE) ** 2;
const C2 = (0.03 * SAMPLE_RANGE) ** 2;
const SCALE_WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/**
 * Structural similarity in [-1, 1]; 1 for equal pictures. Both edges must be at least 11 pixels.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB, too small)
 */
export function ssim(a: Image, b: Image): number {
  return meanOverChannels(a, b, "ssim", (x, y) => similarity(x, y).whole);
}

/**
 * Structural similarity at five scales, in [0, 1]; 1 for equal pictures. Pictures below 161 pixels an edge are compared at
 * fewer, see `ssimScales`; both edges must be at least 11 pixels.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB, too small)
 */
export function multiScaleSsim(a: Image, b: Image): number {
  const weights = SCALE_WEIGHTS.slice(0, ssimScales(a));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return meanOverChannels(a, b, "multi-scale ssim", (x, y) => {
    let [product, fineX, fineY] = [1, x, y];
    for (const [scale, weight] of weights.entries()) {
      const last = scale === weights.length - 1;
      const { whole, contrast } = similarity(fineX, fineY);
      product *= Math.max(0, last ? whole : contrast) ** (weight / sum);
      if (!last) [fineX, fineY] = [halved(fineX), halved(fineY)];
    }
    return product;
  });
}

/** At how many of the five scales pictures of a size are compared: a window of 11 x 11 must fit at each. */
export function ssimScales({ width, height }: Pick<Image, "width" | "height">): number {
  let edge = Math.min(width, height);
  let scales = 0;
  for (; scales < SCALE_WEIGHTS.length && edge >= WINDOW; scales++) edge = Math.ceil(edge / 2);
  return scales;
}

/** One channel of a picture. */
interface Plane {
  readonly values: Float64Array;
  readonly width: number;
  readonly height: number;
}

function meanOverChannels(a: Image, b: Image, what: string, compare: (x: Plane, y: Plane) => number): number {
  checkPair(a, b, what);
  if (Math.min(a.width, a.height) < WINDOW) {
    const size = `${a.width}x${a.height}`;
    throw new ToklipError("ARGUMENT_INVALID", `${what}: needs at least ${WINDOW} pixels an edge, got ${size}`);
  }
  const channels = samplesOf(a);
  let sum = 0;
  for (let c = 0; c < channels; c++) sum += compare(plane(a, c), plane(b, c));
  return sum / channels;
}

function plane(image: Image, channel: number): Plane {
  const { data, width, height } = image;
  const samples = samplesOf(image);
  const values = new Float64Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = data[i * samples + channel]!;
  return { values, width, height };
}

/** Means over all windows: of the whole index, and of its factor for contrast and structure. */
function similarity(x: Plane, y: Plane): { readonly whole: number; readonly contrast: number } {
  const count = x.values.length;
  const squares = new Float64Array(count);
  const products = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const [valueX, valueY] = [x.values[i]!, y.values[i]!];
    squares[i] = valueX * valueX + valueY * valueY;
    products[i] = valueX * valueY;
  }
  const [meanX, meanY] = [windowMeans(x), windowMeans(y)];
  const [meanSquares, meanProducts] = [windowMeans({ ...x, values: squares }), windowMeans({ ...x, values: products })];
  let [whole, contrast] = [0, 0];
  for (let i = 0; i < meanX.length; i++) {
    const product = meanX[i]! * meanY[i]!;
    const squared = meanX[i]! * meanX[i]! + meanY[i]! * meanY[i]!;
    const structure = (2 * (meanProducts[i]! - product) + C2) / (meanSquares[i]! - squared + C2);
    contrast += structure;
    whole += (structure * (2 * product + C1)) / (squared + C1);
  }
  return { whole: whole / meanX.length, contrast: contrast / meanX.length };
}

/** Gaussian means of the windows that lie whole inside: (H, W) -> (H - 10, W - 10). */
function windowMeans({ values, width, height }: Plane): Float64Array {
  const across = width - WINDOW + 1;
  const along = new Float64Array(height * across);
  for (let y = 0; y < height; y++) {
    slide(values.subarray(y * width, (y + 1) * width), 1, along.subarray(y * across, (y + 1) * across));
  }
  const means = new Float64Array((height - WINDOW + 1) * across);
  slide(along, across, means);
  return means;
}

const [W0, W1, W2, W3, W4, W5] = gaussian() as [number, number, number, number, number, number];

/** The first half of the window's weights, with the middle. */
function gaussian(): number[] {
  const middle = (WINDOW - 1) / 2;
  const weights = Array.from({ length: WINDOW }, (_, i) => Math.exp(-((i - middle) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((total, weight) => total + weight);
  return weights.slice(0, middle + 1).map((weight) => weight / sum);
}

/** Weighted sums of 11 values that lie `step` apart, from each place on. Written out: a loop over them takes twice the time. */
function slide(v: Float64Array, step: number, out: Float64Array): void {
  for (let i = 0; i < out.length; i++) {
    out[i] =
      W0 * (v[i]! + v[i + 10 * step]!) +
      W1 * (v[i + step]! + v[i + 9 * step]!) +
      W2 * (v[i + 2 * step]! + v[i + 8 * step]!) +
      W3 * (v[i + 3 * step]! + v[i + 7 * step]!) +
      W4 * (v[i + 4 * step]! + v[i + 6 * step]!) +
      W5 * v[i + 5 * step]!;
  }
}

/** Means of 2 x 2 values; where an edge is odd, the last row or column is there twice. */
function halved({ values, width, height }: Plane): Plane {
  const half = { width: Math.ceil(width / 2), height: Math.ceil(height / 2) };
  const means = new Float64Array(half.width * half.height);
  for (let y = 0; y < half.height; y++) {
    const upper = 2 * y * width;
    const lower = Math.min(2 * y + 1, height - 1) * width;
    for (let x = 0; x < half.width; x++) {
      const [left, right] = [2 * x, Math.min(2 * x + 1, width - 1)];
      const sum = values[upper + left]! + values[upper + right]! + values[lower + left]! + values[lower + right]!;
      means[y * half.width + x] = sum / 4;
    }
  }
  return { values: means, ...half };
}
