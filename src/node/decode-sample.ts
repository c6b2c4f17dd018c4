/** One picture file to the pixels of a batch row, in whatever thread this runs. */
import type { NDArray } from "../core/index.ts";
import { type DecodeSpec, samplePixels } from "../data/decode.ts";
import { type DecodeOptions, decodeImage } from "./image.ts";

/**
 * Decodes and augments a picture: f32 (3, S, S) in [-1, 1].
 * @throws IMAGE_UNREADABLE, IMAGE_TOO_LARGE, ABORTED
 */
export async function decodeSample(
  bytes: Uint8Array,
  spec: DecodeSpec,
  options: DecodeOptions = {},
): Promise<NDArray<"f32">> {
  return samplePixels(await decodeImage(bytes, options), spec);
}
