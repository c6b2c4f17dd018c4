/** Pictures or texts to one feature vector each: the pipeline behind `toklip embed`. */
import { type LongCallOptions, type NDArray, normalizeRows, rows, throwIfAborted } from "../core/index.ts";
import { batches } from "./batches.ts";
import type { TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

export interface EmbedOptions extends PicturesOptions {
  /** Whether features are divided by their Euclidean norm. Default false. */
  readonly normalize?: boolean;
}

/** What image features are asked of. */
export type ImageEncoder = Pick<TokLIPModel, "preprocess" | "encodePixels">;

/** The features of one picture, f32 (D). */
export interface EmbeddedImage {
  readonly features: Float32Array;
}

/** The features of one text, f32 (D). */
export interface EmbeddedText {
  readonly text: string;
  readonly features: Float32Array;
}

/**
 * Pooled image features of any number of pictures, in order, holding only a few in memory.
 * A picture that cannot be read gives `{ file, error }`.
 * @throws ABORTED
 */
export function embedImages(
  model: ImageEncoder,
  images: AsyncIterable<string> | Iterable<string>,
  options: EmbedOptions = {},
): AsyncGenerator<PictureResult<EmbeddedImage>, void, undefined> {
  const run = async (pixels: NDArray<"f32">): Promise<EmbeddedImage[]> => {
    const { imageFeatures } = await model.encodePixels(pixels, { signal: options.signal });
    return split(options.normalize ? normalizeRows(imageFeatures) : imageFeatures).map((features) => ({ features }));
  };
  return mapPictures(model, images, run, options);
}

/**
 * Features of any number of texts, in order.
 * @throws ABORTED
 */
export async function* embedTexts(
  model: Pick<TokLIPModel, "encodeText">,
  texts: AsyncIterable<string> | Iterable<string>,
  { batch = 32, normalize = false, signal }: LongCallOptions & { batch?: number; normalize?: boolean } = {},
): AsyncGenerator<EmbeddedText, void, undefined> {
  for await (const group of batches(texts, batch)) {
    throwIfAborted(signal, "embed");
    const encoded = await model.encodeText(group, { signal });
    const features = split(normalize ? normalizeRows(encoded) : encoded);
    yield* group.map((text, i) => ({ text, features: features[i]! }));
  }
}

/** The rows of an f32 (B, D) array. */
function split(array: NDArray<"f32">): Float32Array[] {
  return Array.from({ length: array.shape[0]! }, (_, i) => rows(array, i, i + 1).data);
}
