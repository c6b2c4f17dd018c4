/**
 * A decoded picture to a training picture: a random part of it, perhaps mirrored, perhaps in other colours. A pure
 * function of the picture, the settings and the random numbers.
 *
 * `resized-crop`, colour jitter and grey are open_clip's training transform (RandomResizedCrop in the picture's own mode,
 * then RGB, then torchvision's ColorJitter and Grayscale with a probability each), to the bit for the same draws.
 * `random-crop` is LlamaGen's for its tokenizer. `shortest` and `squash` are the deterministic transforms of evaluation.
 * Random erasing and timm's transforms are not here.
 *
 * What differs: transparency is laid over a background, white or random (the reference drops it: `"drop"`).
 */
import { type Random, ToklipError } from "../core/index.ts";
import { type Range, randomSquare, resizedCropBox, uniformIn } from "./augment-crop.ts";
import { ADJUSTMENT_NAMES, greyOfRgb } from "./colour.ts";
import { type ColorJitter, jitterColours } from "./colour-jitter.ts";
import { type Background, toRgb, WHITE } from "./convert.ts";
import { cropImage } from "./crop.ts";
import type { Image } from "./image.ts";
import { preprocessImage } from "./preprocess.ts";
import { resizeImage } from "./resize.ts";

/** How the square is cut out of the picture. */
export type CropSettings =
  /**
   * A box of random area and aspect ratio, resized. `scale` 0.9 to 1 of the area, `ratio` 3/4 to 4/3, by default. With
   * `expand` it is then made smaller by a factor between the two, from 1 to 4, and laid somewhere on a square of the
   * background (the zoom out of SSD, arXiv 1512.02325, section 3.6), so that things are also seen small.
   */
  | {
      readonly kind: "resized-crop";
      readonly scale?: Range;
      readonly ratio?: Range;
      readonly expand?: Range | undefined;
    }
  /** A random square whose edge is `fraction` of the shorter edge: by default 0.8 to 1. */
  | { readonly kind: "random-crop"; readonly fraction?: Range }
  /** The centre of the picture resized by its shorter edge. Nothing is random. */
  | { readonly kind: "shortest" }
  /** The whole picture, resized to a square. Nothing is random. */
  | { readonly kind: "squash" };

/** What is done to training pictures. Without settings: open_clip's default, `resized-crop` alone, over white. */
export interface Augmentation {
  readonly crop?: CropSettings;
  /** How often pictures are mirrored, left to right. Default 0. */
  readonly flip?: number;
  readonly colorJitter?: ColorJitter;
  /** How often pictures lose their colour. Default 0. */
  readonly grayscale?: number;
  /**
   * What shows through transparency: `"white"` (the default), a colour, `"random"` for another colour each time,
   * `"mixed"` for white every other time and a random colour else, or `"drop"`.
   */
  readonly background?: "white" | "random" | "mixed" | Background;
}

/** A square to make of a picture that may be transparent. */
interface Cut {
  readonly size: number;
  readonly background: Background;
  readonly random: Random;
}

type CropOf<K extends CropSettings["kind"]> = Extract<CropSettings, { kind: K }>;

/** One row a kind: makes an RGB square of a picture in any mode. */
const CROPS: { readonly [K in CropSettings["kind"]]: (image: Image, crop: CropOf<K>, cut: Cut) => Image } = {
  "resized-crop": (image, { scale = [0.9, 1], ratio = [3 / 4, 4 / 3], expand }, { size, background, random }) => {
    const part = cropImage(image, resizedCropBox(image, { scale, ratio }, random));
    const side = expand === undefined ? size : Math.max(1, Math.round(size / uniformIn(expand, random)));
    const square = toRgb(resizeImage(part, { width: side, height: side }), background);
    return side === size ? square : laidOn(square, { size, background, random });
  },
  // LlamaGen opens files as RGB, so colours come first.
  "random-crop": (image, { fraction = [0.8, 1] }, { size, background, random }) =>
    randomSquare({ ...toRgb(image, background), indexed: false }, size, fraction, random),
  shortest: (image, _, { size, background }) => preprocessImage(image, { size, background }),
  squash: (image, _, { size, background }) => preprocessImage(image, { size, background, resize: "squash" }),
};

/**
 * Makes a training picture: mode RGB, `size` x `size`. The same picture, settings and random state give the same bytes.
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH, DTYPE_MISMATCH
 */
