/**
 * Data sets of pictures to ids with their captions, in the stored order: what `tokenize --captions` writes and `train ar`
 * reads. A picture may have several variants: as it is, and as a training would see it in the first epochs of a seed.
 */
import { concatRows, mapOrdered, type NDArray, rows, ToklipError, throwIfAborted } from "../core/index.ts";
import { badSampleOf } from "../data/bad-samples.ts";
import type { Dataset, Sample } from "../data/index.ts";
import { sampleSeed } from "../data/sample-seed.ts";
import type { Augmentation } from "../image/index.ts";
import { batches } from "../pipelines/batches.ts";
import type { DescribedIdsLine } from "../pipelines/ids-line.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import type { PictureFailure } from "../pipelines/pictures.ts";
import { createDecodePool, type DecodePool } from "./decode-pool.ts";
import { openDataSource } from "./train-data.ts";

/** How data sets are tokenized. */
export interface TokenizeDataOptions {
  /** Data sets as trainings name them: shards, tables, folders. */
  readonly sources: readonly string[];
  /** How a picture is made ready as it is. */
  readonly plain: Augmentation;
  /** Of each picture, the plain one included. Default 1. */
  readonly variants?: number | undefined;
  /** What makes the others. */
  readonly augmentation?: Augmentation | undefined;
  /** Of the others' random numbers. Default 0. */
  readonly seed?: number | undefined;
  /** Pictures a run of the model, their variants counted. Default 8. */
  readonly batch?: number | undefined;
  /** Samples that are done already, by key. */
  readonly skip?: ReadonlySet<string> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A sample with its ids, or why there are none. */
export type TokenizedSample = (DescribedIdsLine & { readonly error?: never }) | PictureFailure;

interface Prepared {
  readonly sample: Sample;
  /** f32 (V, 3, S, S). */
  readonly pixels: NDArray<"f32">;
}

/** Pictures that are decoded at one time. */
const IN_FLIGHT = 4;

/**
 * Tokenizes data sets, one after the other.
 * @throws what opening and reading the data sets throws; ABORTED
 */
export async function* tokenizeData(
  model: Pick<TokLIPModel, "config" | "encodeIds">,
  options: TokenizeDataOptions,
): AsyncGenerator<TokenizedSample, void, undefined> {
  const { sources, batch = 8, variants = 1, signal } = options;
  const pool = createDecodePool();
  try {
    const prepare = (found: Sample | PictureFailure) => prepared(found, pool, model.config.trunk.imageSize, options);
    for (const source of sources) {
      const samples = samplesOf(await openDataSource(source, signal), options);
      const ready = mapOrdered(samples, prepare, { concurrency: IN_FLIGHT });
      for await (const group of batches(ready, Math.max(1, Math.floor(batch / variants)))) {
        throwIfAborted(signal, "tokenize");
        yield* await tokenized(model, group, signal);
      }
    }
  } finally {
    await pool.dispose();
  }
}

async function* samplesOf(
  dataset: Dataset,
  { skip, signal }: TokenizeDataOptions,
): AsyncGenerator<Sample | PictureFailure> {
  for await (const { sample, bad } of dataset.read({ seed: 0, shuffle: false, epochs: 1, signal })) {
    if (bad) yield { file: bad.key, error: new ToklipError("DATA_INVALID", bad.message) };
    else if (sample && !skip?.has(sample.key)) yield sample;
  }
}

/** A failure of the one picture is a result; any other is thrown. */
async function prepared(
  found: Sample | PictureFailure,
  { decode }: DecodePool,
  imageSize: number,
  { plain, augmentation = plain, variants = 1, seed = 0, signal }: TokenizeDataOptions,
): Promise<Prepared | PictureFailure> {
  if ("error" in found) return found;
  const { key } = found;
  try {
    const bytes = await found.image(signal);
    const made = Array.from({ length: variants }, async (_, variant) => {
      const how = variant === 0 ? plain : augmentation;
      const drawn = sampleSeed({ seed, epoch: variant - 1, key }, "pixels");
      const { shape, data, dtype } = await decode(bytes, { key, imageSize, augmentation: how, seed: drawn }, signal);
      return { dtype, shape: [1, ...shape], data } as NDArray<"f32">;
    });
    return { sample: found, pixels: concatRows(await Promise.all(made)) };
  } catch (thrown) {
    badSampleOf(key, thrown);
    return { file: key, error: thrown as ToklipError };
  }
}

async function tokenized(
  model: Pick<TokLIPModel, "encodeIds">,
  group: readonly (Prepared | PictureFailure)[],
  signal: AbortSignal | undefined,
): Promise<TokenizedSample[]> {
  const pixels = group.flatMap((each) => ("pixels" in each ? [each.pixels] : []));
  const ids = pixels.length > 0 ? await model.encodeIds(concatRows(pixels), { signal }) : undefined;
  let row = 0;
  return group.map((each) => {
    if (!("pixels" in each)) return each;
    const { key, captions, concept } = each.sample;
    const own = Array.from({ length: each.pixels.shape[0]! }, () => rows(ids!, row, ++row).data.slice());
    const [, h, w] = ids!.shape as [number, number, number];
    return {
      file: key,
      grid: [h, w],
      ids: own[0]!,
      ...(own.length > 1 && { variants: own.slice(1) }),
      captions,
      ...(concept !== undefined && { concept }),
    };
  });
}
