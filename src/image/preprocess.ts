/**
 * A picture of any size and mode to the model's square RGB input, as the reference prepares it:
 * resize in the picture's own mode, cut out the centre, convert to RGB.
 *
 * What differs: transparency is laid over white (the reference drops it; `background: "drop"`). It is laid after the
 * resize, which works on premultiplied colours, so edges come out as if the full-size picture had been composited,
 * and both settings share one resize. EXIF orientation is the decoder's affair.
 */
import { ToklipError } from "../core/index.ts";
import { type Background, toRgb, WHITE } from "./convert.ts";
import { type Box, checkImage, type Image } from "./image.ts";
import { resizeImage } from "./resize.ts";
import { roundHalfToEven } from "./rounding.ts";

/** How pictures are prepared for a model. */
export interface PreprocessSettings {
  /** Edge of the square the model takes, in pixels. */
  readonly size: number;
  /** `shortest`: resize the shorter edge to `size` and cut out the centre. `squash`: resize both edges. Default `shortest`. */
  readonly resize?: "shortest" | "squash";
  /** What shows through transparency. Default white. */
  readonly background?: Background;
}

/**
 * Makes the model's input of a picture: mode RGB, `size` x `size`.
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH, DTYPE_MISMATCH
 */
export function preprocessImage(image: Image, settings: PreprocessSettings): Image {
  const { size, resize = "shortest", background = WHITE } = settings;
  checkImage(image);
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new ToklipError("ARGUMENT_INVALID", `preprocess: size must be a whole number from 1, got ${size}`);
  }
  const target = resize === "squash" ? { width: size, height: size } : shortestTo(size, image);
  const { mode, data, width, height } = toRgb(resizeImage(image, target), background);
  return { width, height, mode, data };
}

/** The size whose shorter edge is `size`, and the square in its centre. */
function shortestTo(size: number, image: Image): { width: number; height: number; window: Box } {
  const { width, height } = image;
  const long = Math.trunc((size * Math.max(width, height)) / Math.min(width, height));
  const resized = width <= height ? { width: size, height: long } : { width: long, height: size };
  const left = roundHalfToEven((resized.width - size) / 2);
  const top = roundHalfToEven((resized.height - size) / 2);
  return { ...resized, window: { left, top, width: size, height: size } };
}
