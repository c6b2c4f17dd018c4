/**
 * All that a model makes of a picture at once: its ids, the labels that they stand for, and the picture that they are
 * decoded to. The pipeline behind `toklip show`.
 */
import { type NDArray, rows } from "../core/index.ts";
import type { Image } from "../image/image.ts";
import { psnr } from "../image/metrics.ts";
import { fromPixels } from "../image/pixels.ts";
import { ssim, ssimScales } from "../image/ssim.ts";
import { type LabelFeatures, scoreLabels } from "./classify.ts";
import type { LabelScore, TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

/** A picture, and what a model made of it. */
export interface ShownImage {
  /** What the model saw: the picture after resizing and cropping. */
  readonly original: Image;
  /** What its ids are decoded to. */
  readonly reconstruction: Image;
  /** The grid [h, w]. */
  readonly grid: readonly [number, number];
  /** The h*w ids, row-major, in [0, codebookSize). */
  readonly ids: Int32Array;
  /** Peak signal-to-noise ratio of the two pictures, in dB; infinite when they are equal. */
  readonly psnr: number;
  /** Their structural similarity, in [-1, 1]; null for pictures too small to have one. */
  readonly ssim: number | null;
  /** The scores of the labels, best first; none where there are no labels. */
  readonly scores: readonly LabelScore[];
}

/** The methods of a model that a show needs. */
export type ShowModel = Pick<TokLIPModel, "preprocess" | "encodeIds" | "encodeFeatures" | "decodeIds">;

/**
 * Tokenizes, labels and reconstructs any number of pictures, in order. One that cannot be read gives `{ file, error }`.
 * @param labels what to choose among; undefined: pictures are not labelled, and the ViT is not run
 * @throws ARGUMENT_INVALID for a model without a VQ; ABORTED
 */
export function showImages(
  model: ShowModel,
  images: AsyncIterable<string> | Iterable<string>,
  labels: LabelFeatures | undefined,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<ShownImage>, void, undefined> {
  const { signal } = options;
  const run = async (pixels: NDArray<"f32">): Promise<ShownImage[]> => {
    const ids = await model.encodeIds(pixels, { signal });
    const decoded = await model.decodeIds(ids, { signal });
    const scores = labels && scoreLabels((await model.encodeFeatures(ids, { signal })).imageFeatures, labels);
    const [count, h, w] = ids.shape as [number, number, number];
    return Array.from({ length: count }, (_, i) => ({
      grid: [h, w] as const,
      ids: rows(ids, i, i + 1).data,
      ...compared(fromPixels(pixels, i), fromPixels(decoded, i)),
      scores: scores?.[i] ?? [],
    }));
  };
  return mapPictures(model, images, run, options);
}

function compared(original: Image, reconstruction: Image) {
  const similarity = ssimScales(original) > 0 ? ssim(original, reconstruction) : null;
  return { original, reconstruction, psnr: psnr(original, reconstruction), ssim: similarity };
}
