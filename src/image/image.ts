/** A picture in memory: what the platform's decoder gives, what a user can make, and what preprocessing takes. */
import { ToklipError } from "../core/index.ts";

/** One row a mode: its samples a pixel, and which of them is alpha (-1 for none). */
export const IMAGE_MODES = {
  /** Grey. */
  L: { samples: 1, alpha: -1 },
  /** Grey and alpha. */
  LA: { samples: 2, alpha: 1 },
  RGB: { samples: 3, alpha: -1 },
  RGBA: { samples: 4, alpha: 3 },
  /** Ink amounts, 0 for no ink (as Pillow holds them after decoding). */
  CMYK: { samples: 4, alpha: -1 },
  /** Grey as int32: 16-bit grey files. */
  I: { samples: 1, alpha: -1 },
} as const;

/** The name of a mode. */
export type ImageMode = keyof typeof IMAGE_MODES;

/**
 * Rows from the top, pixels from the left, samples interleaved (HWC). Alpha is not premultiplied.
 * A picture of one's own: `{ width: 2, height: 1, mode: "RGB", data: Uint8Array.of(255, 0, 0, 0, 0, 255) }`.
 */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly mode: ImageMode;
  /** uint8, or int32 for mode `I`. Length: width x height x samples. */
  readonly data: Uint8Array | Uint8ClampedArray | Int32Array;
  /** True for palette and bilevel files: the reference resizes them by nearest neighbour. */
  readonly indexed?: boolean;
}

/** A rectangle of pixels, from the left and the top. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Samples a pixel. */
export function samplesOf(image: Image): number {
  return IMAGE_MODES[image.mode].samples;
}

/**
 * Checks a picture that came from outside.
 * @throws ARGUMENT_INVALID (mode, width, height), DTYPE_MISMATCH, SHAPE_MISMATCH
 */
export function checkImage(image: Image): void {
  const { width, height, mode, data } = image;
  if (!Object.hasOwn(IMAGE_MODES, mode)) {
    const modes = Object.keys(IMAGE_MODES).join(", ");
    throw new ToklipError("ARGUMENT_INVALID", `image: mode must be one of ${modes}, got ${String(mode)}`);
  }
  if (!isCount(width) || !isCount(height)) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `image: width and height must be whole numbers from 1, got ${width}x${height}`,
    );
  }
  const fits = mode === "I" ? data instanceof Int32Array : isBytes(data);
  if (!fits) {
    const expected = mode === "I" ? "an Int32Array" : "a Uint8Array";
    throw new ToklipError("DTYPE_MISMATCH", `image: mode ${mode} needs ${expected} as data`);
  }
  const length = width * height * samplesOf(image);
  if (data.length !== length) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `image: ${width}x${height} ${mode} needs ${length} samples, got ${data.length}`,
    );
  }
}

/** Tells a picture from the other things a user may pass for one. */
export function isImage(value: unknown): value is Image {
  return typeof value === "object" && value !== null && "width" in value && "height" in value && "mode" in value;
}

function isBytes(data: unknown): boolean {
  return data instanceof Uint8Array || data instanceof Uint8ClampedArray;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}
