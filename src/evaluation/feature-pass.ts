/**
 * Image features of a data set: every picture once through the model, in the order of the data, a batch at a time. Features
 * are kept by what they depend on (see `kept-rows.ts`), so that a pass that was killed, or another over the same pictures,
 * makes only those that are missing; a picture whose features are known is neither read nor decoded.
 *
 * A TokLIP and a pixel model go the same way (`encodePixels`), so their figures can be compared.
 *
 * Dim letters: B batch, D width of the features, S image size.
 */
import {
  concatRows,
  type LongCallOptions,
  mapOrdered,
  type NDArray,
  rows,
  ToklipError,
  throwIfAborted,
  viewBytes,
} from "../core/index.ts";
import {
  type BadLimit,
  type BadSample,
  type Batch,
  type DataItem,
  type Dataset,
  type DecodeSample,
  loadBatches,
  type ReadOptions,
  type Sample,
} from "../data/index.ts";
import { type Augmentation, fromPixels, type Image } from "../image/index.ts";
import { sampleClass } from "./class-survey.ts";
import type { EvaluatedData } from "./evaluation.ts";
import type { KeptRows } from "./kept-rows.ts";
import { classKey } from "./label-set.ts";
import { OrderedRows, type ScratchFile } from "./ordered-rows.ts";
import type { FeatureOptions, PassedRows } from "./session.ts";

/** What a pass is made with. */
export interface FeaturePassOptions extends FeatureOptions, LongCallOptions {
  /** Pixels f32 (B, 3, S, S) -> features f32 (B, D), B being `batch` always. */
  readonly encode: (pixels: NDArray<"f32">) => Promise<NDArray<"f32">>;
  readonly batch: number;
  readonly width: number;
  readonly imageSize: number;
  readonly augmentation: Augmentation;
  readonly decode: DecodeSample;
  /** Features of earlier passes, and where those of this one go. */
  readonly kept: KeptRows;
  /** Tells the data set's keys from those of others. */
  readonly scope: string;
  /** Where the features go in order. */
  readonly scratch: ScratchFile;
  readonly badLimit?: BadLimit | undefined;
}

/** Pictures that are loaded together; those of them that are not known go through the model in batches of its own. */
const LOADED = 32;

/**
 * Makes, or finds, the features of a data set.
 * @throws DATA_EMPTY when no picture could be used; DATA_TOO_BAD; FILE_WRITE_FAILED; ABORTED; what the model throws
 */
export async function passFeatures(dataset: Dataset, options: FeaturePassOptions): Promise<PassedRows> {
  const { signal, onProgress, badLimit, decode, imageSize, augmentation, kept, scope } = options;
  const startedAt = Date.now();
  const skipped = new SkipCounts();
  const chosen = new ChosenSamples(dataset, options, skipped);
  const pass = new Pass(options);
  const batches = loadBatches(chosen, {
    seed: 0,
    epochs: 1,
    shuffle: false,
    batchSize: LOADED,
    imageSize,
    augmentation,
    decode,
    recall: { scope, find: (name) => kept.find(name) },
    badLimit,
    onBad: (bad) => skipped.add(bad),
    signal,
  });
  for await (const batch of batches) {
    await pass.take(batch, chosen.labelOf);
    const total = dataset.size !== undefined && { total: dataset.size };
    onProgress?.({ stage: "features", done: pass.rows.size + skipped.total, ...total, unit: "images" });
  }
  throwIfAborted(signal, dataset.name);
  if (pass.rows.size === 0) {
    throw new ToklipError(
      "DATA_EMPTY",
      `${dataset.name}: no picture could be used: ${skipped.first ?? "there are none"}`,
    );
  }
  const { classes, placeOf } = chosen.classes();
  const data = { name: dataset.name, used: pass.rows.size, skipped: skipped.list };
  const seconds = (Date.now() - startedAt) / 1000;
  return { ...(await pass.rows.finish(classes, placeOf)), data, seconds, encoded: pass.encoded };
}

/** Samples that were passed over, by reason, with the first of each. */
class SkipCounts {
  private readonly reasons = new Map<string, { count: number; readonly example: string }>();

  add({ reason, message }: Pick<BadSample, "reason" | "message">): void {
    const known = this.reasons.get(reason) ?? { count: 0, example: message };
    known.count++;
    this.reasons.set(reason, known);
  }

  get total(): number {
    return [...this.reasons.values()].reduce((sum, { count }) => sum + count, 0);
  }

  get first(): string | undefined {
    return this.reasons.values().next().value?.example;
  }

  get list(): EvaluatedData["skipped"] {
    return [...this.reasons].map(([reason, { count, example }]) => ({ reason, count, example }));
  }
}

/** The samples of the classes that are wanted, each with its class as its only caption: so it comes out with the batch. */
class ChosenSamples implements Dataset {
  readonly name: string;
  private readonly dataset: Dataset;
  private readonly skipped: SkipCounts;
  private readonly labelOfSample: (sample: Sample) => string | undefined;
  private readonly given: readonly string[] | undefined;
  /** Numbers of the classes by name, in the order in which they come where none are given. */
  private readonly numbers: Map<string, number>;
  private readonly found: string[] = [];

  constructor(dataset: Dataset, { classes, labelOf = sampleClass }: FeatureOptions, skipped: SkipCounts) {
    this.name = dataset.name;
    this.dataset = dataset;
    this.skipped = skipped;
    this.labelOfSample = labelOf;
    this.given = classes;
    this.numbers = new Map(classes?.map((name, i) => [classKey(name), i]));
  }

