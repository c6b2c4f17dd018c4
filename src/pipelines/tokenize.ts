/** Pictures to image ids, and on request to token and image features: the pipeline behind `toklip tokenize`. */
import { type NDArray, rows } from "../core/index.ts";
import type { EncodedImage, TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

export interface TokenizeOptions extends PicturesOptions {
  /** Whether each result also has its features. Default false: only the VQ encoder runs. */
  readonly features?: boolean;
}

/** One tokenized picture. */
export interface TokenizedImage {
  /** The grid [h, w]. */
  readonly grid: readonly [number, number];
  /** The h*w ids, row-major, in [0, codebookSize). */
  readonly ids: Int32Array;
  /** (N, D), not normalised; with `features`. */
  readonly tokenFeatures?: Float32Array;
  /** (D), not normalised; with `features`. */
  readonly imageFeatures?: Float32Array;
}

/**
 * Tokenizes any number of pictures, in order, holding only a few in memory.
 * A picture that cannot be read gives `{ file, error }`; the others of its batch are not affected.
 * @example for await (const { file, ids, error } of tokenizeImages(model, ["a.jpg", "b.jpg"])) ...
 * @throws ABORTED
 */
export function tokenizeImages(
  model: Pick<TokLIPModel, "preprocess" | "encodeIds" | "encodeImage">,
  images: AsyncIterable<string> | Iterable<string>,
  options: TokenizeOptions = {},
): AsyncGenerator<PictureResult<TokenizedImage>, void, undefined> {
  const { signal } = options;
  const run = async (pixels: NDArray<"f32">): Promise<readonly TokenizedImage[]> =>
    options.features
      ? tokenized(await model.encodeImage(pixels, { signal }))
      : tokenized({ ids: await model.encodeIds(pixels, { signal }) });
  return mapPictures(model, images, run, options);
}

/** One result a row of ids (B, h, w) and, where there are any, of the features. */
function tokenized({
  ids,
  tokenFeatures,
  imageFeatures,
}: Pick<EncodedImage, "ids"> & Partial<EncodedImage>): TokenizedImage[] {
  const [count, h, w] = ids.shape as [number, number, number];
  return Array.from({ length: count }, (_, i) => ({
    grid: [h, w] as const,
    ids: rows(ids, i, i + 1).data,
    ...(tokenFeatures && { tokenFeatures: rows(tokenFeatures, i, i + 1).data }),
    ...(imageFeatures && { imageFeatures: rows(imageFeatures, i, i + 1).data }),
  }));
}
