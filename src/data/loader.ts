/**
 * From a data set to training batches.
 *
 * Batches are a function of the data, the seed and the position: the number of decoders, of processes, and how far they
 * run ahead change nothing. The position that comes with a batch gives the batch after it again, bit for bit.
 *
 * With several processes, each walks the whole data set in the same order, `batchSize * size` samples a step, and decodes
 * only its own rows: those from `rank * batchSize`. So the global batch is that of one process with the larger batch.
 */
import { limiter, mapOrdered, readAhead, ToklipError, throwIfAborted } from "../core/index.ts";
import { type Augmentation, checkAugmentation } from "../image/index.ts";
import { resolveTemplates } from "../text/templates.ts";
import { type BadLimit, BadSampleLog } from "./bad-samples.ts";
import { type Assembled, assemble, type Batch, describeRows, type Row, type Share, Slot } from "./batch.ts";
import { type CaptionOptions, type CaptionTokenizer, captionOf } from "./captions.ts";
import type { BadSample, Dataset, Sample } from "./dataset.ts";
import type { DecodeSample } from "./decode.ts";
import { type PictureRecall, recallSample } from "./recall.ts";
import { conceptId, sampleSeed } from "./sample-seed.ts";
import { checkSize, type SampleGroup, type WalkedSample, type WalkOptions, walkGroups } from "./sample-walk.ts";

/** What batches are made of, and how. */
export interface LoaderOptions extends Omit<WalkOptions, "groupSize">, Omit<CaptionOptions, "templates"> {
  /** Rows a batch of this process, B. */
  readonly batchSize: number;
  /** Edge of the pictures, S. */
  readonly imageSize: number;
  /** What is done to pictures. Default: open_clip's training crop. For evaluation: `{ crop: { kind: "squash" } }`. */
  readonly augmentation?: Augmentation | undefined;
  /** Makes `textIds` of T = `contextLength` of the captions. */
  readonly text?: { readonly tokenizer: CaptionTokenizer; readonly contextLength: number } | undefined;
  /** A built-in set of templates, or sentences with `{}` for the caption. */
  readonly templates?: string | readonly string[] | undefined;
  /** Makes pixels of a picture file, see `createDecodePool`. */
  readonly decode: DecodeSample;
  /**
   * After so many epochs the same pictures come again: an augmentation depends on the epoch modulo this number. Captions
   * and order go on changing. Default: no picture comes again.
   */
  readonly variants?: number | undefined;
  /** What is known of pictures: those are neither read nor decoded. Needs `variants` where something is random. */
  readonly recall?: PictureRecall | undefined;
  /** Batches that are made ready while one is used. Default 2. */
  readonly prefetch?: number | undefined;
  /** Pictures that are read or decoded at one time. Default 16. */
  readonly concurrency?: number | undefined;
  /** When bad samples end the reading. */
  readonly badLimit?: BadLimit | undefined;
  /** Is told of each bad sample of this process, in the order of the batches. */
  readonly onBad?: ((bad: BadSample) => void) | undefined;
  /** Which of `size` processes this is, from 0. Default 0 of 1. */
  readonly rank?: number | undefined;
  readonly size?: number | undefined;
}

/**
 * Reads a data set in batches: without end, or, where `epochs` is given (an evaluation), with a last batch that may be
 * smaller. What is left of an epoch goes into the next one's first batch. Samples that cannot be used are counted and
 * their places filled as `Batch` says; each is counted by the process whose place it had, so that the counts of all
 * processes add up to those of one.
 *
 * @throws at once ARGUMENT_INVALID for options that are out of range, or a batch larger than the data. While reading
 * DATA_TOO_BAD over the limit of bad samples; DATA_EMPTY;
 * ARGUMENT_INVALID when an epoch turns out to have fewer usable samples than a step needs; ABORTED; what the data set
 * and the decoder throw
 */
export function loadBatches(dataset: Dataset, options: LoaderOptions): AsyncGenerator<Batch, void, undefined> {
  const { batchSize, imageSize, rank = 0, size = 1, prefetch = 2, concurrency = 16 } = options;
  const counts = { batchSize, imageSize, size, prefetch, concurrency };
  for (const [name, value] of Object.entries(counts)) checkCount(name, value, name === "prefetch" ? 0 : 1);
  if (!(Number.isSafeInteger(rank) && rank >= 0 && rank < size)) {
    throw new ToklipError("ARGUMENT_INVALID", `load: rank must be a whole number below ${size}, got ${rank}`);
  }
  if (options.variants !== undefined) checkCount("variants", options.variants, 1);
  if (options.text !== undefined) checkCount("contextLength", options.text.contextLength, 1);
  checkAugmentation(options.augmentation ?? {});
  if (dataset.size !== undefined && options.epochs === undefined) checkSize(dataset, dataset.size, batchSize * size);
  const templates = resolveTemplates(options.templates ?? "none");
  return readBatches(dataset, { ...options, templates }, { first: rank * batchSize, count: batchSize });
}

