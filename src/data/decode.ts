/** From a picture file's bytes to one row of a batch: what the platform's decoders do, and what is asked of them. */
import { type NDArray, ndarray, Random } from "../core/index.ts";
import { type Augmentation, augmentImage, type Image, toPixels } from "../image/index.ts";

/** What is made of one picture. Plain data: it is sent to other threads. */
export interface DecodeSpec {
  /** The sample's key, for messages. */
  readonly key: string;
  /** Edge of the square, in pixels. */
  readonly imageSize: number;
  readonly augmentation: Augmentation;
  /** Starts the random numbers of the augmentation. */
  readonly seed: number;
}

/**
 * Decodes and augments one picture: f32 (3, S, S) in [-1, 1], S the `imageSize`. The data is the caller's to keep.
 * @throws IMAGE_UNREADABLE, IMAGE_TOO_LARGE for a bad picture; ABORTED; anything else for a decoder that is out of order
 */
export type DecodeSample = (
  bytes: Uint8Array,
  spec: DecodeSpec,
  signal?: AbortSignal | undefined,
) => Promise<NDArray<"f32">>;

/** The pixels of a decoded picture: f32 (3, S, S) in [-1, 1]. */
export function samplePixels(image: Image, { imageSize, augmentation, seed }: DecodeSpec): NDArray<"f32"> {
  const square = augmentImage(image, { ...augmentation, size: imageSize }, new Random(seed));
  return ndarray("f32", [3, imageSize, imageSize], toPixels([square]).data);
}
