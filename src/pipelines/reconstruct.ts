/**
 * Back to pixels: from ids, or from pictures by way of their ids. The pipeline behind `toklip reconstruct`.
 */
import { messageOf, type NDArray, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import type { Image } from "../image/image.ts";
import { psnr } from "../image/metrics.ts";
import { fromPixels } from "../image/pixels.ts";
import { batches } from "./batches.ts";
import { checkIds, type IdsLine } from "./ids-line.ts";
import type { LongCallOptions, TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

/** A picture made from ids. */
export interface DecodedImage {
  /** RGB, as large as the model's image size. */
  readonly image: Image;
}

/** A picture, encoded and decoded again. */
export interface ReconstructedImage extends DecodedImage {
  /** What the model saw: the picture after resizing and cropping. */
  readonly original: Image;
  /** Peak signal-to-noise ratio of the two, in dB; infinite when they are equal. */
  readonly psnr: number;
}

/**
 * Encodes and decodes any number of pictures, in order. A picture that cannot be read gives `{ file, error }`.
 * @throws ABORTED
 */
export function reconstructImages(
  model: Pick<TokLIPModel, "preprocess" | "encodeIds" | "decodeIds">,
  images: AsyncIterable<string> | Iterable<string>,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<ReconstructedImage>, void, undefined> {
  const { signal } = options;
  const run = async (pixels: NDArray<"f32">): Promise<ReconstructedImage[]> => {
    const decoded = await model.decodeIds(await model.encodeIds(pixels, { signal }), { signal });
    const originals = pixelsToImages(pixels);
    return pixelsToImages(decoded).map((image, i) => {
      const original = originals[i]!;
      return { image, original, psnr: psnr(original, image) };
    });
  };
  return mapPictures(model, images, run, options);
}

/**
 * Decodes any number of id grids, in order. Ids that do not belong to the model, and lines that came as an error
 * already, give `{ file, error }`; the others of the batch are not affected.
 * @throws ABORTED
 */
export async function* reconstructIds(
  model: Pick<TokLIPModel, "config" | "decodeIds">,
  lines: AsyncIterable<PictureResult<IdsLine>>,
  { batch = 8, signal }: LongCallOptions & { batch?: number } = {},
): AsyncGenerator<PictureResult<DecodedImage>, void, undefined> {
  for await (const group of batches(lines, batch)) {
    throwIfAborted(signal, "reconstruct");
    const checked = group.map((line) => checkLine(line, model));
    const good = checked.filter((line) => line.error === undefined);
    const images = good.length > 0 ? pixelsToImages(await model.decodeIds(stackIds(good), { signal })) : [];
    let next = 0;
    for (const line of checked) yield line.error ? line : { file: line.file, image: images[next++]! };
  }
}

function checkLine(line: PictureResult<IdsLine>, { config }: Pick<TokLIPModel, "config">): PictureResult<IdsLine> {
  if (line.error) return line;
  try {
    checkIds(line, config, line.file);
    return line;
  } catch (error) {
    if (!(error instanceof ToklipError)) throw new ToklipError("INTERNAL", messageOf(error), { cause: error });
    return { file: line.file, error };
  }
}

/** Grids of one size -> i32 (B, h, w). */
function stackIds(lines: readonly IdsLine[]): NDArray<"i32"> {
  const [h, w] = lines[0]!.grid;
  const stacked = ndarray("i32", [lines.length, h, w]);
  for (const [i, { ids }] of lines.entries()) stacked.data.set(ids, i * h * w);
  return stacked;
}

/** The RGB pictures of pixels f32 (B, 3, H, W). */
function pixelsToImages(pixels: NDArray<"f32">): Image[] {
  return Array.from({ length: pixels.shape[0]! }, (_, row) => fromPixels(pixels, row));
}

/** Two pictures of one height beside each other. */
export function sideBySide(left: Image, right: Image): Image {
  const width = left.width + right.width;
  const data = new Uint8Array(width * left.height * 3);
  for (let y = 0; y < left.height; y++) {
    data.set(left.data.subarray(y * left.width * 3, (y + 1) * left.width * 3), y * width * 3);
    data.set(right.data.subarray(y * right.width * 3, (y + 1) * right.width * 3), (y * width + left.width) * 3);
  }
  return { width, height: left.height, mode: "RGB", data };
}