export function augmentImage(image: Image, settings: Augmentation & { readonly size: number }, random: Random): Image {
  const { size, crop = { kind: "resized-crop" }, flip = 0, colorJitter, grayscale = 0 } = settings;
  const background = backgroundOf(settings.background, random);
  const cut = CROPS[crop.kind] as (image: Image, crop: CropSettings, cut: Cut) => Image;
  const square = cut(image, crop, { size, background, random });
  let data = square.data as Uint8Array;
  if (flip > 0 && random.uniform() < flip) data = mirrored(square);
  if (colorJitter !== undefined) data = jitterColours(data, colorJitter, random);
  if (grayscale > 0 && random.uniform() < grayscale) data = greyOfRgb(data);
  return { width: size, height: size, mode: "RGB", data };
}

/** The picture at a random place of a square of the background: white, where there is none. */
function laidOn({ width, height, data }: Image, { size, background, random }: Cut): Image {
  const out = new Uint8Array(3 * size * size);
  const colour = (background === "drop" ? WHITE : background) as readonly number[];
  for (let i = 0; i < out.length; i++) out[i] = colour[i % 3]!;
  const [top, left] = [random.integer(size - height + 1), random.integer(size - width + 1)];
  for (let y = 0; y < height; y++) {
    const row = data.subarray(3 * y * width, 3 * (y + 1) * width) as Uint8Array;
    out.set(row, 3 * ((top + y) * size + left));
  }
  return { width: size, height: size, mode: "RGB", data: out };
}

function backgroundOf(background: Augmentation["background"] = "white", random: Random): Background {
  if (background === "white" || (background === "mixed" && random.uniform() < 0.5)) return WHITE;
  if (background !== "random" && background !== "mixed") return background;
  return [random.integer(256), random.integer(256), random.integer(256)];
}

function mirrored({ width, height, data }: Image): Uint8Array {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    let to = y * width * 3;
    for (let from = to + (width - 1) * 3; from >= y * width * 3; from -= 3) {
      out[to++] = data[from]!;
      out[to++] = data[from + 1]!;
      out[to++] = data[from + 2]!;
    }
  }
  return out;
}

/**
 * Checks settings from outside.
 * @throws ARGUMENT_INVALID with the setting and what it must be
 */
export function checkAugmentation({ crop, flip = 0, colorJitter = {}, grayscale = 0, background }: Augmentation): void {
  checkCrop(crop);
  checkNumber("flip", flip, 1);
  checkNumber("grayscale", grayscale, 1);
  for (const name of ADJUSTMENT_NAMES) {
    checkNumber(`colorJitter.${name}`, colorJitter[name] ?? 0, name === "hue" ? 0.5 : Number.POSITIVE_INFINITY);
  }
  checkNumber("colorJitter.probability", colorJitter.probability ?? 0, 1);
  const isColour = Array.isArray(background) && background.length === 3 && background.every(isByte);
  if (background !== undefined && !isColour && !["white", "random", "mixed", "drop"].includes(background as string)) {
    refuse("background", 'must be "white", "random", "mixed", "drop" or [r, g, b] of 0 to 255', background);
  }
}

function checkCrop(crop: CropSettings = { kind: "resized-crop" }): void {
  if (!Object.hasOwn(CROPS, crop.kind)) {
    refuse("crop.kind", `must be one of ${Object.keys(CROPS).join(", ")}`, crop.kind);
  }
  const { scale, ratio, fraction, expand } = crop as { [K in "scale" | "ratio" | "fraction" | "expand"]?: Range };
  if (scale !== undefined) checkRange("crop.scale", scale, 1);
  if (ratio !== undefined) checkRange("crop.ratio", ratio, Number.POSITIVE_INFINITY);
  if (fraction !== undefined) checkRange("crop.fraction", fraction, 1);
  if (expand !== undefined && !(expand[0] >= 1 && expand[1] >= expand[0] && expand[1] <= 4)) {
    refuse("crop.expand", "must be [min, max] with 1 <= min <= max <= 4", expand);
  }
}

function checkRange(name: string, range: Range, limit: number): void {
  const [min, max] = range;
  const rises = range.length === 2 && min > 0 && max >= min && max <= limit && Number.isFinite(max);
  if (!rises) refuse(name, `must be [min, max] with 0 < min <= max${limit === 1 ? " <= 1" : ""}`, range);
}

function checkNumber(name: string, value: number, limit: number): void {
  if (!(Number.isFinite(value) && value >= 0 && value <= limit)) {
    refuse(name, `must be a number from 0${Number.isFinite(limit) ? ` to ${limit}` : ""}`, value);
  }
}

function isByte(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255;
}

function refuse(name: string, must: string, value: unknown): never {
  throw new ToklipError("ARGUMENT_INVALID", `augmentation: ${name} ${must}, got ${JSON.stringify(value)}`);
}
