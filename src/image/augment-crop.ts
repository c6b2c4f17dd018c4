/**
 * Where a training picture is cut out: RandomResizedCrop (Szegedy et al., arXiv 1409.4842, section 6) by torchvision's
 * algorithm, and the random square that LlamaGen's tokenizer is trained on (`random_crop_arr`, after ADM).
 *
 * What differs: random numbers are ours, and double precision throughout.
 */
import type { Random } from "../core/index.ts";
import type { Box, Image } from "./image.ts";
import { resizeImage } from "./resize.ts";
import { roundHalfToEven } from "./rounding.ts";

/** A smallest and a largest value. */
export type Range = readonly [min: number, max: number];

/** How many boxes are tried before the middle of the picture is taken. */
const TRIES = 10;

/**
 * A box whose share of the picture's area is uniform in `scale` and whose aspect ratio (width / height) is
 * log-uniform in `ratio`. Where none of ten fits, it is the largest box in the middle whose ratio is allowed.
 */
export function resizedCropBox(
  { width, height }: { readonly width: number; readonly height: number },
  { scale, ratio }: { readonly scale: Range; readonly ratio: Range },
  random: Random,
): Box {
  for (let i = 0; i < TRIES; i++) {
    const area = width * height * uniformIn(scale, random);
    const aspect = Math.exp(uniformIn([Math.log(ratio[0]), Math.log(ratio[1])], random));
    const across = roundHalfToEven(Math.sqrt(area * aspect));
    const down = roundHalfToEven(Math.sqrt(area / aspect));
    if (across < 1 || across > width || down < 1 || down > height) continue;
    const top = random.integer(height - down + 1);
    const left = random.integer(width - across + 1);
    return { left, top, width: across, height: down };
  }
  const whole = width / height;
  if (whole < ratio[0]) return centred(width, height, { height: roundHalfToEven(width / ratio[0]) });
  if (whole > ratio[1]) return centred(width, height, { width: roundHalfToEven(height * ratio[1]) });
  return centred(width, height, {});
}

/** A number uniform between the two. */
export function uniformIn([min, max]: Range, random: Random): number {
  return min + (max - min) * random.uniform();
}

function centred(width: number, height: number, part: { width?: number; height?: number }): Box {
  const [across, down] = [part.width ?? width, part.height ?? height];
  return {
    left: Math.floor((width - across) / 2),
    top: Math.floor((height - down) / 2),
    width: across,
    height: down,
  };
}

/**
 * A random `size` x `size` square of the picture, scaled so that the square is between `fraction[0]` and `fraction[1]` of
 * the shorter edge. Large pictures are halved by averaging before the last, bicubic, resize.
 */
export function randomSquare(image: Image, size: number, fraction: Range, random: Random): Image {
  const [smallest, largest] = [Math.ceil(size / fraction[1]), Math.ceil(size / fraction[0])];
  const short = smallest + random.integer(largest + 1 - smallest);
  const halved = halveTo(image, 2 * short);
  const scale = short / Math.min(halved.width, halved.height);
  const width = roundHalfToEven(halved.width * scale);
  const height = roundHalfToEven(halved.height * scale);
  const top = random.integer(height - size + 1);
  const left = random.integer(width - size + 1);
  return resizeImage(halved, { width, height, window: { left, top, width: size, height: size } });
}

/** Halves the edges until the shorter one is below `limit`. */
function halveTo(image: Image, limit: number): Image {
  let { width, height } = image;
  let result = image;
  while (Math.min(width, height) >= limit) {
    width = Math.floor(width / 2);
    height = Math.floor(height / 2);
    result = resizeImage(result, { width, height, filter: "box" });
  }
  return result;
}
