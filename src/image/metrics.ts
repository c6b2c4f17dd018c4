/** How close two pictures are, sample by sample: mean absolute and squared differences of 8-bit values, and PSNR. */
import { ToklipError } from "../core/index.ts";
import { checkImage, type Image } from "./image.ts";

/** The largest difference that two samples can have. */
export const SAMPLE_RANGE = 255;

/**
 * The mean of the squared differences of all samples, in [0, 255^2].
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB)
 */
export function meanSquaredDifference(a: Image, b: Image): number {
  checkPair(a, b, "mean squared difference");
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return sum / a.data.length;
}

/**
 * The mean of the absolute differences of all samples, in [0, 255].
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB)
 */
export function meanAbsoluteDifference(a: Image, b: Image): number {
  checkPair(a, b, "mean absolute difference");
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += Math.abs(a.data[i]! - b.data[i]!);
  return sum / a.data.length;
}

/** The peak signal-to-noise ratio, in dB, of a mean squared difference; Infinity for none. */
export function psnrOf(meanSquared: number): number {
  return 10 * Math.log10(SAMPLE_RANGE ** 2 / meanSquared);
}

/**
 * Peak signal-to-noise ratio in dB over all samples; Infinity for equal pictures.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB)
 */
export function psnr(a: Image, b: Image): number {
  return psnrOf(meanSquaredDifference(a, b));
}

/**
 * Checks that two pictures can be compared.
 * @throws SHAPE_MISMATCH (sizes or modes differ), ARGUMENT_INVALID (not L or RGB)
 */
export function checkPair(a: Image, b: Image, what: string): void {
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
