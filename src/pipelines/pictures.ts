/**
 * Any number of pictures through a model: the loop that `tokenize`, `embed`, `classify` and `reconstruct` share.
 *
 * Pictures are decoded and preprocessed a few ahead of the model, so both work at once and memory does not grow with
 * the number of pictures. Each picture is prepared alone: an unreadable one becomes a result with an `error`, and its
 * batch runs without it. An error of the model itself, or of the source of names, ends the run.
 */
import { concatRows, type ErrorCode, mapOrdered, type NDArray, ToklipError, throwIfAborted } from "../core/index.ts";
import type { ToklipConfig } from "../models/config.ts";
import { batches } from "./batches.ts";
import type { PreprocessOptions, TokLIPModel } from "./model.ts";

export interface PicturesOptions extends PreprocessOptions {
  /** Pictures a run of the model. Default 8. */
  readonly batch?: number;
  /** Pictures decoded at one time: each holds its full-size pixels. Default 4. */
  readonly concurrency?: number;
  /** Pictures prepared but not yet given out; each holds its preprocessed pixels. Default twice `batch`. */
  readonly prefetch?: number;
}

/** The pixels of two pictures of 256 x 256: more at once are no faster on a CPU, and take more memory. */
const PIXELS_A_RUN = 2 * 256 * 256;

/** How many pictures a run of a model takes by default: from 1 to 8, fewer the larger they are. */
export function defaultBatch({ trunk: { imageSize } }: ToklipConfig): number {
  return Math.max(1, Math.min(8, Math.floor(PIXELS_A_RUN / (imageSize * imageSize))));
}

/** A picture that could not be read, and why. */
export interface PictureFailure {
  readonly file: string;
  readonly error: ToklipError;
}

/** What came of one picture. */
export type PictureResult<T> = (T & { readonly file: string; readonly error?: never }) | PictureFailure;

/** Runs the model on one batch, pixels f32 (B, 3, H, W) in [-1, 1]; gives one result a row. */
export type RunBatch<T> = (pixels: NDArray<"f32">) => Promise<readonly T[]>;

/** What can be wrong with one picture and say nothing about the next. */
const PICTURE_ERRORS: ReadonlySet<ErrorCode> = new Set([
  "FILE_NOT_FOUND",
  "FILE_CORRUPT",
  "FILE_UNSUPPORTED",
  "IMAGE_UNREADABLE",
  "IMAGE_TOO_LARGE",
]);

type Prepared = { readonly file: string; readonly pixels: NDArray<"f32"> } | PictureFailure;

/**
 * Runs `run` over batches of the pictures and yields each picture's result, in the order of `files`.
 * Between two batches it stops if `signal` fired; pictures already yielded are whole.
 * @throws ABORTED, and whatever `run` or `files` throw
 */
export async function* mapPictures<T extends object>(
  model: Pick<TokLIPModel, "preprocess">,
  files: AsyncIterable<string> | Iterable<string>,
  run: RunBatch<T>,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<T>, void, undefined> {
  const { batch = 8, concurrency = 4, prefetch = 2 * batch, signal } = options;
  const prepared = mapOrdered(files, (file) => prepare(model, file, options), { concurrency, ahead: prefetch });
  for await (const group of batches(prepared, batch)) {
    throwIfAborted(signal, "pictures");
    const readable = group.flatMap((picture) => ("pixels" in picture ? [picture.pixels] : []));
    const values = readable.length > 0 ? await run(concatRows(readable)) : [];
    let row = 0;
    for (const picture of group) {
      yield "pixels" in picture ? { ...values[row++]!, file: picture.file } : picture;
    }
  }
  throwIfAborted(signal, "pictures");
}

async function prepare(
  model: Pick<TokLIPModel, "preprocess">,
  file: string,
  options: PicturesOptions,
): Promise<Prepared> {
  throwIfAborted(options.signal, file);
  try {
    return { file, pixels: await model.preprocess([file], withoutProgress(options)) };
  } catch (error) {
    if (error instanceof ToklipError && PICTURE_ERRORS.has(error.code)) return { file, error };
    throw error;
  }
}

/** The options of `preprocess` alone. Progress of a run is told by who counts its pictures. */
function withoutProgress({ resize, exif, background, maxPixels, signal }: PicturesOptions): PreprocessOptions {
  return {
    ...(resize !== undefined && { resize }),
    ...(exif !== undefined && { exif }),
    ...(background !== undefined && { background }),
    ...(maxPixels !== undefined && { maxPixels }),
    signal,
  };
}