function checkCount(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new ToklipError("ARGUMENT_INVALID", `load: ${name} must be a whole number from ${least}, got ${value}`);
}

type CheckedOptions = LoaderOptions & Pick<CaptionOptions, "templates">;

async function* readBatches(dataset: Dataset, options: CheckedOptions, share: Share): AsyncGenerator<Batch, void> {
  const { batchSize, size = 1, prefetch = 2, imageSize, epochs, signal } = options;
  const log = new BadSampleLog(options.badLimit);
  const preparer = new Preparer(options);
  const failed = epochs === undefined ? "fill" : "leave out";
  const make = async (group: SampleGroup) => {
    const slots = group.samples.map((walked) => new Slot(walked, () => preparer.prepare(walked)));
    const count = Math.max(0, Math.min(share.count, slots.length - share.first));
    return { group, made: await assemble(slots, { first: share.first, count, imageSize, failed }) };
  };
  // One group more than is being made: walking on takes time of its own.
  const groups = readAhead(walkGroups(dataset, { ...options, groupSize: batchSize * size }), 1);
  const batches = mapOrdered(groups, make, { concurrency: prefetch + 1 });
  try {
    for (;;) {
      const { done, value } = await batches.next();
      if (done) return;
      throwIfAborted(signal, dataset.name);
      const { group, made } = value;
      countSamples(log, group, made, share, options.onBad);
      const { rows, pixels } = made;
      if (rows.length > 0) yield { pixels, ...describeRows(rows), position: group.position, bad: log.counts };
    }
  } finally {
    // First, so that what was only begun to be made ready for later batches ends now.
    preparer.stop();
    await batches.return();
  }
}

/** Counts what this process met, in the order of the places. */
function countSamples(
  log: BadSampleLog,
  group: SampleGroup,
  { failures }: Assembled,
  { first, count }: Share,
  onBad?: (bad: BadSample) => void,
): void {
  const add = (bad: BadSample) => {
    onBad?.(bad);
    log.addBad(bad);
  };
  const skipped = group.bad.filter(({ place }) => place >= first && place < first + count);
  for (const [i, failure] of failures.entries()) {
    while (skipped[0] !== undefined && skipped[0].place <= first + i) add(skipped.shift()!.bad);
    if (failure === undefined) log.addGood();
    else add(failure);
  }
  for (const { bad } of skipped) add(bad);
}

/** Makes rows of samples, a limited number at one time. */
class Preparer {
  private readonly options: CheckedOptions;
  private readonly begin: ReturnType<typeof limiter>;
  /** The pixels of all pictures that are known. */
  private blank: Float32Array | undefined;
  private stopped = false;

  constructor(options: CheckedOptions) {
    this.options = options;
    this.begin = limiter(options.concurrency ?? 16);
  }

  prepare(walked: WalkedSample): Promise<Row> {
    return this.begin(() => this.rowOf(walked));
  }

  /** Lets what waits end without work. */
  stop(): void {
    this.stopped = true;
  }

  private async rowOf({ sample, epoch }: WalkedSample): Promise<Row> {
    const { seed, text, recall, variants, signal } = this.options;
    if (this.stopped) throw new ToklipError("ABORTED", "load: the reader stopped");
    throwIfAborted(signal, "load");
    const { key } = sample;
    const owner = { seed, epoch, key };
    const caption = captionOf(sample, owner, this.options);
    const textIds = text?.tokenizer.encode([caption], { contextLength: text.contextLength }).data;
    const drawn = sampleSeed({ ...owner, epoch: variants ? epoch % variants : epoch }, "pixels");
    const recalled = recall && (await recallSample(recall, sample, variants && drawn));
    const pixels = recalled?.known ? this.zeros() : await this.pixelsOf(sample, drawn);
    const described = { key, caption, concept: conceptId(sample), ...(textIds && { textIds }) };
    return { ...described, ...(recalled && { recalled }), pixels };
  }

  private async pixelsOf(sample: Sample, seed: number): Promise<Float32Array> {
    const { imageSize, augmentation = {}, decode, signal } = this.options;
    const bytes = await sample.image(signal);
    return (await decode(bytes, { key: sample.key, imageSize, augmentation, seed }, signal)).data;
  }

  private zeros(): Float32Array {
    this.blank ??= new Float32Array(3 * this.options.imageSize ** 2);
    return this.blank;
  }
}