  /** The number of a class; -1 for no name. */
  readonly labelOf = (name: string): number => (name === "" ? -1 : this.numbers.get(classKey(name))!);

  async *read(options: ReadOptions): AsyncGenerator<DataItem, void, undefined> {
    for await (const item of this.dataset.read(options)) {
      const { sample } = item;
      if (sample === undefined) yield item;
      else if (this.isWanted(sample))
        yield withSample(item, { ...sample, captions: captionsOf(this.labelOfSample(sample)) });
    }
  }

  private isWanted(sample: Sample): boolean {
    const name = this.labelOfSample(sample);
    if (name === undefined) return this.given === undefined || this.skip(sample, "no class", "has no class");
    if (this.numbers.has(classKey(name))) return true;
    if (this.given !== undefined) return this.skip(sample, "of another class", `is of class ${name}`);
    this.numbers.set(classKey(name), this.numbers.size);
    this.found.push(name);
    return true;
  }

  private skip({ key }: Sample, reason: string, what: string): false {
    this.skipped.add({ reason, message: `${key}: ${what}` });
    return false;
  }

  /** The classes, and from the numbers that were given out to places among them. */
  classes(): { readonly classes: readonly string[]; readonly placeOf: (label: number) => number } {
    if (this.given !== undefined) return { classes: this.given, placeOf: (label) => label };
    const classes = [...this.found].sort();
    const places = new Map(classes.map((name, place) => [name, place]));
    return { classes, placeOf: (label) => places.get(this.found[label]!)! };
  }
}

function captionsOf(label: string | undefined): string[] {
  return label === undefined ? [] : [label];
}

/** A position is written down when it is asked for, not before. */
function withSample(item: DataItem, sample: Sample): DataItem {
  return {
    sample,
    get position() {
      return item.position;
    },
  };
}

/** The rows of a pass. */
class Pass {
  readonly rows: OrderedRows;
  /** Pictures that went through the model. */
  encoded = 0;
  private readonly options: FeaturePassOptions;

  constructor(options: FeaturePassOptions) {
    this.options = options;
    this.rows = new OrderedRows(options.scratch, options.width);
  }

  async take(batch: Batch, labelOf: (name: string) => number): Promise<void> {
    const features = batch.recalled!.map(({ known }) => known && viewBytes("f32", known));
    const missing = features.flatMap((row, i) => (row === undefined ? [i] : []));
    for (let at = 0; at < missing.length; at += this.options.batch) {
      await this.encode(batch, missing.slice(at, at + this.options.batch), features);
    }
    for (const [i, key] of batch.keys.entries()) {
      await this.rows.push({ key, label: labelOf(batch.captions[i]!), features: features[i]! });
    }
  }

  /** Fills in the features of some rows, and keeps them. */
  private async encode(
    { pixels, recalled }: Batch,
    places: readonly number[],
    features: (Float32Array | undefined)[],
  ): Promise<void> {
    const { batch, encode, kept, signal } = this.options;
    throwIfAborted(signal, "features");
    // Filled up, since a kernel may round otherwise for another number of rows.
    const filled = Array.from({ length: batch }, (_, i) => places[Math.min(i, places.length - 1)]!);
    const made = await encode(concatRows(filled.map((i) => rows(pixels, i, i + 1))));
    for (const [j, i] of places.entries()) features[i] = rows(made, j, j + 1).data;
    await kept.add(places.map((i) => ({ name: recalled![i]!.name, features: features[i]! })));
    this.encoded += places.length;
  }
}

/** Pictures that are looked up at one time. */
const VIEWS_AT_ONCE = 4;

/**
 * The model's view of some samples of a data set: RGB squares by key. Those that cannot be decoded are left out.
 * @throws ABORTED; what the data set throws
 */
export async function sampleViews(
  dataset: Dataset,
  keys: ReadonlySet<string>,
  options: Pick<FeaturePassOptions, "decode" | "imageSize" | "augmentation" | "signal">,
): Promise<ReadonlyMap<string, Image>> {
  const views = new Map<string, Image>();
  const view = async (sample: Sample) => ({ key: sample.key, image: await viewOf(sample, options) });
  for await (const { key, image } of mapOrdered(wantedSamples(dataset, keys, options), view, {
    concurrency: VIEWS_AT_ONCE,
  })) {
    if (image !== undefined) views.set(key, image);
  }
  return views;
}

async function* wantedSamples(dataset: Dataset, keys: ReadonlySet<string>, { signal }: LongCallOptions) {
  let left = keys.size;
  if (left === 0) return;
  for await (const { sample } of dataset.read({ seed: 0, epochs: 1, shuffle: false, signal })) {
    if (sample === undefined || !keys.has(sample.key)) continue;
    yield sample;
    if (--left === 0) return;
  }
}

async function viewOf(
  sample: Sample,
  {
    decode,
    imageSize,
    augmentation,
    signal,
  }: Pick<FeaturePassOptions, "decode" | "imageSize" | "augmentation" | "signal">,
): Promise<Image | undefined> {
  try {
    const bytes = await sample.image(signal);
    return fromPixels(await decode(bytes, { key: sample.key, imageSize, augmentation, seed: 0 }, signal));
  } catch (thrown) {
    throwIfAborted(signal, sample.key);
    if (thrown instanceof ToklipError) return undefined;
    throw thrown;
  }
}
