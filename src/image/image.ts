/** A decoded picture, in the mode its file has: what the platform's decoder gives and preprocessing takes. */

/** Samples a pixel: L grey, LA grey and alpha, RGB, RGBA, CMYK (0 no ink, as Pillow holds it after decoding). */
export type ImageMode = "L" | "LA" | "RGB" | "RGBA" | "CMYK" | "I";

/** Rows from the top, pixels from the left, samples interleaved (HWC). */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly mode: ImageMode;
  /** uint8, or int32 for mode `I` (16-bit grey files). */
  readonly data: Uint8Array | Uint8ClampedArray | Int32Array;
  /** True for palette and bilevel files: the reference resizes them by nearest neighbour. */
  readonly indexed?: boolean;
}
