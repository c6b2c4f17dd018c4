/**
 * The pictures of a request, a batch after the other, with any decoder of ids: what models that generate pictures share.
 *
 * Dim letters: B pictures of a batch, h w grid.
 */
import { type LongCallOptions, type NDArray, ndarray } from "../core/index.ts";
import type { Image } from "../image/image.ts";
import { checkGenerateOptions, type GenerateOptions, generateIds, type IdDecoder } from "./generate.ts";
import { checkCount } from "./input-checks.ts";
import type { GeneratedPicture, GenerationEvent, PictureRequest } from "./picture-generator.ts";
import type { GuidanceOptions } from "./sampling.ts";

/** What of a request is the same whatever stands before the ids. */
export type BatchRequest = Omit<PictureRequest, "classes" | "captions" | "texts">;

/** What a request's batches are made of. */
export interface PictureBatchesParts<P> {
  readonly request: BatchRequest;
  /** The number of conditions; each has `count` pictures, one after the other. */
  readonly conditions: number;
  /** The prompt of pictures of some conditions, a row for each. */
  promptOf(conditions: readonly number[]): P;
  /** How it is guided, and its top-k where the request has none. */
  readonly guidance: GuidanceOptions | undefined;
  readonly topK?: number;
}

/** Ids i32 (B, h, w) as pictures. */
export type DecodePictures = (ids: NDArray<"i32">, options: LongCallOptions) => Promise<readonly Image[]>;

const USUAL_BATCH = 8;

/** A request that has been checked. */
export class PictureBatches<P> {
  private readonly parts: PictureBatchesParts<P>;
  /** Pictures in all, of each condition, and side by side. */
  private readonly pictures: number;
  private readonly count: number;
  private readonly batch: number;
  private readonly seed: number;
  /** What is the same for all batches. */
  private readonly options: GenerateOptions<readonly Image[]>;

  /** @throws ARGUMENT_INVALID for an option outside of its range */
  constructor(parts: PictureBatchesParts<P>) {
    const { request, conditions, guidance } = parts;
    const { temperature, topP, greedy, signal, seed = 0, topK = parts.topK, previewEvery } = request;
    this.parts = parts;
    this.seed = seed;
    this.options = { temperature, topK, topP, greedy, signal, guidance };
    this.count = checkCount("count", request.count ?? 1);
    checkGenerateOptions({ ...this.options, seed });
    if (previewEvery !== undefined) checkCount("preview every", previewEvery);
    this.batch = checkCount("batch", request.batch ?? USUAL_BATCH);
    this.pictures = conditions * this.count;
  }

  /** Generates the pictures; with `decode` they come as images too. Ends early, and frees what it holds, when it is left. */
  async *stream(decoder: IdDecoder<P>, decode?: DecodePictures): AsyncGenerator<GenerationEvent, void, undefined> {
    const asked = (this.parts.request.decode ?? true) ? decode : undefined;
    for (let first = 0; first < this.pictures; first += this.batch) yield* this.streamBatch(decoder, asked, first);
  }

  /** Generates the pictures from `first` on that fit into a batch. */
  private async *streamBatch(decoder: IdDecoder<P>, decode: DecodePictures | undefined, first: number) {
    const { signal } = this.options;
    const last = Math.min(first + this.batch, this.pictures);
    const conditions = Array.from({ length: last - first }, (_, i) => Math.floor((first + i) / this.count));
    let latest: readonly Image[] | undefined;
    const options = {
      ...this.options,
      seed: this.seed + first,
      ...this.reporting(decoder.side ** 2, first),
      ...this.previews(decode),
    };
    const steps = generateIds(decoder, this.parts.promptOf(conditions), options);
    try {
      for (;;) {
        const { done, value } = await steps.next();
        if (done) {
          // A preview of the last id is the picture.
          const images = latest ?? (await decode?.(value, { signal }));
          yield { type: "pictures", pictures: this.picturesOf(value, images, first, conditions) } as const;
          return;
        }
        const { count, ids, preview } = value;
        latest = preview;
        yield { type: "ids", first, count, ids, ...(preview && { previews: preview }) } as const;
      }
    } finally {
      await steps.return(undefined as never);
    }
  }

  /** Progress counts the steps of all batches. */
  private reporting(steps: number, first: number): LongCallOptions {
    const { onProgress } = this.parts.request;
    const [before, total] = [(first / this.batch) * steps, Math.ceil(this.pictures / this.batch) * steps];
    return { onProgress: onProgress && ((event) => onProgress({ ...event, done: before + event.done, total })) };
  }

  private previews(decode: DecodePictures | undefined): GenerateOptions<readonly Image[]> {
    const { previewEvery: every, signal } = this.parts.request;
    if (decode === undefined || every === undefined) return {};
    return { preview: { every, decode: (ids) => decode(ids, { signal }) } };
  }

  private picturesOf(
    grids: NDArray<"i32">,
    images: readonly Image[] | undefined,
    first: number,
    conditions: readonly number[],
  ): GeneratedPicture[] {
    const [, h, w] = grids.shape as [number, number, number];
    return conditions.map((condition, i) => {
      const ids = ndarray("i32", [h, w], grids.data.slice(i * h * w, (i + 1) * h * w));
      const image = images?.[i];
      return { index: first + i, condition, seed: this.seed + first + i, ids, ...(image && { image }) };
    });
  }
}
