/** Pictures or texts to one feature vector each: the pipeline behind `toklip embed`. */
import { type LongCallOptions, type NDArray, normalizeRows, rows, throwIfAborted } from "../core/index.ts";
import { batches } from "./batches.ts";
import type { EncodedFeatures, TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

export interface EmbedOptions extends PicturesOptions {
  /** Whether features are divided by their Euclidean norm. Default false. */
  readonly normalize?: boolean;
}

/** What image features are asked of: `encodePixels`, where there is one, also serves a model without ids (a teacher). */
export type ImageEncoder = Pick<TokLIPModel, "preprocess" | "encodeImage"> & {
  encodePixels?(pixels: NDArray<"f32">, options?: LongCallOptions): Promise<EncodedFeatures>;
};

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
    const imageFeatures = await encodePooled(model, pixels, options.signal);
    return split(options.normalize ? normalizeRows(imageFeatures) : imageFeatures).map((features) => ({ features }));
  };
  return mapPictures(model, images, run, options);
}

/** Pooled image features f32 (B, D) of pixels f32 (B, 3, H, W), not normalised. */
export async function encodePooled(
  model: ImageEncoder,
  pixels: NDArray<"f32">,
  signal: AbortSignal | undefined,
): Promise<NDArray<"f32">> {
  const features = await (model.encodePixels?.(pixels, { signal }) ?? model.encodeImage(pixels, { signal }));
  return features.imageFeatures;
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
